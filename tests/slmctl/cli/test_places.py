"""Where a store may lie: on what kind of disk, under what kind of path, whose it may be.

Elsewhere: reflinks on btrfs and XFS, full disks (test_faults), exports of and to odd places (test_export), further
stores (test_stores), other tools' stores of other owners and on other disks (test_adopt).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmctl.cli.main import COMMANDS
from tests.fakes.ollama_store import OllamaStore
from tests.hf_folders import write_tiny_folder
from tests.slmctl.cli.other_user import NOBODY, OtherUser
from tests.slmctl.cli.program import Outcome, Program
from tools.random_model import write_random_model

ASK = ("--raw", "--max-tokens", "2", "--ctx", "64", "x")

READING = {
    "list": (),
    "show": ("m",),
    "run": ("m", "--verify", *ASK),
    "plan": ("m",),
    "footprint": ("m",),
    "perplexity": ("m", "--text", "{out}/text.txt", "--ctx", "16", "--chunks", "2", "--no-keep"),
    "verify": (),
    "df": (),
    "export": ("m", "-o", "{out}/m.tar"),
    "lock": ("m", "-o", "{out}/m.lock"),
    "render": ("m", "--messages", "{out}/messages.json"),
}
WRITING = {
    "create": ("n", "--from", "m"),
    "convert": ("{out}/published", "--to", "gguf", "-o", "n"),
    "quantize": ("m", "--to", "q8_0"),
    "cp": ("m", "n"),
    "rm": ("m",),
    "gc": (),
    "import": ("{out}/bundle.tar", "--as", "n"),
    "adopt": ("{out}/ollama",),
    "pull": ("{out}/bundle.tar", "--as", "n"),
}
NEITHER = {"ps", "stop", "search", "logs", "hardware", "modelfile", "config", "completion", "version", "key"}
"""They do not look into the store."""
ELSEWHERE = {"push", "tags", "library", "login", "logout", "serve"}
"""They ask somebody over the network, or are asked, and have tests with a registry or with clients."""


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.8 MB with a chat template."""
    path = tmp_path_factory.mktemp("chatty") / "chatty.gguf"
    write_random_model(path, chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    return path


@pytest.fixture
def tiny(slmctl: Program, chatty: Path, tmp_path: Path) -> Program:
    """With a model, and what the commands of the tables need."""
    prepare(slmctl, chatty, tmp_path)
    return slmctl


def prepare(program: Program, model: Path, out: Path) -> None:
    assert program("create", "m", "--from", str(model)).code == 0
    assert program("export", "m", "-o", str(out / "bundle.tar")).code == 0
    if not (out / "published").exists():
        write_tiny_folder(out / "published")
    (out / "text.txt").write_text("A dog and a cat ran to the green hill. " * 20)
    (out / "messages.json").write_text('[{"role": "user", "content": "Hi"}]')
    OllamaStore(out / "ollama").add(
        "theirs:latest", [("model", model.read_bytes()), ("system", b"Be brief.")]
    )


def filled(arguments: tuple[str, ...], out: Path) -> list[str]:
    return [argument.replace("{out}", str(out)) for argument in arguments]


def cycle(program: Program, model: Path, out: Path) -> None:
    """Everything that a store is for, from its making to its being empty again."""
    mine = out / f"mine-{os.urandom(4).hex()}.gguf"
    shutil.copy(model, mine)
    prepare(program, model, out)
    steps: list[tuple[str, ...]] = [
        ("create", "moved", "--from", str(mine), "--move"),
        ("create", "based", "--from", "m"),
        ("cp", "m", "copy"),
        *((name, *filled(arguments, out)) for name, arguments in READING.items()),
        ("export", "m", "copy", "-o", f"{out}/folder/"),
        ("import", str(out / "bundle.tar"), "--as", "carried"),
        ("import", str(out / "folder"), "--force"),
        ("adopt", str(out / "ollama")),
        ("run", "theirs", *ASK),
        ("gc",),
        ("verify",),
    ]
    for step in steps:
        done = program(*step)
        assert done.code == 0, (step, done.err)
    assert not mine.exists()
    digests = {row["name"]: row["digest"] for row in program("list", "--json").json["models"]}
    assert len(digests) == 6
    assert len({digests[f"{name}:latest"] for name in ("m", "copy", "moved", "carried")}) == 1
    assert program("verify", "--json").json["findings"] == []
    assert program("rm", *digests).code == 0
    assert list((program.store / "blobs" / "sha256").iterdir()) == []


def says_why(done: Outcome, reason: str) -> None:
    assert done.code == 1, done.out
    assert len(done.err.splitlines()) == 2, done.err
    assert reason in done.err
    assert done.hint


class Wrapped(Program):
    """slmctl behind another command line, which runs what follows it."""

    def __init__(self, program: Program, prefix: list[str]) -> None:
        super().__init__(program.home, Path(program.environment["XDG_RUNTIME_DIR"]))
        self._prefix = prefix

    def command(self, *arguments: str) -> list[str]:
        return [*self._prefix, *super().command(*arguments)]

    def check(self, why: str) -> None:
        tried = subprocess.run(
            self.command("version"), env=self.environment, capture_output=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"{why}: {tried.stderr.decode()[-200:]}")


def mounting(program: Program, script: str) -> Wrapped:
    """slmctl in a mount namespace that a shell script, told the home's path, has changed."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    home = str(program.home)
    wrapped = Wrapped(program, ["unshare", "--mount", "sh", "-ec", f'{script}\nshift; exec "$@"', "sh", home])
    wrapped.check("cannot mount here")
    return wrapped


# What may be done, and what not


def test_every_command_is_in_a_table() -> None:
    assert {*READING, *WRITING, *NEITHER, *ELSEWHERE} == COMMANDS.keys()


@pytest.mark.root
def test_on_a_read_only_mount_all_that_reads_works_and_the_rest_says_why(
    tiny: Program, tmp_path: Path
) -> None:
    read_only = mounting(tiny, 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"')
    for name, arguments in READING.items():
        done = read_only(name, *filled(arguments, tmp_path))
        assert done.code == 0, (name, done.err)
    assert read_only("gc", "--dry-run").code == 0
    for name, arguments in WRITING.items():
        says_why(read_only(name, *filled(arguments, tmp_path)), "cannot be written (Read-only file system)")
    assert tiny("verify", "--json").json["findings"] == []


@pytest.fixture
def nobody() -> Iterator[OtherUser]:
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        folder.chmod(0o755)
        user = OtherUser(folder)
        user.check()
        yield user
    finally:
        shutil.rmtree(folder)


@pytest.mark.root
def test_another_users_store(nobody: OtherUser, chatty: Path) -> None:
    """root's: first it may be read by all, then by nobody else."""
    out = nobody.home.parents[1] / "out"
    out.mkdir()
    roots = Program(nobody.home, Path(nobody.environment["XDG_RUNTIME_DIR"]))
    prepare(roots, chatty, out)
    out.chmod(0o777)
    for path in out.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o644)
    for name, arguments in READING.items():
        done = nobody(name, *filled(arguments, out), cwd=Path("/"))
        assert done.code == 0, (name, done.err)
    for name, arguments in WRITING.items():
        says_why(
            nobody(name, *filled(arguments, out), cwd=Path("/")), "cannot be written (Permission denied)"
        )
    nobody.store.chmod(0o700)
    for name, arguments in {**READING, **WRITING}.items():
        says_why(nobody(name, *filled(arguments, out), cwd=Path("/")), "Permission denied")
    nobody.store.chmod(0o755)
    assert roots("verify", "--json").json["findings"] == []


