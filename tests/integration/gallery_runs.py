"""A small benchmark with awkward names, and the data of a gallery's page."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
from evaluation_runs import make_pair

AWKWARD_SET = "<script>alert(\"x\")<!-- & 'q' #1 100%25 ü"
STEMS = ["a #1", "b%20", 'c "quoted"', "d'e<!--<b>", "f&amp;"]


def make_gallery_bench(root: Path) -> Path:
    """Write two sets and the maps of two methods; one set has depth, the other awkward names."""
    for seed, stem in enumerate(STEMS):
        pred, gt = make_pair(seed)
        write(root / "data" / AWKWARD_SET / "GT" / f"{stem}.png", gt)
        write(root / "maps" / "good" / AWKWARD_SET / f"{stem}.png", pred)
        write(root / "maps" / "bad & <b>" / AWKWARD_SET / f"{stem}.png", 255 - pred)
    for seed in range(3):
        pred, gt = make_pair(10 + seed)
        ramp = np.linspace(0, 200, gt.shape[0]).astype(np.uint8)[:, None] + gt // 8
        write(root / f"data/DEEP/RGB/{seed}.png", np.dstack([gt, pred, pred]))
        write(root / f"data/DEEP/depth/{seed}.png", ramp)
        write(root / f"data/DEEP/GT/{seed}.png", gt)
        write(root / f"maps/good/DEEP/{seed}.png", pred)
        write(root / f"maps/bad & <b>/DEEP/{seed}.png", pred // 2 + 60)
    return root


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def page_data(folder: Path) -> dict:
    """Return the JSON inside the page of a gallery."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
