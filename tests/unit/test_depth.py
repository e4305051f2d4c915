"""What depth maps mean: units, polarity and the way to [0, 1], on maps made for the purpose."""

import logging

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.depth.encoding import WEAK_MARGIN, DepthEncoding, depth_to_unit
from mutualformer_sod.data.depth.evidence import polarity
from mutualformer_sod.data.depth.near import parse_near
from mutualformer_sod.data.depth.polarity import (
    encoding_of,
    encodings_by_name,
    read_samples,
    with_encodings,
)
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.modality import THERMAL
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_depth

HEIGHT, WIDTH = 60, 80
NEAR_WHITE = DepthEncoding("map", "white", 1.0, "made so")
NEAR_BLACK = DepthEncoding("map", "black", 1.0, "made so")
METRIC = DepthEncoding("metric", "black", 1.0, "made so")


def decide_encoding(paths, near="auto", name="", strict=False):
    return encoding_of(read_samples(paths, name), near, name, strict=strict)


def distance(seed: int) -> np.ndarray:
    """A floor, a wall behind it and an upright object, as distance in metres."""
    rng = np.random.default_rng(seed)
    rows = np.arange(HEIGHT)[:, None]
    floor = 40 / np.maximum(rows - rng.integers(5, 15), 4)
    scene = np.minimum(floor, rng.uniform(3, 5)) * np.ones((1, WIDTH))
    left, top = rng.integers(20, 45), rng.integers(15, 30)
    scene[top : top + 20, left : left + 12] = scene[top + 20, left]
    return scene + rng.normal(0, 0.01, scene.shape)


def disparity(seed: int) -> np.ndarray:
    """The same scene as an 8-bit map, near = white, over the full range."""
    values = 1 / distance(seed)
    values = (values - values.min()) / (values.max() - values.min())
    return np.rint(values * 255).astype(np.uint8)


def write(folder, maps, suffix=".png"):
    folder.mkdir()
    paths = []
    for number, array in enumerate(maps):
        paths.append(folder / f"{number}{suffix}")
        if suffix == ".npy":
            np.save(paths[-1], array)
        else:
            cv2.imwrite(str(paths[-1]), array)
    return paths


@pytest.fixture
def maps() -> list[np.ndarray]:
    return [disparity(seed) for seed in range(5)]


# Polarity


def test_white_is_near_where_the_floor_is_white(tmp_path, maps):
    encoding = decide_encoding(write(tmp_path / "a", maps))
    assert (encoding.kind, encoding.near, encoding.is_weak) == ("map", "white", False)


def test_evidence_of_an_inverted_map_is_exactly_the_opposite(maps):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    for depth in (*maps, noise):
        assert polarity(255 - depth) == tuple(-value for value in polarity(depth))


def test_evidence_does_not_depend_on_the_coding_of_depth(maps):
    for depth in maps:
        coded = np.exp(depth / 50.0) + 7
        assert polarity(coded) == polarity(depth)


def test_polarity_object_in_the_middle_is_near():
    pillar = np.zeros((HEIGHT, WIDTH))
    pillar[:, 30:50] = 1
    ground, centre = polarity(pillar)
    assert ground == pytest.approx(0, abs=1e-12)
    assert centre > 0.3


def test_polarity_constant_map_gives_no_evidence():
    assert polarity(np.full((HEIGHT, WIDTH), 7)) == (0, 0)


COPIES = {
    "inverted": (lambda d: 255 - d, ".png"),
    "x257": (lambda d: d.astype(np.uint16) * 257, ".png"),
    "x257 inverted": (lambda d: 65535 - d.astype(np.uint16) * 257, ".png"),
    "in 16 bits": (lambda d: d.astype(np.uint16), ".png"),
    "x256": (lambda d: d.astype(np.uint16) << 8, ".png"),
    "float to 255": (lambda d: d.astype(np.float32), ".npy"),
    "float to 1": (lambda d: d.astype(np.float32) / 255, ".npy"),
    "float64 to 1, inverted": (lambda d: 1 - d / 255, ".npy"),
    "float tiff": (lambda d: d.astype(np.float32), ".tif"),
    "three channels": (lambda d: np.dstack([d, d, d]), ".png"),
}


