"""Where real data lies; tests that need it skip with the reason where it is absent."""

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before anything imports torch: without this limit --amp auto would train in bf16 on some CPUs, and
# the suite is to do the same everywhere.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")

ROOT = Path(__file__).resolve().parents[1]

# A suite that a shell started in the background ignores Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the libraries and the tests, which live to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (see its README)."""
    path = Path(os.environ.get("MUTUALFORMER_SOD_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data: set MUTUALFORMER_SOD_DATA ({path} does not exist)")
    return path


@pytest.fixture(scope="session")
def reference_block(shared_data: Path) -> Path:
    """Golden tensors of the authors' released block."""
    path = shared_data.parent / "reference" / "mutualformer_block.npz"
    if not path.is_file():
        pytest.skip(f"no golden tensors of the released block: {path} does not exist")
    return path


@pytest.fixture
def full_disk() -> Callable[..., contextlib.AbstractContextManager]:
    """Context in which no file can grow beyond a few bytes: what a full disk looks like."""
    resource = pytest.importorskip("resource", reason="no limit on files on this system")

    @contextlib.contextmanager
    def limited(most_bytes: int = 16) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
