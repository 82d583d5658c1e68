"""What somebody meets who types the wrong thing, or the first thing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slmctl.cli.main import ALIASES, COMMANDS, GROUPS
from tests.slmctl.cli.program import SCHEMAS, SCRIPT, Program


def test_bare_slmctl_prints_a_short_help(slmctl: Program) -> None:
    outcome = slmctl()
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    below = " ".join(lines[lines.index("Commands:") :]).split()
    assert set(COMMANDS) <= set(below)
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)
    assert len(lines) <= 23, "a terminal has 24 lines, and one of them is for the next prompt"
    assert max(map(len, lines)) < 80
    first = next(line for line in lines if line.startswith("  "))
    assert first.split()[:3] == ["slmctl", "run", "hello"]
    assert "slmctl --help" in lines[-1]
    assert not slmctl.home.exists()


def test_help_is_longer_than_bare_slmctl(slmctl: Program) -> None:
    outcome = slmctl("--help")
    assert outcome.code == 0
    assert "Usage: slmctl [OPTIONS] [COMMAND]" in outcome.out
    assert all(f"\n  {command} " in outcome.out for command in COMMANDS)


def test_help_imports_no_command(slmctl: Program) -> None:
    outcome = slmctl("--help", environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert outcome.code == 0
    assert "slmctl.cli.main" in outcome.err
    assert "slmctl.cli.commands" not in outcome.err


HEAVY = {
    *(
        "rich",
        "requests",
        "platformdirs",
        "numpy",
        "gguf",
        "xllamacpp",
        "prompt_toolkit",
        "pydantic",
        "httpx",
    ),
    *("asyncio", "concurrent.futures", "ctypes", "difflib", "email", "http", "importlib.metadata", "logging"),
    *(
        "secrets",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "tomllib",
        "unicodedata",
        "modelfiles",
    ),
}
"""What the commands that must start fast do without, whatever brings it."""

_MEMORY = ("machine", "parse_memory", "probe_memory", "reader", "system", "tools")


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (("version",), {"hashlib", "json", "registry.store", "slmctl.app", "slmctl.config"}),
        (("list",), {"hashlib", "registry.store.store", "registry.store.ingest", "slmctl.app.package"}),
        (("list", "--json"), {"hashlib", "registry.store.store", "slmctl.app.package"}),
    ],
)
def test_version_and_list_import_nothing_heavy(
    slmctl: Program, arguments: tuple[str, ...], others: set[str]
) -> None:
    show = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    program = f"{show}; sys.argv[0] = 'slmctl'; from slmctl.entry import main; main()"
    outcome = slmctl.run([sys.executable, "-c", program, *arguments])
    modules = set(outcome.err.split())
    assert outcome.code == 0
    assert "click" in modules
    assert modules & (HEAVY | others) == set()
    needed = {"runtimes.installed"}
    if "--json" in arguments:  # it says what fits: the memory is looked at, and nothing else
        needed |= {
            "runtimes.environment",
            "runtimes.hardware",
            "runtimes.planning",
            "runtimes.planning.budget",
        }
        needed |= {f"runtimes.hardware.{name}" for name in _MEMORY}
    assert {name for name in modules if name.startswith("runtimes.")} <= needed


@pytest.mark.parametrize("command", [*COMMANDS, *ALIASES])
def test_every_command_has_a_help_and_a_schema(slmctl: Program, command: str) -> None:
    outcome = slmctl(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: slmctl {ALIASES.get(command, command)}")
    schema = json.loads((SCHEMAS / f"{ALIASES.get(command, command)}-1.json").read_text())
    assert schema["title"] == f"slmctl.{ALIASES.get(command, command)}/1"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("run",), 2, "Missing argument 'NAME|PATH'"),
        (("run", "nosuch"), 3, "There is no model nosuch in the store."),
        (("run", "nosuch", "hello"), 3, "There is no model nosuch in the store."),
        (("run", "a b", "hello"), 2, "'a b' is not a model name"),
        (("run", "./x.gguf", "hello"), 3, "There is no file x.gguf"),
        (("run", "x", "-o", "nonsense", "hello"), 2, "-o takes KEY=VALUE"),
        (("run", "x", "-o", "tempersture=1", "hello"), 2, "There is no parameter 'tempersture'"),
        (("run", "x", "--temperature", "warm", "hello"), 2, "temperature takes a number"),
        (("run", "x", "--seed", "1.5", "hello"), 2, "seed takes a whole number"),
        (("run", "x", "--max-tokens", "0", "hello"), 2, "--max-tokens takes a number of tokens, not 0"),
        (("run", "x", "--ctx", "-5", "hello"), 2, "--ctx takes a number of tokens, not -5"),
        (("create",), 2, "Missing argument 'NAME'"),
        (("create", "x"), 3, "There is no Modelfile 'Modelfile'"),
        (("create", "x", "-f", "missing"), 3, "There is no Modelfile 'missing'"),
        (("create", "x", "--from", "missing.gguf"), 3, "There is no file 'missing.gguf'"),
        (("create", "x", "--from", "nosuch"), 3, "There is no model nosuch"),
        (("create", "x", "--from", "."), 2, "holds no GGUF file"),
        (("create", "x", "--from", "/dev/zero"), 2, "is not a regular file"),
        (("create", "x", "--from", "a" * 300), 1, "cannot be looked at (File name too long)"),
        (("create", "x", "--from", "~nosuchuser/x.gguf"), 1, "cannot be looked at"),
        (("create", "x", "--from", "a", "-f", "b"), 2, "exclude each other"),
        (("create", "./x", "--from", "a"), 2, "is a file"),
        (("create", f"x@sha256:{'0' * 64}", "--from", "a"), 2, "cannot be pinned"),
        (("cp", "a", f"x@sha256:{'0' * 64}"), 2, "cannot be pinned"),
        (("show", "nosuch"), 3, "There is no model nosuch"),
        (("cp", "nosuch", "other"), 3, "There is no model nosuch"),
        (("cp", "nosuch"), 2, "Missing argument 'TARGET'"),
        (("rm", "nosuch", "other"), 3, "There is no model nosuch, other"),
        (("rm",), 2, "Missing argument"),
        (("logs",), 3, "No model has run yet."),
        (("logs", "nosuch"), 3, "There is no model nosuch in the store."),
        (("logs", "a b"), 2, "'a b' is not a model name"),
        (("logs", "./x.gguf"), 2, "is a file"),
        (("completion",), 2, "Which shell?"),
        (("completion", "tcsh"), 2, "'tcsh' is not one of"),
        (("lsit",), 2, "slmctl has no command 'lsit'"),
        (("list", "--bogus"), 2, "No such option '--bogus'"),
        (("gc", "--al"), 2, "No such option '--al'. Did you mean one of: '--all', '--help'?"),
        (("gc", "nosuch"), 2, "unexpected extra argument"),
        (("verify", "nosuch"), 3, "There is no model nosuch"),
        (("verify", "./nosuch"), 3, "There is no file nosuch"),
        (("verify", "--digest", "abc"), 2, "is not a sha256 digest"),
        (("verify", "a", "b"), 2, "unexpected extra argument"),
        (("df", "nosuch"), 3, "There is no model nosuch"),
        (("df", "a b"), 2, "is not a model name"),
        (("export", "hello"), 2, "Missing option '-o'"),
        (("export", "nosuch", "-o", "x.tar"), 3, "There is no model nosuch"),
        (("import",), 2, "Missing argument 'FILE|DIR'"),
        (("import", "nosuch"), 3, "There is no file nosuch"),
        (("import", "nosuch", "--as", "a b"), 2, "is not a model name"),
        (("lock",), 2, "names of models"),
        (("lock", "nosuch"), 3, "There is no model nosuch"),
        (("lock", "--check", "nosuch"), 3, "There is no file"),
        (("lock", "a", "--check", "nosuch"), 2, "--check takes no names"),
        (("adopt", "nosuch"), 3, "There is no folder"),
        (("adopt", ""), 2, "The name of a folder is empty"),
        (("config", "bogus"), 2, "No such command 'bogus'"),
    ],
)
def test_a_mistake_gets_a_sentence_a_hint_and_its_exit_code(
    slmctl: Program, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    for extra in ((), ("--json",)):
        outcome = slmctl(*arguments, *extra, cwd=tmp_path)
        assert outcome.code == code
        if extra:
            error = outcome.json["error"]
            assert sentence in error["message"]
            assert error["hint"]
            assert outcome.err == ""
        else:
            assert outcome.out == ""
            assert sentence in outcome.err.splitlines()[0]
            assert outcome.hint
            assert len(outcome.err.splitlines()) == 2
    assert not slmctl.store.exists(), "a mistake makes nothing"


def test_a_home_that_cannot_be_a_folder_is_named(slmctl: Program, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for home, listed in ((tmp_path / "file", 1), (Path("/proc/slmctl"), 0)):
        environment = {"SLMCTL_HOME": str(home)}
        assert slmctl("list", environment=environment).code == listed
        outcome = slmctl("create", "x", "--from", str(tiny_model), environment=environment)
        assert (outcome.code, outcome.out) == (1, "")
        assert str(home) in outcome.err.splitlines()[0]
        assert "SLMCTL_HOME" in outcome.hint


def test_a_home_without_permission_is_named(slmctl: Program, tmp_path: Path, tiny_model: Path) -> None:
    """For root too, when it gives up the right to pass over permissions."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to give up a right")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    cases = {0o500: (0, "cannot be written"), 0o000: (1, "cannot be")}
    folders = [path for path in (slmctl.store, *slmctl.store.rglob("*")) if path.is_dir()]
    for mode, (readable, sentence) in cases.items():
        for folder in folders:
            folder.chmod(mode)
        try:
            listed = slmctl.run([*prefix, *slmctl.command("list")])
            copied = slmctl.run([*prefix, *slmctl.command("cp", "tiny", "other")])
        finally:
            for folder in folders:
                folder.chmod(0o755)
        assert listed.code == readable
        assert copied.code == 1
        assert sentence in copied.err.splitlines()[0]
        assert str(slmctl.store) in copied.err.splitlines()[0]
        assert copied.hint


