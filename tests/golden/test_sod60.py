"""Compare the maps of three methods on 60 images with the values of pysodmetrics 1.6.2."""

import csv
import json
from pathlib import Path

import cv2
import pytest

from mutualformer_sod.metrics.evaluator import Evaluator, ImageScores

METHODS = ("Amulet", "DSS", "PiCANet")
TOLERANCE = {"weighted_f": 1e-6}


@pytest.fixture(scope="module")
def sod60(shared_data: Path) -> Path:
    return shared_data / "eval" / "SOD60"


@pytest.fixture(scope="module", params=METHODS)
def evaluated(request, sod60) -> tuple[str, Evaluator, dict[str, ImageScores]]:
    evaluator, images = Evaluator(), {}
    for path in sorted((sod60 / "maps" / request.param).iterdir()):
        gt = cv2.imread(str(sod60 / "GT" / path.name), cv2.IMREAD_UNCHANGED)
        pred = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        images[path.name] = evaluator.step(pred, gt)
    return request.param, evaluator, images


def test_score_image_agrees_with_the_reference(evaluated, sod60):
    method, _, images = evaluated
    with (sod60 / "per_image.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    assert len(rows) == len(images) == 60
    for row in rows:
        scores = images[row["image"]].scores
        for name in set(row) & set(scores):
            expected = pytest.approx(float(row[name]), rel=0, abs=TOLERANCE.get(name, 1e-9))
            assert scores[name] == expected, (row["image"], name)


def test_evaluator_agrees_with_the_reference(evaluated, sod60):
    method, evaluator, _ = evaluated
    expected = json.loads((sod60 / "dataset.json").read_text())[method]
    results = evaluator.results()
    assert results["images"] == expected.pop("n")
    for name, value in expected.items():
        assert results[name] == pytest.approx(value, rel=0, abs=TOLERANCE.get(name, 1e-9)), name