@pytest.mark.parametrize("rule", ["minmax", "percentile"])
@pytest.mark.parametrize("name", COPIES)
def test_copies_of_a_set_give_the_same_depth(tmp_path, maps, name, rule):
    change, suffix = COPIES[name]
    plain = write(tmp_path / "plain", maps)
    copied = write(tmp_path / "copy", [change(depth) for depth in maps], suffix)
    first, second = decide_encoding(plain), decide_encoding(copied)
    assert second.kind == "map"
    assert second.margin == pytest.approx(first.margin, abs=1e-9)
    assert (second.near != first.near) == ("inverted" in name)
    for one, other in zip(plain, copied, strict=True):
        a = depth_to_unit(read_depth(one), first, rule)
        b = depth_to_unit(read_depth(other), second, rule)
        assert np.abs(a - b).max() < 1e-5


def test_images_of_both_signs_make_a_weak_decision(tmp_path, maps, caplog):
    paths = write(tmp_path / "a", [*maps[:3], *(255 - depth for depth in maps[3:])])
    with caplog.at_level(logging.WARNING):
        encoding = decide_encoding(paths, name="MIXED")
    assert encoding.is_weak
    assert "3 of 5 images agree" in encoding.reason
    assert "--near MIXED=white or --near MIXED=black" in caplog.text


def test_strict_stops_at_a_weak_decision_only(tmp_path, maps):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    with pytest.raises(InputError, match=r"NOISE: .*WEAK.*--near NOISE=white"):
        decide_encoding(write(tmp_path / "a", [noise]), name="NOISE", strict=True)
    assert decide_encoding(write(tmp_path / "b", maps), strict=True).near == "white"


def test_decide_encoding_with_polarity_of_the_user_applies_it(tmp_path, maps):
    encoding = decide_encoding(write(tmp_path / "a", maps), "black")
    assert (encoding.near, encoding.margin) == ("black", None)  # not measured
    assert "--near" in encoding.reason
    metric = [np.rint(distance(0) * 1000).astype(np.uint16)]
    assert decide_encoding(write(tmp_path / "b", metric), "white").near == "white"


# Units


def with_hole(depth, value=0):
    depth = depth.copy()
    depth[:9, :9] = value
    return depth


@pytest.mark.parametrize(
    ("change", "suffix", "words"),
    [
        (lambda d: with_hole(np.rint(d * 1000).astype(np.uint16)), ".png", "16-bit millimetres"),
        (
            lambda d: with_hole(np.rint(d * 1000).astype(np.uint16), 65535),
            ".png",
            "16-bit millimetres",
        ),
        (lambda d: with_hole(d.astype(np.float32)), ".npy", "metres"),
        (lambda d: with_hole(d.astype(np.float32), np.nan), ".npy", "metres"),
        (lambda d: with_hole(d.astype(np.float32), -1), ".npy", "metres"),
        (lambda d: (d / 8 + 0.15).astype(np.float32), ".npy", "metres"),  # all below 1 m
        (lambda d: (d * 1000).astype(np.float32), ".npy", "floating-point millimetres"),
    ],
)
def test_metric_depth_is_recognised_and_small_is_near(tmp_path, change, suffix, words):
    paths = write(tmp_path / "a", [change(distance(seed)) for seed in range(3)], suffix)
    encoding = decide_encoding(paths)
    assert (encoding.kind, encoding.near) == ("metric", "black")
    assert words in encoding.reason


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        (lambda d: d.astype(np.uint16) * 200 + 3, ".png"),  # up to 51003
        (lambda d: (d / 255.0) ** 2, ".npy"),
        (lambda d: d / 255.0 * 0.9, ".npy"),
        (lambda d: d * 0.97 + 0.31, ".npy"),
        (lambda d: d / 100.0 - 1.3, ".npy"),
    ],
    ids=["16 bits", "float to 1", "float below 1", "float to 255", "float about 0"],
)
def test_relative_maps_are_not_taken_for_metric(tmp_path, maps, change, suffix):
    encoding = decide_encoding(write(tmp_path / "a", [change(d) for d in maps], suffix))
    assert (encoding.kind, encoding.near) == ("map", "white")


def test_holes_are_counted_in_metric_depth_only(tmp_path):
    metric = [with_hole(np.rint(distance(0) * 1000).astype(np.uint16))]
    encoding = decide_encoding(write(tmp_path / "a", metric))
    assert encoding.holes == pytest.approx(81 / (HEIGHT * WIDTH))
    assert "1.7% holes" in encoding.describe()
    assert decide_encoding(write(tmp_path / "b", [with_hole(disparity(0))])).holes == 0


