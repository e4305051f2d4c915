"""Tests of the remarks that tools/evaluate.py prints on doubtful maps and scores."""

from argparse import Namespace

import cv2
import numpy as np
import pytest
from evaluation_runs import STEMS, make_bench, make_pair, scores
from tool_runs import error_line, run_tool

from mutualformer_sod.cli.evaluate import find_sets
from mutualformer_sod.data.discovery.benchmarks import other_version
from mutualformer_sod.metrics.evaluator import Evaluator
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.remarks import row_marks
from mutualformer_sod.metrics.scoring import Cell


@pytest.fixture
def bench(tmp_path):
    return make_bench(tmp_path)


def evaluate(bench, *flags):
    """Evaluate one method of the bench and return the output."""
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / "out")
    done = run_tool("evaluate", *folders, "--methods", "ours", "--workers", 1, *flags)
    assert done.status == 0, done.error
    return done.output


def change_maps(bench, change, count=None):
    for stem in STEMS[:count]:
        path = str(bench / f"maps/ours/MINI/{stem}.png")
        cv2.imwrite(path, change(cv2.imread(path, cv2.IMREAD_GRAYSCALE)))


def change_gt(bench, stem, value):
    gt = np.full(make_pair(0)[1].shape, value, np.uint8)
    cv2.imwrite(str(bench / f"data/MINI/GT/{stem}.png"), gt)


def shown(score):
    return f"{score:.3f}".removeprefix("0")


def test_evaluate_good_maps_have_no_remark(bench):
    evaluate(bench)
    assert scores(bench)["notes"] == [] and scores(bench)["marks"]["ours"]["MINI"] == []


def test_evaluate_empty_gt_is_marked_with_max_f_of_the_others(bench):
    (bench / f"maps/ours/MINI/{STEMS[0]}.png").rename(bench / "kept.png")
    (bench / f"data/MINI/GT/{STEMS[0]}.png").rename(bench / "gt.png")
    evaluate(bench)
    right = scores(bench)["scores"]["ours"]["MINI"]
    others = right["max_f"]
    (bench / "kept.png").rename(bench / f"maps/ours/MINI/{STEMS[0]}.png")
    change_gt(bench, STEMS[0], 0)
    output = evaluate(bench)
    with_empty = scores(bench)["scores"]["ours"]["MINI"]["max_f"]
    assert with_empty == pytest.approx(others * 5 / 6)
    assert "[1] 1 of 6: ground truths without foreground, where F is 0 for any map" in output
    assert f"ours/MINI: ground truth without foreground: {STEMS[0]}" in output
    given = shown(others)
    assert f"ours/MINI: max F is {given} without the images that have no foreground (S " in output
    for title, name in (("S", "s_measure"), ("adpF", "adaptive_f"), ("MAE", "mae")):
        assert f"{title} {shown(right[name])}" in output.split("no foreground (")[1]


def test_evaluate_full_gt_is_named(bench):
    change_gt(bench, STEMS[2], 255)
    assert f"ground truth without background, inverted?: {STEMS[2]}" in evaluate(bench)


@pytest.mark.parametrize(
    ("value", "mark", "line"),
    [(0, "maps all black", "map all black"), (90, "constant maps", "constant map")],
)
def test_evaluate_constant_maps_are_marked_and_named(bench, value, mark, line):
    change_maps(bench, lambda levels: np.full_like(levels, value), 2)
    output = evaluate(bench)
    assert f"[1] 2 of 6: {mark}" in output
    assert f"ours/MINI: {line}: {STEMS[0]}, {STEMS[1]}" in output


def test_evaluate_black_map_of_empty_gt_has_no_remark(bench):
    change_gt(bench, STEMS[0], 0)
    change_maps(bench, np.zeros_like, 1)
    assert "all black" not in evaluate(bench)


def test_evaluate_inverted_maps_are_marked_with_inverse_mae(bench):
    evaluate(bench)
    right = scores(bench)["scores"]["ours"]["MINI"]["mae"]
    change_maps(bench, lambda levels: 255 - levels)
    output = evaluate(bench)
    assert "inverted? background brighter than foreground in 6 of 6 maps" in output
    assert f"1 - map would have MAE {shown(right)}" in output


def test_evaluate_one_inverted_map_has_no_mark(bench):
    change_maps(bench, lambda levels: 255 - levels, 1)
    assert "inverted" not in evaluate(bench)


def test_evaluate_poor_maps_whose_inverse_is_poor_have_no_mark(bench):
    corner = np.zeros((48, 64), np.uint8)
    corner[:6, :6] = 255
    change_maps(bench, lambda levels: corner)
    assert "inverted" not in evaluate(bench)


@pytest.mark.parametrize("flags", [(), ("--no-normalize",)])
def test_evaluate_square_maps_of_other_images_are_marked_without_a_guess(bench, flags):
    change_maps(bench, lambda levels: cv2.resize(levels, (40, 40)))
    output = evaluate(bench, *flags)
    assert "[1] 6 of 6: square maps of images that are not square. Fix: resize" in output
    assert f"ours/MINI: square, but the image is not: {', '.join(STEMS)}" in output
    assert "swapped?" not in output
    assert evaluate(bench, *flags) == output  # from the cache


