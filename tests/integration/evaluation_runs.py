"""A small benchmark of two methods, and runs of tools on it in this process."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
from tool_runs import Done, run_tool

TOOL = Path(__file__).parents[2] / "tools" / "evaluate.py"
STEMS = [f"image_{i}" for i in range(6)]


def make_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gt = np.zeros((48, 64), np.uint8)
    cv2.circle(gt, (int(rng.integers(15, 50)), int(rng.integers(12, 36))), 10, 255, -1)
    noise = rng.integers(-30, 30, gt.shape)
    pred = cv2.GaussianBlur(gt, (0, 0), 2.0).astype(int) + noise
    return np.clip(pred, 0, 255).astype(np.uint8), gt


def make_bench(root: Path) -> Path:
    """Write one set of ground truths and the maps of two methods; return the folder of both."""
    for folder in ("data/MINI/GT", "maps/ours/MINI", "maps/theirs/MINI"):
        (root / folder).mkdir(parents=True)
    for seed, stem in enumerate(STEMS):
        pred, gt = make_pair(seed)
        cv2.imwrite(str(root / f"data/MINI/GT/{stem}.png"), gt)
        cv2.imwrite(str(root / f"maps/ours/MINI/{stem}.png"), pred)
        cv2.imwrite(str(root / f"maps/theirs/MINI/{stem}.png"), 255 - pred)
    return root


def evaluate(bench: Path, *flags: str) -> Done:
    """Run tools/evaluate.py in the folder of the bench, with one worker unless flags have more."""
    folders = ("--data", "data", "--maps", "maps", "--output", "out", "--workers", "1")
    return run_in(bench, "evaluate", *folders, *flags)


def run_in(folder: Path, tool: str, *arguments: str) -> Done:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return run_tool(tool, *arguments)
    finally:
        os.chdir(before)


def scores(bench: Path) -> dict:
    return json.loads((bench / "out/scores.json").read_text())


def refused(result: Done) -> str:
    """Return the error line of a run that ended with status 2."""
    assert result.status == 2
    assert "Traceback" not in result.error
    return result.error.strip().splitlines()[-1]