LIKE_DISTANCES = {  # near = white, in a range of millimetres or metres
    "disparity x256": (lambda d: np.rint(d * 0.4 * 256 + 99).astype(np.uint16), ".png"),
    "disparity to 14": (lambda d: (d * 0.053 + 0.11).astype(np.float32), ".npy"),
    "1 / metres": (lambda d: (d * 0.011 + 0.2).astype(np.float32), ".npy"),
}


@pytest.mark.parametrize("name", LIKE_DISTANCES)
def test_near_white_maps_in_a_range_of_distances_are_not_inverted(tmp_path, maps, caplog, name):
    change, suffix = LIKE_DISTANCES[name]
    plain = decide_encoding(write(tmp_path / "plain", maps))
    paths = write(tmp_path / "a", [change(depth) for depth in maps], suffix)
    encoding = decide_encoding(paths, name="X")
    assert (encoding.kind, encoding.near) == ("map", "white")
    assert encoding.margin == pytest.approx(plain.margin, abs=0.01)
    assert "X: " in caplog.text
    assert "look as if large were" in caplog.text
    for path, depth in zip(paths, maps, strict=True):
        unit = depth_to_unit(read_depth(path), encoding)
        assert np.abs(unit - depth_to_unit(depth, plain)).max() < 1 / 255


@pytest.mark.parametrize("name", LIKE_DISTANCES)
def test_one_map_that_contradicts_its_type_stops_with_both_choices(tmp_path, maps, name):
    change, suffix = LIKE_DISTANCES[name]
    paths = write(tmp_path / "a", [change(maps[0])], suffix)
    with pytest.raises(InputError, match=r"Fix: .*--near X=black .*--near X=white"):
        decide_encoding(paths, name="X")


def test_encoding_of_set_with_blank_quotes_its_name_in_the_remedy(tmp_path, maps):
    change, suffix = next(iter(LIKE_DISTANCES.values()))
    paths = write(tmp_path / "a", [change(maps[0])], suffix)
    with pytest.raises(InputError, match=r"My Set: .*Fix: .*--near 'My Set'=black "):
        decide_encoding(paths, name="My Set")


@pytest.mark.parametrize("name", LIKE_DISTANCES)
def test_strict_stops_where_maps_contradict_their_type(tmp_path, maps, name):
    change, suffix = LIKE_DISTANCES[name]
    paths = write(tmp_path / "a", [change(depth) for depth in maps], suffix)
    with pytest.raises(InputError, match="look as if large were"):
        decide_encoding(paths, strict=True)


@pytest.mark.parametrize("count", [1, 5])
def test_8_bit_values_x16_are_no_millimetres(tmp_path, maps, count):
    paths = write(tmp_path / "a", [depth.astype(np.uint16) * 16 for depth in maps[:count]])
    encoding = decide_encoding(paths, strict=True)
    assert (encoding.kind, encoding.near) == ("map", "white")
    assert encoding.reason.startswith("16-bit maps, a x16 copy of 8-bit ones")


def test_margin_of_metric_depth_is_measured(tmp_path):
    metric = [np.rint(distance(seed) * 1000).astype(np.uint16) for seed in range(5)]
    encoding = decide_encoding(write(tmp_path / "a", metric), strict=True)
    assert 3 * WEAK_MARGIN < encoding.margin != 1.0
    assert f"margin {encoding.margin:.2f}" in encoding.describe()
    assert "margin" not in decide_encoding(write(tmp_path / "b", metric), "black").describe()


def test_metric_depth_that_shows_no_side_is_not_weak(tmp_path):
    noise = np.random.default_rng(0).integers(500, 3001, (HEIGHT, WIDTH)).astype(np.uint16)
    encoding = decide_encoding(write(tmp_path / "a", [noise]), strict=True)
    assert (encoding.kind, encoding.near, encoding.is_weak) == ("metric", "black", False)


def raw_kinect(seed: int) -> np.ndarray:
    """11 bits that grow with distance and end at about 1100; 2047 where nothing was measured."""
    raw = np.rint((3.33 - 1 / distance(seed)) / 0.00307).astype(np.uint16)
    raw[40:, 60:] = 2047
    return raw


