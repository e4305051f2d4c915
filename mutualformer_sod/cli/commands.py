"""The console command `mutualformer-sod COMMAND`, or `python -m mutualformer_sod COMMAND`."""

import ast
import sys
from difflib import get_close_matches
from pathlib import Path

from mutualformer_sod import __version__
from mutualformer_sod.cli import common

COMMANDS = (
    *("train", "test", "evaluate", "predict", "demo", "serve", "gallery", "figure"),
    *("check-data", "make-samples", "pack-data", "pseudo-label", "estimate-depth"),
    *("pretrained", "weights", "export", "compare-fusions", "baselines", "merge-scores"),
    *("benchmark", "benchmark-attention", "benchmark-data", "benchmark-metrics"),
)


def main() -> None:
    """Run the command named by the first argument, and exit with the command's status."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(__version__)
    elif name in COMMANDS:
        sys.argv = [f"mutualformer-sod {name}", *arguments]
        common.run_command(name.replace("-", "_"))
    else:
        similar = get_close_matches(name, COMMANDS, 1)
        remedy = f"pass {similar[0]}" if similar else "see --help for the commands"
        print(f"mutualformer-sod: error: unknown command {name!r}. Fix: {remedy}.", file=sys.stderr)
        sys.exit(common.EXIT_INPUT_ERROR)


def _help() -> str:
    lines = "\n".join(f"  {name:<20} {_summary(name)}" for name in COMMANDS)
    return (
        "usage: mutualformer-sod COMMAND [ARGUMENTS]\n\nRGB-D salient object detection with "
        f"MutualFormer.\n\n{lines}\n\n`mutualformer-sod COMMAND --help` lists the arguments."
    )


def _summary(name: str) -> str:
    """Return the first line of a command's docstring without importing the command."""
    path = Path(__file__).with_name(f"{name.replace('-', '_')}.py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
