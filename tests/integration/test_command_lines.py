"""What every command line does alike."""

import pytest
from tool_runs import ROOT, error_line, run_tool

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("tool", TOOLS)
def test_help_prints_the_usage(tool):
    done = run_tool(tool, "--help")
    assert done.status == 0
    assert "usage:" in done.output


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "launch"])  # torchrun's flags
def test_unknown_flag_is_answered_in_one_line(tool):
    files = {"merge_scores": ["x.json"], "estimate_depth": ["maps"]}.get(tool, [])
    line = error_line(run_tool(tool, *files, "--no-such-flag"))  # names the required flags first
    missing = line.partition("are required: ")[2].partition(". Fix: ")[0]
    required = [word for flag in missing.split(", ") if flag for word in (flag, "x")]
    done = run_tool(tool, *files, *required, "--no-such-flag")
    assert "--no-such-flag" in error_line(done)
    assert len(done.error.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("pack_data --unpack pack --output sets --side 64", "--side"),
        ("pack_data --unpack pack --output sets --near white", "--near"),
        ("estimate_depth maps --data d --sets s --output o --weights w --epochs 2", "--epochs"),
        ("benchmark_metrics --metrics all --workers 1", "--workers"),
        ("compare_fusions --report --output runs --epochs 3", "--epochs"),
        ("compare_fusions --output runs --data d --scenes 30", "--scenes"),
        ("export --weights tiny --output x.onnx --limit 2", "--limit"),
        ("export --weights tiny --output x.onnx --rounds 2", "--rounds"),
        ("benchmark_data --data d --train-sets s --cache-dir c", "--cache-dir"),
        ("benchmark_data --data d --train-sets s --cache off --cache-side 64", "--cache-side"),
        ("check_data --data d --overwrite", "--overwrite"),
    ],
)
def test_flag_without_effect_is_refused_in_one_line(tmp_path, monkeypatch, command, flag):
    monkeypatch.chdir(tmp_path)
    line = error_line(run_tool(*command.split()))
    assert f"{flag} has no effect with" in line and f"Fix: omit {flag}" in line
