"""Three methods' maps of 60 images against the values of pysodmetrics 1.6.2."""

import csv
import json
import os
from pathlib import Path

import cv2
import pytest

from mutualformer_sod.metrics.evaluator import Evaluator, ImageScores

ROOT = Path(
    os.environ.get("MUTUALFORMER_SOD_DATA", Path(__file__).parents[3] / "shared" / "data")
) / ("eval/SOD60")
METHODS = ("Amulet", "DSS", "PiCANet")
TOLERANCE = {"weighted_f": 1e-6}

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"development data not at {ROOT}")


@pytest.fixture(scope="module", params=METHODS)
def evaluated(request) -> tuple[str, Evaluator, dict[str, ImageScores]]:
    evaluator, images = Evaluator(), {}
    for path in sorted((ROOT / "maps" / request.param).iterdir()):
        gt = cv2.imread(str(ROOT / "GT" / path.name), cv2.IMREAD_UNCHANGED)
        pred = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        images[path.name] = evaluator.step(pred, gt)
    return request.param, evaluator, images


def test_every_image_agrees_with_the_reference(evaluated):
    method, _, images = evaluated
    with (ROOT / "per_image.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    assert len(rows) == len(images) == 60
    for row in rows:
        scores = images[row["image"]].scores
        for name in set(row) & set(scores):
            expected = pytest.approx(float(row[name]), rel=0, abs=TOLERANCE.get(name, 1e-9))
            assert scores[name] == expected, (row["image"], name)


def test_the_set_agrees_with_the_reference(evaluated):
    method, evaluator, _ = evaluated
    expected = json.loads((ROOT / "dataset.json").read_text())[method]
    results = evaluator.results()
    assert results["images"] == expected.pop("n")
    for name, value in expected.items():
        assert results[name] == pytest.approx(value, rel=0, abs=TOLERANCE.get(name, 1e-9)), name
