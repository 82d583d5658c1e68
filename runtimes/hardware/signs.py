"""Whether there may be a GPU or an NPU, from names of files alone: what each `run` can afford to ask.

Which files there are decides which probes are imported: their imports cost more than the probing of a machine
that has nothing of the kind.
"""

from __future__ import annotations

from runtimes.hardware.system import System

NVIDIA_CONTROL = "/dev/nvidiactl"
NVIDIA_DRIVER = "/proc/driver/nvidia/version"
NVIDIA_WSL = "/usr/lib/wsl/lib/libnvidia-ml.so.1"
TEGRA_RELEASE = "/etc/nv_tegra_release"
TEGRA_COMPATIBLE = "/proc/device-tree/compatible"
DRM = "/sys/class/drm"
ACCEL = "/sys/class/accel"
FASTRPC = "/dev/fastrpc-cdsp"


def is_jetson(system: System) -> bool:
    return system.exists(TEGRA_RELEASE) or "nvidia,tegra" in (system.value(TEGRA_COMPATIBLE) or "")


def may_have_nvidia(system: System) -> bool:
    """Anything that NVIDIA's probe has something to say about, a driver without devices too."""
    return is_jetson(system) or any(map(system.exists, (NVIDIA_CONTROL, NVIDIA_DRIVER, NVIDIA_WSL)))


def may_have_others(system: System) -> bool:
    """Anything that the probes of sysfs may find."""
    cards = any(name.startswith("card") for name in system.names(DRM))
    return cards or bool(system.names(ACCEL)) or system.exists(FASTRPC)


def can_use_gpu(system: System) -> bool:
    """Whether this process may open a GPU of any maker."""
    if system.platform == "darwin":
        return system.machine == "arm64"
    renders = any(name.startswith("renderD") for name in system.names("/dev/dri"))
    return renders or any(map(system.exists, (NVIDIA_CONTROL, "/dev/dxg", "/dev/kfd", TEGRA_RELEASE)))