def test_evaluate_square_maps_of_square_images_have_no_mark(bench):
    change_maps(bench, lambda levels: cv2.resize(levels, (40, 40)))
    for stem in STEMS[:4]:
        path = str(bench / f"data/MINI/GT/{stem}.png")
        cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_GRAYSCALE)[:, 8:56])
    output = evaluate(bench)
    assert "[1] 2 of 6: square maps of images that are not square" in output
    assert f"square, but the image is not: {STEMS[4]}, {STEMS[5]}" in output


def test_evaluate_a_single_square_map_may_be_of_another_image(bench):
    change_maps(bench, lambda levels: cv2.resize(levels, (40, 40)), 1)
    output = evaluate(bench)
    assert f"another aspect ratio than the ground truth, swapped?: {STEMS[0]}" in output
    assert "square" not in output


def test_evaluate_small_maps_of_the_same_aspect_ratio_have_no_mark(bench):
    change_maps(bench, lambda levels: cv2.resize(levels, (32, 24)))
    output = evaluate(bench)
    assert "square" not in output and "swapped?" not in output and "6 maps resized" in output


@pytest.mark.parametrize(
    ("name", "count", "usual", "mark"),
    [
        ("NJU2K", 498, 500, "NJU2K has 498 images here (a variant that circulates), usually 500"),
        ("STERE", 797, 1000, "STERE has 797 images here (the subset STERE797, not STERE), usually"),
        ("SIP", 928, 929, "SIP has 928 images here, usually 929"),
        ("SIP", 929, 929, ""),
        ("MINE", 5, None, ""),
    ],
)
def test_row_marks_names_a_count_that_is_not_the_usual_one(name, count, usual, mark):
    folder = MapFolder("ours", name, None, maps={str(i): None for i in range(count)})
    version = other_version(name, "test", count)
    marks = row_marks(Cell(folder, count, Evaluator()), count, usual, version)
    assert [text[: len(mark)] for text in marks] == [mark] * bool(mark)


def test_find_sets_describes_a_known_version_of_a_set(tmp_path):
    for role, suffix in (("RGB", "jpg"), ("GT", "png")):
        (tmp_path / "STEREO" / role).mkdir(parents=True)
        for number in range(797):
            (tmp_path / "STEREO" / role / f"{number}.{suffix}").touch()
    args = Namespace(data=[tmp_path], sets=None, images=None, limit=5)
    (found,) = find_sets(args)
    assert (found.usual_count, found.other_version) == (1000, "the subset STERE797, not STERE")


def test_evaluate_zero_one_maps_are_marked_and_named(bench):
    change_maps(bench, lambda levels: (levels > 128).astype(np.uint8))
    output = evaluate(bench, "--no-normalize")
    assert "[1] 6 of 6: maps of the values 0 and 1, almost black as v/255. Fix" in output
    assert f"ours/MINI: map of the values 0 and 1: {STEMS[0]}" in output
    assert "values 0 and 1" not in evaluate(bench)  # stretched: equal to 0 and 255


def test_evaluate_dark_maps_are_marked(bench):
    change_maps(bench, lambda levels: levels // 25)
    assert "no map has a value above 10 of 255" in evaluate(bench, "--no-normalize")


def test_evaluate_from_cache_gives_equal_remarks(bench):
    change_maps(bench, np.zeros_like, 2)
    change_gt(bench, STEMS[3], 0)
    assert evaluate(bench) == evaluate(bench)


# Maps with other names


def rename_maps(bench, new_name):
    folder = bench / "maps/ours/MINI"
    for stem in STEMS:
        (folder / f"{stem}.png").rename(folder / new_name(stem))


def refuse(bench, tool="evaluate", output="out", extra=()):
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / output)
    return error_line(run_tool(tool, *folders, "--methods", "ours", "--workers", 1, *extra))


RENAMED = {
    "several": (
        lambda stem: f"{stem}_{'sal' if stem < STEMS[3] else 'pred'}.png",
        "image_0_sal.png seems to be the map of image_0 (3 of 6 missing maps likewise). Fix: name",
    ),
    "capitals": (lambda stem: f"{stem.upper()}.png", "IMAGE_0.png seems to be the map of image_0"),
    "type": (lambda stem: f"{stem}.webp", "image_5.webp: types that are not read as maps. Fix"),
    "mat": (lambda stem: f"{stem}.mat", "Fix: load them with scipy.io.loadmat, and save each map"),
    "mat suffix": (lambda stem: f"{stem}_sal.mat", "image_5_sal.mat: types that are not read"),
}


@pytest.mark.parametrize("tool", ["evaluate", "gallery"])
@pytest.mark.parametrize("kind", RENAMED)
def test_evaluate_maps_of_other_names_are_named_with_the_fix(bench, tool, kind):
    new_name, words = RENAMED[kind]
    rename_maps(bench, new_name)
    line = refuse(bench, tool)
    assert "no map of MINI" in line and words in line and line.count("Fix: ") == 1


