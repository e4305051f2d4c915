"""How much memory there is, and how much this process has taken."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from pathlib import Path

_SHARED = Path("/dev/shm")


def free_memory() -> int | None:
    """Return the bytes that can be had without swapping; None where the system does not say."""
    found = []
    try:
        text = Path("/proc/meminfo").read_text()
        found.append(int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1]) * 1024)
    except (OSError, TypeError):
        pass
    try:  # the limit of a container; pages of files are given back when memory is wanted
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{n}").read_text()) for n in ("max", "current"))
        pages = re.search(r"^file (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        found.append(limit - used + int(pages[1]))
    except (OSError, ValueError, TypeError):
        pass
    return min(found, default=None)


def free_shared_memory() -> int | None:
    """Return the bytes that processes can still share; None where the system does not say."""
    return shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else None


def peak_resident_memory(reset: bool = False) -> int | None:
    """Return the most bytes this process was resident with; None where the system does not say.

    Args:
        reset: forget the peak before now, where the system can.
    """
    status = Path("/proc/self/status")
    if status.is_file():  # not ru_maxrss: Linux lets a process inherit its parent's
        if reset:
            with contextlib.suppress(OSError):  # not every container allows it
                Path("/proc/self/clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
