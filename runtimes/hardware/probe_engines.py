"""Which engines are here, and what their builds say of themselves.

Nothing is imported into this process: versions are read from the folders of `sys.path`, and llama.cpp's build
is asked in a child. Its answer holds as long as the engine and the devices are the same, and is cached so.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runtimes.hardware import known_engines as known
from runtimes.hardware import parse_llamacpp as parse
from runtimes.hardware.cache import Cache
from runtimes.hardware.findings import Findings
from runtimes.hardware.machine import Cpu, Device, EngineBuild
from runtimes.hardware.system import System
from runtimes.hardware.unused import what_is_unused
from runtimes.installed import installed_packages, installed_version
from runtimes.launch import worker_argv

INSPECT_SECONDS = 20.0
"""Importing an engine with CUDA from a cold disk takes that long on a slow machine."""


def probe_engines(
    system: System,
    cpu: Cpu,
    findings: Findings,
    *,
    cache: Cache,
    folders: Sequence[str] | None = None,
    ask: bool = True,
) -> tuple[EngineBuild, ...]:
    """The engines; adds the devices that only an engine sees.

    `folders` are where distributions are looked for, `sys.path` unless given. Without `ask` no child is
    started: what is not cached is then what the wheel for this machine is known to be made for.
    """
    where = tuple(sys.path if folders is None else folders)
    packages = installed_packages(where)
    has_cuda = any("cuda" in device.apis for device in findings.devices)
    engines = []
    for name in (known.LLAMA_CPP, known.LLAMA_SERVER, "mlx", "onnxruntime-genai", "vllm", known.BITNET):
        install = known.install_command(
            name, platform=system.platform, architecture=system.machine, has_cuda=has_cuda
        )
        if name == known.LLAMA_CPP:
            engine = _xllamacpp(system, cpu, findings.devices, where, packages, cache, install, ask=ask)
        elif name == known.LLAMA_SERVER:
            engine = _llama_server(system, cpu, findings.devices, cache, install, ask=ask)
        else:
            engine = _packaged(name, system, findings.devices, packages, install)
        if engine.note and (not engine.apis or "could not be asked" in engine.note):
            findings.notes.append(f"{engine.name}: {engine.note}")
        engines.append(engine)
    return tuple(engines)


def _xllamacpp(
    system: System,
    cpu: Cpu,
    devices: list[Device],
    folders: Sequence[str],
    packages: Mapping[str, str],
    cache: Cache,
    install: str | None,
    *,
    ask: bool,
) -> EngineBuild:
    version = packages.get("xllamacpp") or installed_version("xllamacpp", folders)
    if version is None:
        return EngineBuild(
            name=known.LLAMA_CPP, installed=False, install=install, source="no distribution xllamacpp"
        )
    key = ["xllamacpp", version, _stamp(folders, "xllamacpp"), *_surroundings(system, cpu, devices)]
    kept = cache.text("llama.cpp", key)
    words = None if kept is None else parse.inspected(kept)
    source = f"xllamacpp {version}'s own words"
    if words is None and not ask:
        return _unasked(system, version, cpu, install)
    if words is None:
        kept = None
        answer = system.run(worker_argv("llamacpp_inspect", python=sys.executable), seconds=INSPECT_SECONDS)
        words = parse.inspected(answer.text or "")
        if words is None:
            return _unusable(system, version, answer.problem, cpu, install)
    ids, is_momentary = _match(devices, words.devices)
    if kept is None and not is_momentary:
        cache.keep("llama.cpp", key, words.text)
    note = what_is_unused(cpu, words.features)
    return EngineBuild(
        name=known.LLAMA_CPP,
        installed=True,
        version=version,
        apis=words.apis,
        features=words.features,
        devices=ids,
        install=install,
        note=note.sentence if note else None,
        source=source,
    )


def _unusable(
    system: System, version: str, problem: str | None, cpu: Cpu, install: str | None
) -> EngineBuild:
    """A build that did not answer. Only one that died of an illegal instruction is known not to run."""
    if problem is not None and "SIGILL" in problem:
        return _illegal(version, cpu)
    note = f"it could not be asked what it can do: {problem or 'it said nothing that is understood'}."
    return replace(_unasked(system, version, cpu, install), note=note)


def _illegal(version: str, cpu: Cpu) -> EngineBuild:
    wanted = known.WHEEL_FEATURES.get(cpu.architecture, ())
    lacks = [name for name in wanted if name not in cpu.features]
    which = f" ({', '.join(lacks)})" if lacks else ""
    return EngineBuild(
        name=known.LLAMA_CPP,
        installed=True,
        version=version,
        install=known.XLLAMACPP_FROM_SOURCE,
        note=f"its build has instructions that this CPU does not have{which}, and cannot run.",
        source=f"xllamacpp {version} on this CPU",
    )


def _unasked(system: System, version: str, cpu: Cpu, install: str | None) -> EngineBuild:
    features = known.WHEEL_FEATURES.get(cpu.architecture) if system.platform == "linux" else None
    if features and cpu.features and not set(features) <= set(cpu.features):
        return _illegal(version, cpu)
    note = what_is_unused(cpu, features)
    return EngineBuild(
        name=known.LLAMA_CPP,
        installed=True,
        version=version,
        apis=("cpu",),
        features=features,
        install=install,
        note=note.sentence if note else None,
        source=f"what the wheel of xllamacpp {version} is known to be made for",
    )


def was_told_of(api: str, cache: Cache, folders: Sequence[str] | None = None) -> bool | None:
    """Whether the installed xllamacpp said that it can compute that way; None where it was never asked."""
    where = tuple(sys.path if folders is None else folders)
    version = installed_version("xllamacpp", where)
    if version is None:
        return False
    kept = cache.text_beginning("llama.cpp", ["xllamacpp", version, _stamp(where, "xllamacpp")])
    words = None if kept is None else parse.inspected(kept)
    return None if words is None else api in words.apis


def _llama_server(
    system: System,
    cpu: Cpu,
    devices: list[Device],
    cache: Cache,
    install: str | None,
    *,
    ask: bool,
) -> EngineBuild:
    """A llama-server on the PATH; its CPU code picks what the CPU has, in the releases of llama.cpp."""
    path = shutil.which(known.LLAMA_SERVER, path=system.environment.get("PATH", ""))
    if path is None:
        return EngineBuild(
            name=known.LLAMA_SERVER, installed=False, install=install, source="not on the PATH"
        )
    key = [path, _file_stamp(Path(path)), *_surroundings(system, cpu, devices)]
    kept = cache.text("llama-server", key)
    text = kept
    if text is None and not ask:
        return EngineBuild(name=known.LLAMA_SERVER, installed=True, install=install, source=path)
    if text is None:
        said = system.run([path, "--version"], with_errors=True)
        if said.text is not None and said.problem is None:
            listed = system.run([path, "--list-devices"], with_errors=True)
            said = replace(said, text=f"{said.text}\n{listed.text or ''}", problem=listed.problem)
        if said.text is None or said.problem is not None:
            note = f"it could not be asked: {said.problem}."
            return EngineBuild(
                name=known.LLAMA_SERVER, installed=True, install=install, note=note, source=path
            )
        text = said.text
    found = parse.listed_devices(text)
    ids, is_momentary = _match(devices, found)
    if kept is None and not is_momentary:
        cache.keep("llama-server", key, text)
    return EngineBuild(
        name=known.LLAMA_SERVER,
        installed=True,
        version=parse.version(text),
        apis=tuple(sorted({"cpu", *(each.api for each in found if each.api)})),
        devices=ids,
        install=install,
        source=f"{path} --list-devices",
    )


def _packaged(
    name: str, system: System, devices: Sequence[Device], packages: Mapping[str, str], install: str | None
) -> EngineBuild:
    wanted = known.PACKAGES.get(name, ())
    found = {package: packages[package] for package in wanted if package in packages}
    if not found:
        source = f"no distribution {wanted[0]}" if wanted else "slmctl cannot see whether it is here"
        return EngineBuild(name=name, installed=False, install=install, source=source)
    package, version = next(iter(found.items()))
    apis: set[str] = set()
    if name == "mlx":
        apis = {"metal"} if system.platform == "darwin" else {"cpu"}
        if any(each in packages for each in ("mlx_cuda_12", "mlx_cuda_13", "mlx_cuda")):
            apis.add("cuda")
    elif name == "onnxruntime-genai":
        apis = {"cpu"} | ({"cuda"} if package.endswith("cuda") else set())
    elif name == "vllm":
        apis = {next((api for api in ("cpu", "rocm") if f"+{api}" in version), "cuda")}
    usable = tuple(device.id for device in devices if apis & set(device.apis))
    return EngineBuild(
        name=name,
        installed=True,
        version=version,
        apis=tuple(sorted(apis)),
        devices=usable,
        install=install,
        source=f"distribution {package} {version}",
    )


def _match(devices: list[Device], seen: Sequence[parse.SeenDevice]) -> tuple[tuple[str, ...], bool]:
    """Ids of the devices that an engine sees, and whether that is of the moment; adds what only it sees."""
    if not seen:
        return (), False
    from runtimes.hardware.matching import matched  # most builds see none

    found = matched(devices, seen)
    devices[:] = found.devices
    return found.ids, found.is_momentary


def _surroundings(system: System, cpu: Cpu, devices: Sequence[Device]) -> list[str]:
    """What changes a build's answer beside the build: devices, their drivers, and what hides some of them."""
    hiding = [f"{name}={value}" for name, value in sorted(system.environment.items()) if "VISIBLE" in name]
    named = [f"{each.id} {each.name} {each.driver} {each.uuid}" for each in devices]
    return [str(cpu.model), " ".join(cpu.features), *named, *hiding]


def _stamp(folders: Sequence[str], package: str) -> str:
    """When the folder of an installed package was changed: a forced reinstall of the same version is seen."""
    for folder in folders:
        stamp = _file_stamp(Path(folder or ".") / package)
        if stamp:
            return stamp
    return ""


def _file_stamp(path: Path) -> str:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{path} {status.st_size} {status.st_mtime_ns}"
