"""Where real data lies; tests that need it skip with the reason where it is absent."""

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A suite that a shell started in the background ignores Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