# Disks


@pytest.mark.root
def test_a_disk_that_runs_no_programs(slmctl: Program, chatty: Path, tmp_path: Path) -> None:
    """tmpfs: no reflinks either."""
    slmctl.home.mkdir()
    assert os.geteuid() != 0 or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec,nosuid,nodev,size=64m", "tmpfs", str(slmctl.home)], check=False
    ).returncode in {0, 32}
    if not os.path.ismount(slmctl.home):
        pytest.skip("cannot mount here")
    try:
        cycle(slmctl, chatty, tmp_path)
    finally:
        subprocess.run(["umount", str(slmctl.home)], check=True)


def injecting(program: Program, *what: str) -> Wrapped:
    """slmctl whose calls fail as strace is told."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    strace = ["strace", "-f", "-qqq", "--seccomp-bpf", "-o", "/dev/null", "-e", "signal=none"]
    wrapped = Wrapped(program, [*strace, *what])
    wrapped.check("strace cannot inject here")
    return wrapped


@pytest.mark.parametrize("error", ["EPERM", "EOPNOTSUPP", "EMLINK"])
def test_a_disk_without_hard_links(slmctl: Program, chatty: Path, tmp_path: Path, error: str) -> None:
    """FAT says EPERM. What cannot be linked is copied, or borrowed."""
    calls = "link,linkat"
    without = injecting(slmctl, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}")
    cycle(without, chatty, tmp_path)


@pytest.fixture
def folding(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk where `a` and `A` are the same name: FAT, or ext4 with casefold."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    image, point = tmp_path / "disk.img", tmp_path / "disk"
    point.mkdir()
    for maker in (["mkfs.vfat"], ["mkfs.ext4", "-q", "-O", "casefold"]):
        with image.open("wb") as stream:
            stream.truncate(128 << 20)
        if (
            shutil.which(maker[0]) is None
            or subprocess.run([*maker, image], capture_output=True, check=False).returncode
        ):
            continue
        mount = ["mount", "-o", "loop", str(image), str(point)]
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            try:
                folder = point / "folder"
                folder.mkdir()
                subprocess.run(["chattr", "+F", str(folder)], capture_output=True, check=False)
                (folder / "a").touch()
                assert (folder / "A").exists()
                yield folder
            finally:
                subprocess.run(["umount", str(point)], check=True)
            return
    pytest.skip("this kernel mounts neither FAT nor ext4 with casefold")


@pytest.mark.root
def test_a_disk_where_case_does_not_count(
    slmctl: Program, chatty: Path, folding: Path, tmp_path: Path
) -> None:
    program = Program(folding / "home", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    cycle(program, chatty, tmp_path)


def test_names_that_differ_in_case_are_one_name_on_every_disk(tiny: Program, chatty: Path) -> None:
    for name in ("M", "m:LATEST", "M:Latest"):
        assert tiny("show", name, "--json").json["name"] == "m:latest"
        assert tiny("create", name, "--from", str(chatty)).code == 0
    assert tiny("cp", "m", "N").code == 0
    assert tiny("cp", "m", "n").code == 0
    assert [row["name"] for row in tiny("list", "--json").json["models"]] == ["N:latest", "m:latest"]
    assert tiny("run", "n", *ASK).code == 0
    assert tiny("rm", "n", "M").code == 0
    assert tiny("list", "--json").json["models"] == []


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_disk_without_locks_is_read_and_said(tiny: Program, tmp_path: Path, error: str) -> None:
    """As NFS without its lock daemon: ENOLCK."""
    lock = tiny.store / "locks" / "store.lock"
    without = injecting(tiny, "-P", str(lock), "-e", "trace=flock", "-e", f"inject=flock:error={error}")
    before = {path: path.read_bytes() for path in (tiny.store / "blobs" / "sha256").iterdir()}
    for name, arguments in READING.items():
        done = without(name, *filled(arguments, tmp_path))
        assert done.code == 0, (name, done.err)
    for name, arguments in WRITING.items():
        says_why(without(name, *filled(arguments, tmp_path)), "no file locks")
    assert {path: path.read_bytes() for path in (tiny.store / "blobs" / "sha256").iterdir()} == before
    assert list((tiny.store / "leases").iterdir()) == []
    assert list((tiny.store / "ingest").iterdir()) == []


# Paths

ODD = {
    "blanks": " a  b ",
    "newline": "two\nlines",
    "tab and quotes": "a\t'b\"c`$HOME`",
    "non-ASCII": "Modèle 模型 \N{CRAB}",
    "no UTF-8": "latin-\udce9",
    "option": "-rf",
    "255 bytes": "x" * 255,
    "255 bytes of UTF-8": "ü" * 127 + "x",
    "percent and braces": "%s {0} {out} %00",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_a_store_under_any_path(slmctl: Program, chatty: Path, tmp_path: Path, name: str) -> None:
    runtime = Path(slmctl.environment["XDG_RUNTIME_DIR"])
    (tmp_path / "out").mkdir()
    cycle(Program(tmp_path / name / "home", runtime), chatty, tmp_path / "out")


def test_a_home_that_is_a_link(slmctl: Program, chatty: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    slmctl.home.symlink_to(tmp_path / "real")
    (tmp_path / "out").mkdir()
    cycle(slmctl, chatty, tmp_path / "out")
    assert slmctl.home.is_symlink()
    assert (tmp_path / "real" / "store" / "index.json").exists()


def test_a_store_that_is_a_link(slmctl: Program, chatty: Path, tmp_path: Path) -> None:
    """To another disk, as people do."""
    (tmp_path / "elsewhere").mkdir()
    slmctl.home.mkdir()
    slmctl.store.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out").mkdir()
    cycle(slmctl, chatty, tmp_path / "out")
    assert slmctl.store.is_symlink()


def test_names_of_files_as_long_as_they_can_be(slmctl: Program, chatty: Path, tmp_path: Path) -> None:
    """Those of the user: what is made beside them must not need a longer one."""
    long = [
        tmp_path / f"{letter * (255 - len(suffix))}{suffix}"
        for letter, suffix in (("a", ".gguf"), ("b", ".tar"), ("c", ".lock"), ("d", ""))
    ]
    shutil.copy(chatty, long[0])
    steps: list[tuple[str, ...]] = [
        ("create", "m", "--from", str(long[0])),
        ("export", "m", "-o", str(long[1])),
        ("lock", "m", "-o", str(long[2])),
        ("export", "m", "-o", f"{long[3]}/"),
        ("verify", str(long[1])),
        ("run", str(long[1]), *ASK),
        ("import", str(long[1]), "--as", "n"),
        ("import", str(long[3]), "--as", "o"),
        ("create", "moved", "--from", str(long[0]), "--move"),
    ]
    for step in steps:
        done = slmctl(*step)
        assert done.code == 0, (step[0], done.err)
    name = f"{'n' * 80}/{'m' * 80}:{'t' * 80}"
    assert slmctl("cp", "m", name).code in {0, 2}
    assert slmctl("cp", "m", f"a/{'m' * 300}").code == 2
    assert slmctl("verify", "--json").json["findings"] == []


@pytest.mark.root
def test_a_folder_that_may_be_written_to_and_not_read(nobody: OtherUser, tiny_model: Path) -> None:
    """A drop box: what was put there is not said to have failed."""
    work = nobody.home.parents[1] / "work"
    work.mkdir()
    shutil.copy(tiny_model, work)
    box = work / "box"
    box.mkdir()
    os.chown(box, NOBODY, NOBODY)
    box.chmod(0o300)
    assert nobody("create", "tiny", "--from", tiny_model.name, cwd=work).code == 0
    for words in (["export", "tiny", "-o", "box/b.tar"], ["export", "tiny", "-o", "box/b/"]):
        done = nobody(*words, cwd=work)
        assert done.code == 0, done.err
        assert nobody("verify", f"./{words[-1]}", cwd=work).code == 0
    done = nobody("lock", "tiny", "-o", "box/lock", cwd=work)
    assert done.code == 0, done.err
    assert {path.name for path in box.iterdir()} == {"b.tar", "b", "lock"}
