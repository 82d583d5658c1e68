"""What probes of devices find: devices, what is missing, and what could not be found out."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtimes.hardware.machine import Device


@dataclass(slots=True)
class Findings:
    """Filled by one probe after the other. Ids of devices count from 0 for each kind: `gpu0`, `npu0`."""

    devices: list[Device] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def next_id(self, kind: str) -> str:
        return f"{kind}{sum(device.kind == kind for device in self.devices)}"

    def miss(self, what: str, command: str) -> None:
        if (what, command) not in self.missing:
            self.missing.append((what, command))