def test_raw_kinect_2047_is_a_hole(tmp_path):
    paths = write(tmp_path / "a", [raw_kinect(seed) for seed in range(3)])
    encoding = decide_encoding(paths)
    assert (encoding.near, encoding.hole_code) == ("black", 2047)
    assert "2047 is a hole value" in encoding.describe()
    assert encoding.holes == pytest.approx(400 / (HEIGHT * WIDTH), abs=0.02)
    unit = depth_to_unit(read_depth(paths[0]), encoding)
    assert unit[45:, 65:].min() > 0.2  # as the floor beside, not the farthest


def test_2047_mm_on_a_wall_is_a_distance(tmp_path):
    wall = np.rint(distance(0) * 400).astype(np.uint16)
    wall[:20] = 2047
    wall[20] = 1980
    assert decide_encoding(write(tmp_path / "a", [wall])).hole_code is None


def test_maps_of_different_types_are_named(tmp_path):
    paths = write(tmp_path / "a", [disparity(0), disparity(1).astype(np.uint16) * 257])
    with pytest.raises(InputError, match=r"0\.png \(uint8\), .*1\.png \(uint16\)"):
        decide_encoding(paths, name="X")


def test_unreadable_map_is_named(tmp_path, maps):
    paths = write(tmp_path / "a", maps)
    paths[3].write_bytes(b"")
    with pytest.raises(InputError, match=r"3\.png: the file is empty"):
        decide_encoding(paths)


# Depth in [0, 1]


def test_near_becomes_one():
    depth = np.array([[10, 60, 110]], np.uint8)
    assert depth_to_unit(depth, NEAR_WHITE).tolist() == [[0, 0.5, 1]]
    assert depth_to_unit(depth, NEAR_BLACK).tolist() == [[1, 0.5, 0]]
    assert depth_to_unit(depth, NEAR_WHITE).dtype == np.float32


@pytest.mark.parametrize("rule", ["minmax", "percentile"])
def test_inverted_copy_gives_the_same_depth_to_the_last_bit(maps, rule):
    for depth in maps:
        unit = depth_to_unit(depth, NEAR_WHITE, rule)
        assert np.array_equal(depth_to_unit(255 - depth, NEAR_BLACK, rule), unit)


def test_depth_rules_differ_in_the_values_of_0_and_1():
    depth = np.arange(101, dtype=np.uint8).reshape(1, -1)
    assert depth_to_unit(depth, NEAR_WHITE)[0, :2] == pytest.approx([0, 1 / 100])
    unit = depth_to_unit(depth, NEAR_WHITE, "percentile")
    assert unit[0, :3] == pytest.approx([0, 0, 1 / 98])
    with pytest.raises(InputError, match=r"depth rule 'max' is unknown. Fix: pass one of minmax"):
        depth_to_unit(depth, NEAR_WHITE, "max")


def test_zero_is_a_value_in_maps_and_a_hole_in_metric_depth():
    depth = np.array([[0, 0, 1000, 2000]], np.uint16)
    assert depth_to_unit(depth, NEAR_BLACK).tolist() == [[1, 1, 0.5, 0]]
    assert depth_to_unit(depth, METRIC).tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, 3e38, 0, -1])
def test_holes_take_the_nearest_value(hole):
    depth = np.array([[1.0, hole, hole, hole, 3.0], [1.0, 1.0, 2.0, 3.0, 3.0]], np.float32)
    assert depth_to_unit(depth, METRIC).tolist() == [[1, 1, 0.5, 0, 0], [1, 1, 0.5, 0, 0]]


def test_holes_of_float_maps_are_filled_too():
    depth = np.array([[0.0, 0.0, 1.0, np.nan]], np.float32)
    assert depth_to_unit(depth, NEAR_WHITE).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("encoding", [NEAR_WHITE, NEAR_BLACK, METRIC])
@pytest.mark.parametrize("rule", ["minmax", "percentile"])
@pytest.mark.parametrize("value", [0, 700, np.nan])
def test_flat_and_empty_maps_are_finite(encoding, rule, value):
    unit = depth_to_unit(np.full((4, 5), value, np.float32), encoding, rule)
    assert np.isfinite(unit).all()
    assert unit.min() >= 0
    assert unit.max() <= 1


# --near


