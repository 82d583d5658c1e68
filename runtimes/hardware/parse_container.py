"""What a process runs in, from what it can see. Pure.

Signs: /.dockerenv (Docker), /run/.containerenv (Podman), /run/systemd/container (systemd's container
interface), KUBERNETES_SERVICE_HOST (Kubernetes: "Discovering services"), `microsoft` in the kernel's name
(WSL).
"""

from __future__ import annotations


def container(
    *,
    environment_has_kubernetes: bool,
    has_dockerenv: bool,
    has_containerenv: bool,
    systemd: str | None,
    groups: str,
    kernel: str,
) -> str | None:
    """`kubernetes`, `podman`, `docker`, `lxc`, `systemd-nspawn`, `wsl2`, `wsl1`; None outside of all.

    `systemd` is /run/systemd/container, `groups` /proc/self/cgroup, `kernel` /proc/version.
    """
    if environment_has_kubernetes or "/kubepods" in groups:
        return "kubernetes"
    if has_containerenv or "/libpod-" in groups:
        return "podman"
    if has_dockerenv or "/docker/" in groups or "/docker-" in groups:
        return "docker"
    if systemd in {"lxc", "systemd-nspawn", "podman", "docker"}:
        return systemd
    if "/lxc/" in groups or "/lxc.payload" in groups:
        return "lxc"
    if "microsoft" in kernel.lower():
        return "wsl2" if "wsl2" in kernel.lower() else "wsl1"
    return None


def emulator(*, machine: str, cpuinfo: dict[str, str]) -> str | None:
    """Who translates this process, on Linux: `rosetta` or `qemu`; None where nobody does, or nobody can tell.

    Rosetta in a Linux machine on a Mac calls the CPU VirtualApple; QEMU's user mode may show the real CPU's
    lines, which are another architecture's.
    """
    if cpuinfo.get("vendor_id") == "VirtualApple" or "VirtualApple" in cpuinfo.get("model name", ""):
        return "rosetta"
    is_x86 = machine in {"x86_64", "i686", "AMD64", "amd64"}
    if is_x86 and "CPU implementer" in cpuinfo:
        return "qemu"
    if machine in {"aarch64", "arm64"} and "vendor_id" in cpuinfo:
        return "qemu"
    return None
