"""Make the package of this source tree importable, for the tools of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutualformer_sod.cli.common import run_command as run_command
