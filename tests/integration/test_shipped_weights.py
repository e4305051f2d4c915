"""The weights of tiny: what they do."""

import shutil

import cv2
import numpy as np
import pytest
from tool_runs import ROOT, run_tool

from mutualformer_sod import Predictor
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import make_scene
from mutualformer_sod.imaging.io import read_gt
from mutualformer_sod.metrics import Evaluator

WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"


def test_they_find_objects_that_only_one_modality_shows():
    predictor = Predictor.from_weights(WEIGHTS, device="cpu")
    evaluators = {}
    for index in range(18):
        scene = make_scene(seed=31, index=index)
        depth = scene.depth.astype(np.float32)
        depth = (depth - depth.min()) / (depth.max() - depth.min())
        evaluator = evaluators.setdefault(scene.kind, Evaluator())
        evaluator.step(predictor.predict(scene.rgb, depth), scene.gt)
    scores = {kind: e.results()["s_measure"] for kind, e in evaluators.items()}
    assert set(scores) == {"depth", "colour", "either"}
    assert min(scores.values()) > 0.92, scores


def make_maps(data, output, *options):
    arguments = ("--data", data, "--weights", WEIGHTS, "--output", output, "--workers", 0)
    done = run_tool("test", *arguments, *options)
    assert done.status == 0, done.error
    files = sorted(output.rglob("*.png"))
    return {f.relative_to(output).as_posix(): cv2.imread(str(f), -1).astype(int) for f in files}


@pytest.fixture(scope="module")
def spot_maps(shared_data, tmp_path_factory):
    return make_maps(shared_data / "spot", tmp_path_factory.mktemp("spot"))


@pytest.fixture(scope="module")
def float32_maps(shared_data, tmp_path_factory):
    return make_maps(shared_data / "spot", tmp_path_factory.mktemp("float32"), "--amp", "off")


def test_spot_gives_17_maps_at_native_size(shared_data, spot_maps):
    assert len(spot_maps) == 17
    for sod_set in discover_sets([shared_data / "spot"]):
        for sample in sod_set.samples:
            gt = cv2.imread(str(sample.gt), cv2.IMREAD_GRAYSCALE)
            assert (
                spot_maps[f"mutualformer_tiny/{sod_set.name}/{sample.stem}.png"].shape == gt.shape
            )


def test_spot_check_scores_equal_the_model_card(shared_data, spot_maps):
    evaluator = Evaluator()
    for sod_set in discover_sets([shared_data / "spot"]):
        for sample in sod_set.samples:
            saliency = spot_maps[f"mutualformer_tiny/{sod_set.name}/{sample.stem}.png"]
            evaluator.step(saliency.astype(np.uint8), read_gt(sample.gt))
    results = evaluator.results()
    assert results["s_measure"] == pytest.approx(0.887, abs=0.003)
    assert results["mae"] == pytest.approx(0.043, abs=0.003)


@pytest.mark.parametrize("change", ["inverted", "x257"])
def test_another_coding_of_the_depth_gives_the_same_maps(
    shared_data, float32_maps, tmp_path, change
):
    for source in (shared_data / "spot").rglob("*.*"):
        target = tmp_path / "data" / source.relative_to(shared_data / "spot")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.parent.name != "depth":
            shutil.copyfile(source, target)
            continue
        depth = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
        coded = 255 - depth if change == "inverted" else depth.astype(np.uint16) * 257
        cv2.imwrite(str(target.with_suffix(".png")), coded)
    changed = make_maps(tmp_path / "data", tmp_path / "maps", "--amp", "off")
    assert changed.keys() == float32_maps.keys()
    for name, saliency in changed.items():
        assert np.abs(saliency - float32_maps[name]).max() <= 1, name
