"""The real engine behind Worker and Client."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from registry.errors import MalformedFile, SlmctlError
from runtimes.client import Client
from runtimes.engines.base import LaunchRequest
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.errors import EngineDied, EngineRefused, EngineStartFailed, EngineUnavailable
from runtimes.launch import fd_path, worker_argv
from runtimes.process import State, Worker
from runtimes.protocol import (
    Finished,
    HttpRequest,
    Progress,
    TextDelta,
    chat_request,
    completion_request,
    health_request,
)
from runtimes.sampling import Sampling
from tests.processes import until, wait_until_gone
from tests.runtimes.launches import DEADLINE_SECONDS, ONE_THREAD, llama_launch, llama_worker
from tests.runtimes.unix_http import UnixConnection
from tools.random_model import WORDS, write_random_model, write_random_shards

GREEDY = Sampling(temperature=0.0, num_predict=20)


def test_progress_counts_what_the_end_counts(base: Path, tiny_model: Path) -> None:
    question = chat_request([{"role": "user", "content": "w1 w2"}], GREEDY, progress="tokens")
    with llama_worker(base, tiny_model) as worker:
        events = list(Client(worker.endpoint, worker).stream(question))
    progress = [event for event in events if isinstance(event, Progress)]
    end = events[-1]
    assert isinstance(end, Finished)
    assert isinstance(events[0], Progress)
    assert {each.prompt_tokens for each in progress} == {end.prompt_tokens}
    assert (progress[0].generated_tokens, progress[-1].generated_tokens) == (0, end.generated_tokens)


def said(client: Client, prompt: str = "", sampling: Sampling = GREEDY) -> str:
    events = list(client.stream(completion_request(prompt, sampling)))
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_golden_text(base: Path, stories: Path) -> None:
    with llama_worker(base, stories / "stories260K-f32.gguf") as worker:
        client = Client(worker.endpoint, worker)
        events = list(client.stream(completion_request("", Sampling(temperature=0.0, num_predict=200))))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text.lstrip(" ") == (stories / "golden.txt").read_text().lstrip(" ").removesuffix("\n")
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.prompt_tokens, finished.generated_tokens) == ("length", 1, 200)
    assert finished.generation_seconds is not None
    assert finished.generation_seconds > 0


def test_a_random_model_says_words_twice_the_same(base: Path, tiny_model: Path) -> None:
    with llama_worker(base, tiny_model) as worker:
        client = Client(worker.endpoint, worker)
        text = said(client, "once")
        assert len(text.split()) == 20
        assert set(text.split()) <= WORDS
        assert said(client, "once") == text


def test_a_chat(base: Path, tiny_model: Path) -> None:
    messages = [{"role": "user", "content": "hello"}]
    with llama_worker(base, tiny_model) as worker:
        client = Client(worker.endpoint, worker)
        prompt = client.apply_template(messages)
        assert "hello" in prompt
        events = list(client.stream(chat_request(messages, GREEDY)))
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.generated_tokens) == ("length", 20)
        assert finished.prompt_tokens == len(client.tokenize(prompt, add_special=True))
        again = list(client.stream(chat_request(messages, GREEDY)))[-1]
        assert isinstance(again, Finished)
        assert again.cached_tokens


def test_shards_by_their_names(base: Path, tmp_path: Path, tiny_model: Path) -> None:
    shards = write_random_shards(tmp_path, count=3)
    with ExitStack() as open_files, llama_launch(base, tiny_model) as launch:
        fds = {shard.name: open_files.enter_context(shard.open("rb")).fileno() for shard in shards}
        request = LaunchRequest(model=shards[0].name, context_length=512)
        launch = dataclasses.replace(
            launch, document=LLAMA_CPP.command(request), pass_fds=tuple(fds.values()), links=fds
        )
        with Worker(launch) as worker:
            text = said(Client(worker.ensure_ready(DEADLINE_SECONDS), worker))
    with llama_worker(base, tiny_model) as worker:
        assert said(Client(worker.endpoint, worker)) == text


def test_what_was_opened_is_what_is_loaded(base: Path, tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "model.gguf"
    shutil.copy(tiny_model, path)
    with llama_launch(base, path) as launch:
        path.unlink()
        path.write_bytes(b"something else")
        with Worker(launch) as worker:
            worker.ensure_ready(DEADLINE_SECONDS)


@pytest.fixture(scope="module")
def door() -> Iterator[Worker]:
    """One worker whose doors are tried; its slmctl has everything dangerous in its environment."""
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    model = folder / "tiny.gguf"
    write_random_model(model)
    before = dict(os.environ)
    os.environ |= {
        "LLAMA_ARG_ENDPOINT_SLOTS": "1",
        "LLAMA_ARG_ENDPOINT_PROPS": "1",
        "LLAMA_ARG_UI": "1",
        "LLAMA_ARG_N_PARALLEL": "7",
        "LLAMA_API_KEY": "other",
        "HF_TOKEN": "hf_secret",
        "HTTPS_PROXY": "http://proxy.invalid",
        "PYTHONPATH": "/nonexistent",
    }
    try:
        with llama_worker(folder, model) as worker:
            yield worker
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder)


def ask(
    worker: Worker, method: str, path: str, *, key: bool = True, body: bytes = b"", **headers: str
) -> http.client.HTTPResponse:
    assert method in ("GET", "POST", "OPTIONS")
    connection = UnixConnection(worker.endpoint.socket, timeout_seconds=DEADLINE_SECONDS)
    sent = {"Authorization": f"Bearer {worker.endpoint.key}"} if key else {}
    try:
        connection.request(method, path, body=body or None, headers={**sent, **headers})
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/", 404),
        ("GET", "/index.html", 404),
        ("GET", "/slots", 501),
        ("POST", "/slots/0?action=save", 501),
        ("POST", "/props", 501),
        ("GET", "/metrics", 501),
        ("GET", "/tools", 403),
        ("GET", "/cors-proxy?url=http://127.0.0.1/", 403),
    ],
)
def test_doors_that_are_shut(door: Worker, method: str, path: str, status: int) -> None:
    assert ask(door, method, path, body=b"{}" if method == "POST" else b"").status == status


@pytest.mark.parametrize(
    "path",
    ["/completion", "/v1/chat/completions", "/tokenize", "/apply-template", "/v1/embeddings", "/props"],
)
def test_without_the_key_nothing_is_answered(door: Worker, path: str) -> None:
    assert ask(door, "POST", path, key=False, body=b"{}").status == 401
    assert ask(door, "POST", path, key=False, body=b"{}", Authorization="Bearer other").status == 401


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_web_page_is_let_in(door: Worker, method: str) -> None:
    response = ask(
        door, method, "/health" if method == "GET" else "/completion", Origin="http://evil.example"
    )
    # llama-server writes the header always; empty, it names no origin
    assert response.getheader("Access-Control-Allow-Origin") in (None, "")
    assert response.getheader("Access-Control-Allow-Credentials") in (None, "false")
    assert response.getheader("Access-Control-Allow-Methods") in (None, "")
    assert response.getheader("Access-Control-Allow-Headers") in (None, "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_secret_or_strange_in_argv_and_environment(door: Worker) -> None:
    process = Path(f"/proc/{door.pid}")
    argv = (process / "cmdline").read_bytes()
    environ = (process / "environ").read_bytes()
    for text in (argv, environ):
        assert door.endpoint.key.encode() not in text
        assert str(door.endpoint.socket).encode() not in text
    names = {entry.partition(b"=")[0].decode() for entry in environ.split(b"\0") if entry}
    assert not {name for name in names if name.startswith(("LLAMA_", "HF_", "PYTHON", "SLMCTL_"))}
    assert not names & {"HTTPS_PROXY", "HTTP_PROXY"}
    assert b"-P" in argv.split(b"\0")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_worker_has_a_session_of_its_own_and_no_core_files(door: Worker) -> None:
    assert door.pid is not None
    assert os.getsid(door.pid) == door.pid != os.getsid(0)
    limits = Path(f"/proc/{door.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits
    assert "Umask:\t0077" in Path(f"/proc/{door.pid}/status").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_worker_listens_on_nothing_but_its_socket(door: Worker) -> None:
    inodes = set()
    for fd in Path(f"/proc/{door.pid}/fd").iterdir():
        target = str(fd.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for table in ("tcp", "tcp6", "udp", "udp6"):
        rows = Path(f"/proc/{door.pid}/net/{table}").read_text().splitlines()[1:]
        assert not {row.split()[9] for row in rows} & inodes


def test_the_folder_is_private(door: Worker) -> None:
    socket = door.endpoint.socket
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0


def test_the_environment_has_no_say(door: Worker) -> None:
    """LLAMA_ARG_N_PARALLEL=7 was set: with one slot, eight answers still come one after the other."""
    response = UnixConnection(door.endpoint.socket, timeout_seconds=DEADLINE_SECONDS)
    try:
        request = HttpRequest(method="GET", path="/props", headers={}, body=b"").with_key(door.endpoint.key)
        props = json.loads(response.send_request(request).read())
    finally:
        response.close()
    assert props["total_slots"] == 1
    assert props["model_alias"] == "model"


def test_an_answer_never_names_a_path(door: Worker) -> None:
    connection = UnixConnection(door.endpoint.socket, timeout_seconds=DEADLINE_SECONDS)
    try:
        request = completion_request("x", GREEDY).with_key(door.endpoint.key)
        answer = connection.send_request(request).read()
    finally:
        connection.close()
    assert b"/proc/" not in answer
    assert b"/dev/fd" not in answer


def test_a_request_that_does_not_fit_the_context(base: Path, tiny_model: Path) -> None:
    with llama_worker(base, tiny_model, dataclasses.replace(ONE_THREAD, context_length=256)) as worker:
        client = Client(worker.endpoint, worker)
        with pytest.raises(EngineRefused) as caught:
            said(client, "word " * 1000)
        assert caught.value.status == 400
        assert said(client)


def test_a_limit_of_the_worker_holds_for_requests_without_one(base: Path, tiny_model: Path) -> None:
    request = dataclasses.replace(ONE_THREAD, predict_limit=7)
    with llama_worker(base, tiny_model, request) as worker:
        events = list(
            Client(worker.endpoint, worker).stream(completion_request("", Sampling(num_predict=-1)))
        )
        assert isinstance(events[-1], Finished)
        assert events[-1].generated_tokens == 7


def test_closing_an_answer_frees_its_slot(base: Path, tiny_model: Path) -> None:
    request = dataclasses.replace(ONE_THREAD, context_length=200_000)
    with llama_worker(base, tiny_model, request) as worker:
        client = Client(worker.endpoint, worker)
        stream = client.stream(completion_request("", Sampling(num_predict=-1)))
        next(stream)
        stream.close()
        begin = time.monotonic()
        assert said(client)
        assert time.monotonic() - begin < 5  # a context of 200,000 would take half a minute and more


def test_every_flag_reaches_the_engine(base: Path, tiny_model: Path) -> None:
    request = LaunchRequest(
        model="",
        context_length=256,
        parallel=2,
        threads=1,
        batch_threads=1,
        batch=128,
        micro_batch=64,
        gpu_layers=0,
        main_gpu=0,
        cache_ram_mib=16,
        cache_type_k="q8_0",
        cache_type_v="q8_0",
        flash_attention=True,
        mmap=False,
        mlock=False,
        embedding=False,
        pooling="mean",
        chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
        predict_limit=5,
        rope_freq_base=10000.0,
        rope_freq_scale=1.0,
        warmup=False,
    )
    with llama_worker(base, tiny_model, request) as worker:
        client = Client(worker.endpoint, worker)
        assert client.apply_template([{"role": "user", "content": "hi"}]) == "<user>hi"
        assert len(said(client, sampling=Sampling()).split()) == 5
        # llama.cpp writes its log from a thread, which on a busy machine comes later than the answer
        until(lambda: "n_slots = 2, n_ctx_slot = 256" in worker.stderr_tail or None)
        assert "n_threads = 1" in worker.stderr_tail


def test_embeddings(base: Path, tiny_model: Path) -> None:
    request = dataclasses.replace(ONE_THREAD, embedding=True, pooling="mean")
    with llama_worker(base, tiny_model, request) as worker:
        assert ask(worker, "POST", "/v1/embeddings", body=b'{"input":"a b"}').status == 200


def test_eight_workers_at_once(base: Path, tiny_model: Path) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        launch = stack.enter_context(llama_launch(base, tiny_model))
        workers = [stack.enter_context(Worker(launch)) for _ in range(8)]
        endpoints = list(pool.map(lambda worker: worker.ensure_ready(60), workers))
        assert len({endpoint.socket for endpoint in endpoints}) == 8
        assert len({endpoint.key for endpoint in endpoints}) == 8
        texts = list(pool.map(lambda worker: said(Client(worker.endpoint, worker)), workers))
        assert len(set(texts)) == 1
        crossed = Client(dataclasses.replace(endpoints[0], key=endpoints[1].key), workers[0])
        with pytest.raises(EngineRefused):
            crossed.tokenize("x")
    assert {worker.state for worker in workers} == {State.STOPPED}


def test_kill_in_the_middle_of_an_answer(base: Path, tiny_model: Path) -> None:
    request = dataclasses.replace(ONE_THREAD, context_length=200_000)
    with llama_worker(base, tiny_model, request) as worker:
        stream = Client(worker.endpoint, worker).stream(completion_request("", Sampling(num_predict=-1)))
        next(stream)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        begin = time.monotonic()
        with pytest.raises(EngineDied, match="was killed"):
            list(stream)
        assert time.monotonic() - begin < 5
        assert worker.state is State.CRASHED
        assert not worker.endpoint.socket.parent.exists()


@pytest.mark.slow
def test_a_worker_outlives_the_thread_that_started_it(base: Path, tiny_model: Path) -> None:
    with llama_launch(base, tiny_model) as launch:
        pooled, threaded = Worker(launch), Worker(launch)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(pooled.ensure_ready, DEADLINE_SECONDS).result()

        async def start() -> None:
            await anyio.to_thread.run_sync(threaded.ensure_ready, DEADLINE_SECONDS)

        anyio.run(start)
        try:
            assert not pooled.ended.wait(30)
            assert not threaded.ended.is_set()
            assert said(Client(pooled.endpoint, pooled)) == said(Client(threaded.endpoint, threaded))
        finally:
            pooled.stop()
            threaded.stop()


BROKEN = [
    ("blocks", EngineStartFailed, "its check"),
    ("empty", MalformedFile, "no GGUF file"),
    ("magic", MalformedFile, "no GGUF file"),
    ("half", MalformedFile, "cut short"),
    ("header", MalformedFile, "no GGUF file"),
    ("architecture", EngineUnavailable, "lluma"),
    ("context", MalformedFile, "context_length"),
]


def broken(kind: str, whole: bytes) -> bytes:
    match kind:
        case "blocks":
            key = b"llama.block_count"
            value = whole.index(key) + len(key) + 4
            return whole[:value] + struct.pack("<I", 0xFFFFFFFF) + whole[value + 4 :]
        case "empty":
            return b""
        case "magic":
            return b"XXXX" + whole[4:]
        case "half":
            return whole[: len(whole) // 2]
        case "header":
            return whole[:1000]
        case "architecture":
            return whole.replace(b"llama", b"lluma")
        case _:
            return whole.replace(b"llama.context_length", b"llama.cont3xt_length")


@pytest.mark.parametrize(("kind", "error", "words"), BROKEN)
def test_broken_models(
    base: Path, tmp_path: Path, tiny_model: Path, kind: str, error: type[SlmctlError], words: str
) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(broken(kind, tiny_model.read_bytes()))
    with llama_launch(base, path) as launch, Worker(launch) as worker:
        with pytest.raises(error, match=words) as caught:
            worker.ensure_ready(DEADLINE_SECONDS)
        assert worker.state is State.CRASHED
    for line in (caught.value.message, caught.value.hint or ""):
        assert "/proc" not in line
        assert "\n" not in line


def test_a_file_that_is_no_descriptor(base: Path, tiny_model: Path) -> None:
    request = LaunchRequest(model=fd_path(99), context_length=512)
    with llama_launch(base, tiny_model) as launch:
        launch = dataclasses.replace(launch, document=LLAMA_CPP.command(request))
        with Worker(launch) as worker, pytest.raises(MalformedFile) as caught:
            worker.ensure_ready(DEADLINE_SECONDS)
    assert "no GGUF file" in caught.value.message
    assert "/proc" not in caught.value.message


@pytest.mark.root
def test_without_libgomp(base: Path, tiny_model: Path, without_libgomp: list[str]) -> None:
    with llama_launch(base, tiny_model) as launch:
        launch = dataclasses.replace(launch, argv=(*without_libgomp, *worker_argv("llamacpp")))
        with Worker(launch) as worker, pytest.raises(EngineUnavailable) as caught:
            worker.ensure_ready(DEADLINE_SECONDS)
    assert caught.value.message == "The llama.cpp engine needs libgomp.so.1, which is not installed."
    assert caught.value.code == "does_not_fit"


def run_program(document: bytes) -> tuple[int, str]:
    """The worker program by itself, with `document` as all of its standard input."""
    done = subprocess.run(worker_argv("llamacpp"), input=document, capture_output=True, timeout=60)
    return done.returncode, done.stderr.decode()


def program_document(**changes: object) -> bytes:
    document: dict[str, object] = {
        "parent": os.getpid(),
        "folder": "/nonexistent",
        "socket": "/nonexistent/e.sock",
        "key": "k",
        "model": "m",
        "flags": {"n_ctx": 512, "n_parallel": 1, "cache_ram_mib": 0},
    }
    return json.dumps(document | changes).encode() + b"\n"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "standard input gave no launch document"),
        (b"{}", "standard input gave no launch document"),
        (b"[]\n", "no object"),
        (b"{}\n", "the process that started this one is gone"),
        (program_document(parent=1), "the process that started this one is gone"),
        (b"x" * 9_000_000, "standard input gave no launch document"),
    ],
)
def test_the_program_alone(document: bytes, message: str) -> None:
    returncode, log = run_program(document)
    assert returncode == 1
    assert message in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rpc_servers": "evil:1"}, "flag rpc_servers is not allowed"),
        ({"log_file": "/etc/x"}, "flag log_file is not allowed"),
        ({"n_ctx": "512"}, "flag n_ctx must be a whole number"),
        ({"n_ctx": True}, "flag n_ctx must be a whole number"),
        ({"n_parallel": 0}, "flag n_parallel must be"),
        ({"warmup": 1}, "flag warmup must be true or false"),
        ({"cache_type_k": "q9"}, "flag cache_type_k must be one of"),
        ({"chat_template": 1}, "flag chat_template must be a text"),
        ({"rope_freq_base": -1}, "flag rope_freq_base must be a positive number"),
        ({"cache_ram_mib": None}, "flag cache_ram_mib must be"),
    ],
)
def test_flags_that_the_program_refuses(flags: dict[str, object], message: str) -> None:
    required: dict[str, object] = {"n_ctx": 512, "n_parallel": 1, "cache_ram_mib": 0}
    launch = subprocess.Popen(
        worker_argv("llamacpp"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with launch:
        assert launch.stdin is not None
        assert launch.stderr is not None
        launch.stdin.write(program_document(flags=required | flags))
        launch.stdin.flush()  # and it stays open
        log = launch.stderr.read().decode()
    assert launch.returncode == 1
    assert message in log
    assert "Traceback" not in log


@pytest.mark.parametrize("missing", ["n_ctx", "n_parallel", "cache_ram_mib"])
def test_flags_that_must_be_there(missing: str) -> None:
    flags = {"n_ctx": 512, "n_parallel": 1, "cache_ram_mib": 0}
    del flags[missing]
    launch = subprocess.Popen(
        worker_argv("llamacpp"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with launch:
        assert launch.stdin is not None
        assert launch.stderr is not None
        launch.stdin.write(program_document(flags=flags))
        launch.stdin.flush()
        assert f"flag {missing} is missing" in launch.stderr.read().decode()
    assert launch.returncode == 1


def test_health_needs_no_key(door: Worker) -> None:
    connection = UnixConnection(door.endpoint.socket, timeout_seconds=DEADLINE_SECONDS)
    try:
        assert connection.send_request(health_request()).status == 200
    finally:
        connection.close()


def test_the_end_of_standard_input_ends_the_worker(base: Path, tiny_model: Path) -> None:
    with llama_worker(base, tiny_model) as worker:
        pid = worker.pid
    assert pid is not None
    assert wait_until_gone(pid, 0)
    assert worker.end is not None
    assert worker.end.returncode == 0  # not by a signal: it went by itself