@pytest.mark.parametrize("name", ["{}_sal.png", "pred-{}.png", "a_{}_b.png", "image_{}.png"])
@pytest.mark.parametrize("flags", [False, True])
def test_evaluate_maps_that_share_an_affix_are_scored_and_reported(bench, name, flags):
    evaluate(bench)
    usual = scores(bench)["scores"]
    rename_maps(bench, name.format)
    prefix, suffix = name.removesuffix(".png").split("{}")
    given = ("--map-prefix", prefix, "--map-suffix", suffix) if flags else ()
    report = evaluate(bench, *given)
    assert scores(bench)["scores"] == usual
    assert f"maps are named {prefix}STEM{suffix}" in report


# Maps of other types


def save_floats(bench, suffix):
    """Replace the maps by floating-point ones in [0, 1]."""
    for path in (bench / "maps/ours/MINI").iterdir():
        unit = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) / 255).astype(np.float32)
        path.unlink()
        if suffix == ".npy":
            np.save(path.with_suffix(suffix), unit)
        else:
            cv2.imwrite(str(path.with_suffix(suffix)), unit)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("flags", [(), ("--no-normalize",)])
def test_evaluate_float_maps_equal_the_8_bit_ones(bench, suffix, flags):
    evaluate(bench, *flags)
    before = (bench / "out/scores.json").read_bytes()
    save_floats(bench, suffix)
    for _ in range(2):  # the second time from the cache
        evaluate(bench, *flags)
        assert (bench / "out/scores.json").read_bytes() == before


def test_gallery_shows_float_arrays(bench):
    save_floats(bench, ".npy")
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / "page")
    done = run_tool("gallery", *folders, "--methods", "ours", "--workers", 1)
    assert done.status == 0, done.error
    assert "missing" not in done.output and "unreadable" not in done.output


def test_evaluate_array_with_nan_is_named_and_not_scored(bench):
    save_floats(bench, ".npy")
    np.save(bench / f"maps/ours/MINI/{STEMS[1]}.npy", np.full((48, 64), np.nan))
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / "out")
    done = run_tool("evaluate", *folders, "--workers", 1)
    assert done.status == 2
    assert f"{STEMS[1]}.npy: the saliency map contains NaN or infinity. Fix" in done.output


def test_evaluate_arrays_beside_images_are_not_read(bench):
    evaluate(bench)
    before = (bench / "out/scores.json").read_bytes()
    for stem in STEMS:
        np.save(bench / f"maps/ours/MINI/{stem}.npy", np.zeros((48, 64)))
    evaluate(bench)
    assert (bench / "out/scores.json").read_bytes() == before
    (bench / f"maps/ours/MINI/{STEMS[0]}.png").unlink()
    assert f"{STEMS[0]}.npy: types that are not read as maps. Fix: remove the images" in evaluate(
        bench, "--allow-missing"
    )


def test_evaluate_suffix_that_no_map_has_is_an_error(bench):
    assert "no map of MINI" in refuse(bench, extra=("--map-suffix", "_none"))


def test_evaluate_wrong_suffix_names_the_right_one(bench):
    rename_maps(bench, "{}_sal.png".format)
    line = refuse(bench, extra=("--map-suffix", "_sa"))
    assert "Fix: pass the prefix '' and the suffix '_sal'" in line


def test_gallery_maps_that_share_an_affix_are_shown_and_reported(bench):
    rename_maps(bench, "{}_sal.png".format)
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / "page")
    done = run_tool("gallery", *folders, "--methods", "ours", "--workers", 1)
    assert done.status == 0, done.error
    assert "ours/MINI: maps are named STEM_sal" in done.output


def test_evaluate_numbers_without_zeros_are_named(bench):
    for folder in ("data/MINI/GT", "maps/ours/MINI"):
        for number, stem in enumerate(STEMS):
            name = f"{number}.png" if "maps" in folder else f"{number:04}.png"
            (bench / folder / f"{stem}.png").rename(bench / folder / name)
    assert "0.png seems to be the map of 0000 (6 of 6 missing maps likewise)" in refuse(bench)


def test_evaluate_folder_of_another_set_is_named(bench):
    (bench / "maps/ours/MINI").rename(bench / "maps/ours/OTHER")
    (bench / "data/MINI").rename(bench / "data/NJU2K")
    assert "ours contains: OTHER/" in refuse(bench)


def test_evaluate_one_map_of_another_name_is_noted(bench):
    folder = bench / "maps/ours/MINI"
    (folder / f"{STEMS[0]}.png").rename(folder / f"{STEMS[0]}_sal.png")
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / "out")
    done = run_tool("evaluate", *folders, "--workers", 1)
    assert done.status == 2
    assert f"ours/MINI: {STEMS[0]}_sal.png seems to be the map of {STEMS[0]}" in done.output