def shell(slmctl: Program, script: str, **environment: str) -> tuple[int, str, str]:
    """Run a line of sh in which $S is slmctl."""
    done = subprocess.run(
        ["sh", "-c", script],
        env={**slmctl.environment, **environment, "S": str(SCRIPT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ('"$S" list >&-', 0, ""),
        ('"$S" list 2>&-', 0, ""),
        ('"$S" show nosuch >&- 2>&-', 3, ""),
        ('"$S" show nosuch 2>&-', 3, ""),
        ('"$S" list <&-', 0, ""),
        ('"$S" run nosuch <&-', 3, "no model nosuch"),
        ('"$S" create x -f - <&-', 2, "FROM"),
        (
            'mkdir "$HOME/d" && cd "$HOME/d" && rmdir "$HOME/d" && "$S" create x --from y.gguf',
            1,
            "folder is gone",
        ),
        ('"$S" version >/dev/full', 1, "No space left"),
        ('"$S" --help >/dev/full', 1, "No space left"),
        ('"$S" list --json >/dev/full', 1, "No space left"),
        ('"$S" export hello -o - >/dev/full', 1, "no space left for stdout"),
        ("\"$S\" create x --json --from $(printf '/tmp/\\377.gguf')", 3, ""),
        ("\"$S\" run $(printf '\\377') x", 2, "not a model name"),
    ],
)
def test_odd_streams_and_bytes_get_the_same_answers(
    slmctl: Program, script: str, code: int, said: str
) -> None:
    found, out, err = shell(slmctl, script)
    assert (found, "Traceback" in out + err) == (code, False), err
    assert "inside slmctl failed" not in out + err
    assert said in err


def test_an_output_that_knows_only_ascii(slmctl: Program, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {tiny_model}\nSYSTEM \u65e5\u672c \u00fc\n", encoding="utf-8")
    assert slmctl("create", "tiny", "-f", str(tmp_path / "Modelfile")).code == 0
    code, out, err = shell(slmctl, '"$S" show tiny', PYTHONIOENCODING="ascii:strict")
    assert (code, err) == (0, "")
    assert "\\u65e5" in out
    code, out, err = shell(slmctl, '"$S" show tiny --json', PYTHONIOENCODING="latin-1")
    assert json.loads(out)["variants"][0]["spec"]["system"] == "\u65e5\u672c \u00fc"


def test_a_model_runs_without_a_stdin(slmctl: Program, tiny_model: Path) -> None:
    """Its file would get the number of the closed descriptor."""
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    code, out, err = shell(slmctl, '"$S" run tiny --raw --max-tokens 3 the <&-')
    assert (code, err) == (0, "")
    assert len(out.split()) >= 2


def test_a_home_that_nobody_has(slmctl: Program) -> None:
    assert slmctl("list", environment={"SLMCTL_HOME": "~nosuchuser/x"}).code == 2
    code, _, err = shell(slmctl, 'unset HOME SLMCTL_HOME TMPDIR; "$S" version')
    assert (code, err) == (0, "")


def test_settings_come_from_the_environment_the_file_and_defaults(slmctl: Program) -> None:
    slmctl.home.mkdir()
    (slmctl.home / "config.toml").write_text("context_length = 2048\nstart_timeout = 7.5\n")
    outcome = slmctl(
        "config", "list", "--show-origin", "--json", environment={"OLLAMA_CONTEXT_LENGTH": "1024"}
    )
    rows = {row["key"]: (row["value"], row["origin"]) for row in outcome.json["settings"]}
    expected = {
        "home": (str(slmctl.home), "environment SLMCTL_HOME"),
        "store": (str(slmctl.store), "default"),
        "context_length": (1024, "environment OLLAMA_CONTEXT_LENGTH"),
        "start_timeout": (7.5, f"file {slmctl.home / 'config.toml'}"),
        "stores": ("", "default"),
    }
    assert rows | expected == rows  # and those of the network, which have a test of their own
    table = slmctl("config", "list", "--show-origin").out
    assert "file " in table
    assert "2048" in table


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("contxt_length = 1", "does not know"),
        ("context_length = 'many'", "bad value 'many'"),
        ("context_length = ", "not valid TOML"),
    ],
)
def test_a_bad_config_file_is_named(slmctl: Program, text: str, sentence: str) -> None:
    slmctl.home.mkdir()
    (slmctl.home / "config.toml").write_text(text)
    outcome = slmctl("list")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert str(slmctl.home / "config.toml") in outcome.err
    assert outcome.hint


def test_a_bad_variable_is_named(slmctl: Program) -> None:
    outcome = slmctl("list", environment={"SLMCTL_START_TIMEOUT": "soon"})
    assert outcome.code == 2
    assert "SLMCTL_START_TIMEOUT" in outcome.err


def test_version_tells_all_versions(slmctl: Program) -> None:
    document = slmctl("version", "--json").json
    assert document["engines"]["llama.cpp"]["package"] == "xllamacpp"
    assert slmctl("version").out.startswith(f"slmctl {document['version']}\n")
    assert slmctl("--version").out == f"slmctl {document['version']}\n"
