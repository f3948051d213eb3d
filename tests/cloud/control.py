"""What tests may change in a running region: missing capacity, and ports shown to its machines.

A file that the tests write and the region reads: tests and region are different processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """``no_capacity``: regions, zones and instance types that are sold out; ``exposed``: ports of this
    machine's loopback that machines see at their own; ``quotas``: vCPUs by AWS's code, of those that are
    not plenty."""

    no_capacity: tuple[str, ...] = ()
    exposed: tuple[int, ...] = ()
    quotas: tuple[tuple[str, float], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Control:
        """What was written last; all is well where nothing was."""
        try:
            written = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        return cls(
            no_capacity=tuple(written["no_capacity"]),
            exposed=tuple(written["exposed"]),
            quotas=tuple((code, value) for code, value in written["quotas"]),
        )

    def write(self, path: Path) -> None:
        """Replace the file at once, so that no reader sees half of it."""
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self)))
        beside.replace(path)
