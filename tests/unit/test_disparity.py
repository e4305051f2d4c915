"""16-bit disparity, as Cityscapes stores it, stops a command; true millimetres do not."""

import cv2
import numpy as np
import pytest

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.data.audit.check import check_data
from mutualformer_sod.data.depth.disparity import disparity_question
from mutualformer_sod.data.depth.encoding import depth_to_unit
from mutualformer_sod.data.depth.evidence import weigh
from mutualformer_sod.data.depth.kind import DepthSample, decide_units
from mutualformer_sod.data.depth.polarity import encoding_of, with_encodings
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.packing.pack import PackOptions, pack_sets
from mutualformer_sod.errors import InputError

HEIGHT, WIDTH = 96, 192


def street(seed: int) -> np.ndarray:
    """Distance in metres of a road, a wall at its end and two cars, (HEIGHT, WIDTH)."""
    rng = np.random.default_rng(seed)
    rows = np.arange(HEIGHT)[:, None] - HEIGHT * 0.4
    scene = np.where(rows > 0, 220 / np.maximum(rows, 1), 60.0) * np.ones((1, WIDTH))
    scene = np.minimum(scene, rng.uniform(40, 60))
    for _ in range(2):
        left, bottom = rng.integers(10, 150), rng.integers(60, 90)
        scene[bottom - 25 : bottom, left : left + 30] = scene[bottom, left]
    return scene


def with_holes(values: np.ndarray, seed: int) -> np.ndarray:
    """Set a strip at the left and some spots to 0, as stereo matching leaves them."""
    holed = values.copy()
    holed[:, :8] = 0
    holed[np.random.default_rng(seed).random(values.shape) < 0.02] = 0
    return holed


def cityscapes(seed: int) -> np.ndarray:
    """Disparity x 256 + 1, 0 = no value."""
    pixels = 2262 * 0.22 / street(seed)
    return with_holes(np.rint(pixels * 256 + 1).astype(np.uint16), seed)


def millimetres(seed: int) -> np.ndarray:
    """The same street as distances, compressed to the reach of a depth camera."""
    return with_holes(np.rint(street(seed) * 150).astype(np.uint16), seed)


def samples_of(maps):
    return [DepthSample.of(depth) for depth in maps]


def make_set(folder, depth, count=3):
    for role in ("RGB", "depth", "GT"):
        (folder / role).mkdir(parents=True)
    for seed in range(count):
        shown = (255 / (1 + street(seed) / 10)).astype(np.uint8)
        cv2.imwrite(str(folder / "RGB" / f"{seed}.png"), np.dstack([shown] * 3))
        cv2.imwrite(str(folder / "depth" / f"{seed}.png"), depth(seed))
        cv2.imwrite(str(folder / "GT" / f"{seed}.png"), np.uint8(255) * (shown > 90))
    return folder


@pytest.mark.parametrize("count", [1, 3, 20])
def test_encoding_of_cityscapes_disparity_asks(count):
    with pytest.raises(
        InputError, match=r"0 in 6.*% of the pixels.*--near disparity.*--near black"
    ):
        encoding_of(samples_of(map(cityscapes, range(count))))


def test_encoding_of_whole_pixel_disparity_asks():
    maps = [(cityscapes(seed) // 256) * np.uint16(256) for seed in range(3)]
    with pytest.raises(InputError, match="--near disparity"):
        encoding_of(samples_of(maps))


def test_encoding_of_undecided_disparity_beyond_the_reach_of_cameras_asks():
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.uniform(5, 90, (12, 24)).astype(np.float32), (WIDTH, HEIGHT))
    depth = with_holes((noise * 256).astype(np.uint16), 0)
    with pytest.raises(InputError, match="--near disparity"):
        encoding_of(samples_of([depth]))


@pytest.mark.parametrize("count", [1, 3, 20])
def test_encoding_of_millimetres_with_holes_does_not_ask(count):
    encoding = encoding_of(samples_of(map(millimetres, range(count))))
    assert (encoding.kind, encoding.near) == ("metric", "black")


def test_encoding_of_undecided_millimetres_of_a_camera_does_not_ask():
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.uniform(600, 5000, (12, 24)).astype(np.float32), (WIDTH, HEIGHT))
    assert encoding_of(samples_of([with_holes(noise.astype(np.uint16), 0)])).kind == "metric"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_encoding_of_8_bit_and_float_maps_does_not_ask(dtype):
    maps = [(cityscapes(seed) // 128).astype(np.uint8).astype(dtype) for seed in range(3)]
    assert encoding_of(samples_of(maps)).near == "white"


def test_encoding_of_given_disparity_has_holes_at_0_and_large_near():
    depth = cityscapes(0)
    encoding = encoding_of(samples_of([depth]), "disparity")
    assert (encoding.kind, encoding.near, encoding.side) == ("disparity", "white", "disparity")
    assert encoding.holes == pytest.approx(np.mean(depth == 0))
    unit = depth_to_unit(depth, encoding)
    valid = depth > 0
    assert unit[valid].min() == 0  # the farthest measured pixel, not the holes
    assert np.corrcoef(unit[valid], depth[valid])[0, 1] > 0.999


def test_near_disparity_is_taken_for_one_set(tmp_path):
    make_set(tmp_path / "Street", cityscapes)
    (found,) = with_encodings(discover_sets([tmp_path]), ["Street=disparity"])
    assert found.encoding.kind == "disparity"


def test_check_data_reports_disparity_until_it_is_answered(tmp_path):
    make_set(tmp_path / "Street", cityscapes)
    (finding,) = [f for f in check_data([tmp_path]).findings if f.kind == "disparity"]
    assert finding.level == "problem"
    assert "--near Street=disparity" in finding.line()
    answered = check_data([tmp_path], near=["Street=disparity"])
    assert not [f for f in answered.findings if f.kind in ("disparity", "polarity")]


def test_pack_sets_asks_and_records_the_answer(tmp_path):
    make_set(tmp_path / "data" / "Street", cityscapes)
    arguments = ([tmp_path / "data"], None, PackOptions(side=64), tmp_path / "pack")
    with pytest.raises(InputError, match="--near Street=disparity"):
        pack_sets(*arguments)
    index = pack_sets(*arguments, near=["disparity"])
    assert index["sets"]["Street"]["depth"] == {"kind": "disparity", "near": "white"}


def test_predictor_with_disparity_asks_by_argument():
    model = build_model(
        "tiny-scratch", dim=16, backbone="test_vit", stem="patch", feature_blocks=(2, 4)
    )
    predictor = Predictor(model.eval(), 64)
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(InputError, match='near="disparity"'):
        predictor.predict(rgb, cityscapes(0), near="auto")
    assert predictor.predict(rgb, cityscapes(0), near="disparity").shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("name", ["HOTS", "UW", "gqcnn", "tracebot", "NLPR"])
def test_real_millimetres_are_not_asked_about_map_by_map(shared_data, name):
    (found,) = discover_sets([shared_data / "train_rgbd", shared_data / "unlabelled_rgbd"], [name])
    for sample in found.samples[:: max(1, len(found.samples) // 25)]:
        depth = cv2.imread(str(sample.depth), cv2.IMREAD_UNCHANGED)
        one = samples_of([depth])
        units = decide_units(one)
        assert disparity_question(one, units, weigh(one, units.metric)) is None
