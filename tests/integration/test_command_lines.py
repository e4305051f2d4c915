"""What every command line does alike."""

from pathlib import Path

import pytest
from tool_runs import ROOT, error_line, run_tool

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("tool", TOOLS)
def test_help_tells_every_flag(tool):
    done = run_tool(tool, "--help")
    assert done.status == 0
    assert "usage:" in done.output


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "launch"])  # torchrun's flags
def test_an_unknown_flag_is_answered_in_one_line(tool):
    source = Path(ROOT / "tools" / f"{tool}.py").read_text()
    required = ["--data", "x", "--maps", "x", "--output", "x", "--weights", "x", "--sets", "x"]
    known = [
        word
        for flag, value in zip(required[::2], required[1::2], strict=True)
        if f'"{flag}"' in source
        for word in (flag, value)
    ]
    files = {"merge_scores": ["x.json"], "estimate_depth": ["maps"]}.get(tool, [])
    done = run_tool(tool, *files, *known, "--no-such-flag")
    assert "--no-such-flag" in error_line(done)
    assert len(done.error.splitlines()) == 1
