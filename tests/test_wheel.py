"""The wheel, built and installed as a user gets it: into a clean environment, outside of this repository."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = {"slmctl", "modelfiles", "registry", "runtimes"}


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, REPOSITORY, cwd=folder)
    (wheel,) = folder.glob("slmctl-*.whl")
    return wheel


def tracked_data() -> set[str]:
    """Files of the four packages that are not modules, as they lie in the repository."""
    return {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }


@pytest.mark.asks("pypi.org", "files.pythonhosted.org")  # pip, for what builds the wheel
def test_the_wheel_holds_the_four_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    data = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    assert data == tracked_data()
    assert {f"{package}/py.typed" for package in PACKAGES} <= data
    assert "runtimes/workers/llamacpp.py" in names
    modules = {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules


@pytest.mark.slow
@pytest.mark.asks("pypi.org", "files.pythonhosted.org")
def test_the_installed_wheel_runs_beside_folders_of_the_same_names(
    wheel: Path, tmp_path: Path, tiny_model: Path
) -> None:
    """A folder called registry/ where the user happens to be is not slmctl's registry."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True, symlinks=True)
    programs = environment / "bin"
    run(programs / "python", "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    here = tmp_path / "here"
    for name in ("registry", "runtimes"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise RuntimeError('an intruder')\n")
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    slmctl = programs / "slmctl"

    version = run(slmctl, "version", cwd=here, environment=variables)
    assert version.startswith("slmctl ")
    assert run(slmctl, cwd=here, environment=variables).startswith("slmctl ")
    assert run(slmctl, "--help", cwd=here, environment=variables).startswith("Usage: slmctl")
    run(slmctl, "create", "tiny", "--from", tiny_model, cwd=here, environment=variables)
    answer = run(slmctl, "run", "tiny", "--max-tokens", "3", "once", cwd=here, environment=variables)
    assert len(answer.split()) >= 2
    assert (tmp_path / ".local" / "share" / "slmctl" / "store" / "index.json").exists()

    intruded = subprocess.run(
        [slmctl, "version"],
        cwd=here,
        env={**variables, "PYTHONPATH": str(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (intruded.returncode, intruded.stdout) == (1, "")
    assert "The package 'registry' that Python finds is not slmctl's" in intruded.stderr
    assert str(here / "registry") in intruded.stderr
    assert "pipx" in intruded.stderr.splitlines()[1]