@pytest.mark.parametrize(
    ("items", "meaning"),
    [
        ([], ("auto", {}, False)),
        (["auto"], ("auto", {}, False)),
        (["white"], ("white", {}, False)),
        (["strict"], ("auto", {}, True)),
        (["auto", "strict", "DES=black"], ("auto", {"DES": "black"}, True)),
        (["black", "a/b=white", "SIP=auto"], ("black", {"a/b": "white", "SIP": "auto"}, False)),
    ],
)
def test_near_is_understood(items, meaning):
    assert parse_near(items) == meaning


@pytest.mark.parametrize(
    "items",
    [
        ["grey"],
        ["DES=near"],
        ["DES=strict"],
        ["=white"],
        ["DES="],
        ["white", "black"],
        ["white", "strict"],
        ["DES=white", "DES=black"],
    ],
    ids=" ".join,
)
def test_near_that_makes_no_sense_is_refused(items):
    with pytest.raises(InputError, match="--near"):
        parse_near(items)


def make_sod_set(name, paths) -> SodSet:
    return SodSet(name, paths[0].parent, tuple(Sample(p.stem, p, p, None) for p in paths))


def test_near_reaches_the_set_it_names(tmp_path, maps):
    sets = [
        make_sod_set("spot/DES", write(tmp_path / "a", maps)),
        make_sod_set("SIP", write(tmp_path / "b", maps)),
    ]
    sides = {item.name: item.encoding.near for item in with_encodings(sets, ["RGBD135=black"])}
    assert sides == {"spot/DES": "black", "SIP": "white"}
    with pytest.raises(InputError, match=r"--near LFSD=black names no set\. .* spot/DES, SIP"):
        with_encodings(sets, ["LFSD=black"])


def test_sets_without_depth_have_no_encoding(tmp_path):
    bare = SodSet("X", tmp_path, (Sample("a", tmp_path / "a.png", None, None),))
    assert with_encodings([bare]) == [bare]
    assert encodings_by_name([bare]) == {}


def test_clear_decision_is_described_with_its_evidence(tmp_path, maps):
    encoding = decide_encoding(write(tmp_path / "a", maps))
    assert encoding.margin > 3 * WEAK_MARGIN
    assert "near = white" in encoding.describe()
    assert "5 of 5 images agree" in encoding.describe()


# Thermal images


def thermal_set(folder, images, suffix=".png") -> SodSet:
    paths = write(folder, images, suffix)
    return SodSet("VT", folder, tuple(Sample(p.stem, None, p, None, THERMAL) for p in paths))


@pytest.mark.parametrize("change", [lambda d: d, lambda d: 255 - d, lambda d: d * np.uint16(40)])
def test_thermal_images_are_never_inverted(tmp_path, maps, change):
    images = [change(depth) for depth in maps]
    found = thermal_set(tmp_path / "T", images)
    encoding = with_encodings([found], ["strict"])[0].encoding
    assert (encoding.kind, encoding.near) == ("thermal", "none")
    assert "near =" not in encoding.describe()
    low, high = images[0].min(), images[0].max()
    unit = THERMAL.to_unit(THERMAL.read(found.samples[0].depth), encoding, "minmax")
    assert np.allclose(unit, (images[0] - float(low)) / (float(high) - low), atol=1e-6)


@pytest.mark.parametrize("near", ["white", "VT=black"])
def test_thermal_images_have_no_near_side(tmp_path, maps, near):
    with pytest.raises(InputError, match="VT has thermal images"):
        with_encodings([thermal_set(tmp_path / "T", maps)], [near])


def test_coloured_thermal_images_give_their_luminance(tmp_path, maps, caplog):
    colours = [cv2.applyColorMap(depth, cv2.COLORMAP_HOT) for depth in maps]
    found = thermal_set(tmp_path / "T", colours)
    assert with_encodings([found])[0].encoding.kind == "thermal"
    assert not caplog.text
    grey = cv2.cvtColor(colours[0], cv2.COLOR_BGR2GRAY)
    assert cv2.norm(THERMAL.read(found.samples[0].depth), grey, cv2.NORM_INF) <= 1
    with pytest.raises(InputError, match="colour-coded depth"):
        read_depth(found.samples[0].depth)


def test_near_for_sets_without_depth_is_refused(tmp_path):
    sets = [SodSet("A", tmp_path, (Sample("a", tmp_path / "a.jpg", None, None),))]
    with pytest.raises(InputError, match="--near white has no effect: no set has depth"):
        with_encodings(sets, ["white"])
    assert with_encodings(sets, ["auto"])[0].encoding is None
