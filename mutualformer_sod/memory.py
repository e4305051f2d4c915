"""Free memory, and the peak memory of this process."""

import contextlib
import re
import shutil
import sys
from pathlib import Path


def free_memory() -> int | None:
    """Return the bytes available without swapping; None if the system does not report them."""
    found = []
    with contextlib.suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text()
        found.append(int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1]) * 1024)
    with contextlib.suppress(OSError, ValueError, TypeError):  # the limit of a container
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{n}").read_text()) for n in ("max", "current"))
        pages = re.search(r"^file (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        found.append(limit - used + int(pages[1]))  # cached file pages count as free
    return min(found, default=None)


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None if the system does not report them."""
    shared = Path("/dev/shm")
    return shutil.disk_usage(shared).free if shared.is_dir() else None


def peak_resident_memory(reset: bool = False) -> int | None:
    """Return the peak resident bytes of this process; None if the system does not report them.

    With ``reset``, the peak is first set to the present value, if the system supports a reset.
    """
    status = Path("/proc/self/status")
    if status.is_file():  # not ru_maxrss: a process inherits its parent's value
        if reset:
            with contextlib.suppress(OSError):  # not every container allows a reset
                Path("/proc/self/clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
