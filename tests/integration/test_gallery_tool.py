"""Tests of tools/gallery.py."""

import cv2
import numpy as np
import pytest
from evaluation_runs import make_pair
from gallery_runs import AWKWARD_SET, STEMS, make_gallery_bench, page_data, write
from tool_runs import error_line, run_tool

from mutualformer_sod.gallery.page import gallery_columns
from mutualformer_sod.metrics.evaluator import score_image


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return make_gallery_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def own_bench(tmp_path):
    """A copy of the bench that a test may change."""
    return make_gallery_bench(tmp_path / "bench")


def show(bench, output, *options):
    flags = ("--data", bench / "data", "--maps", bench / "maps", "--output", output)
    return run_tool("gallery", *flags, "--workers", 1, *options)


@pytest.fixture(scope="module")
def gallery(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery") / "new"
    done = show(bench, folder)
    assert done.status == 0, done.error
    return folder


def test_gallery_page_has_every_image_and_method(gallery):
    content = page_data(gallery)
    assert content["methods"] == ["bad & <b>", "good"]
    names = [(image["set"], image["stem"]) for image in content["images"]]
    assert names == [(AWKWARD_SET, s) for s in STEMS] + [("DEEP", s) for s in "012"]
    assert all(len(image["maps"]) == 2 for image in content["images"])


def test_gallery_scores_equal_the_evaluators(gallery):
    image = page_data(gallery)["images"][0]
    scores = score_image(*make_pair(0)).scores
    assert image["maps"][1]["scores"] == [scores[name] for name in gallery_columns()]


def test_gallery_pictures_exist_with_plain_names(gallery):
    pictures = [
        picture
        for image in page_data(gallery)["images"]
        for picture in [image["rgb"], image["depth"], image["gt"], *parts(image)]
        if picture
    ]
    assert len(pictures) == 8 + 2 * 3 + 8 * 2 * 2
    for picture in pictures:
        assert picture["name"].isalnum()
        thumb = cv2.imread(str(gallery / "thumbs" / f"{picture['name']}.webp"))
        full = cv2.imread(str(gallery / "full" / picture["full"]))
        assert list(thumb.shape[:2]) == picture["thumb"]
        assert list(full.shape[:2]) == picture["size"] == [48, 64]


def parts(image):
    return [entry[kind] for entry in image["maps"] for kind in ("map", "error")]


def test_gallery_names_open_no_tag(gallery):
    text = (gallery / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<!--" not in text
    assert text.count("</script>") == 2


def test_gallery_depth_is_bright_where_near(gallery, bench, tmp_path):
    name = page_data(gallery)["images"][-1]["depth"]["full"]
    depth = cv2.imread(str(gallery / "full" / name), cv2.IMREAD_GRAYSCALE)
    assert depth[-1].mean() > depth[0].mean()
    show(bench, tmp_path / "black", "--near", "DEEP=black", "--sets", "DEEP")
    name = page_data(tmp_path / "black")["images"][-1]["depth"]["full"]
    depth = cv2.imread(str(tmp_path / "black" / "full" / name), cv2.IMREAD_GRAYSCALE)
    assert depth[-1].mean() < depth[0].mean()


def test_gallery_two_workers_write_an_equal_page(gallery, bench, tmp_path):
    assert show(bench, tmp_path / "two", "--workers", 2).status == 0
    assert (tmp_path / "two" / "index.html").read_bytes() == (gallery / "index.html").read_bytes()


def test_gallery_interrupted_run_continues(bench, tmp_path):
    show(bench, tmp_path / "g")
    (tmp_path / "g" / "index.html").unlink()  # written last
    pictures = sorted((tmp_path / "g" / "thumbs").iterdir())
    pictures[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in pictures[1:]}
    assert show(bench, tmp_path / "g").status == 0
    assert {path: path.stat().st_mtime_ns for path in pictures[1:]} == before
    assert pictures[0].exists()


def test_gallery_overwrite_removes_only_old_pictures(own_bench, tmp_path):
    show(own_bench, tmp_path / "g")
    first = page_data(tmp_path / "g")["images"][-1]["maps"][1]["map"]
    (tmp_path / "g" / "full" / "notes.txt").write_text("mine")
    write(own_bench / "maps/good/DEEP/2.png", make_pair(99)[0])
    assert show(own_bench, tmp_path / "g", "--overwrite").status == 0
    second = page_data(tmp_path / "g")["images"][-1]["maps"][1]["map"]
    assert first["name"] != second["name"]
    assert not (tmp_path / "g" / "full" / first["full"]).exists()
    assert (tmp_path / "g" / "full" / "notes.txt").exists()


def test_gallery_missing_map_is_listed_and_shown(own_bench, tmp_path):
    (own_bench / "maps/good/DEEP/1.png").unlink()
    done = show(own_bench, tmp_path / "g", "--sets", "DEEP")
    assert done.status == 0, done.error
    assert "good: 1 map: missing: DEEP/1" in done.output
    entry = page_data(tmp_path / "g")["images"][1]["maps"][1]
    assert (entry["map"], entry["scores"], entry["note"]) == (None, None, "missing")


def test_gallery_unreadable_files_are_each_named(own_bench, tmp_path):
    (own_bench / "maps/good/DEEP/1.png").write_text("no picture")
    (own_bench / "data/DEEP/RGB/2.png").write_bytes(b"")
    done = show(own_bench, tmp_path / "g", "--sets", "DEEP")
    assert done.status == 2
    lines = [line for line in done.error.splitlines() if line.startswith("gallery.py: ")]
    assert ["good/DEEP/1.png" in lines[0], "RGB/2.png" in lines[1], len(lines)] == [True, True, 2]
    assert page_data(tmp_path / "g")["images"][1]["maps"][1]["note"] == "unreadable"


def test_gallery_set_without_maps_is_shown_on_request(own_bench, tmp_path):
    write(own_bench / "data/OTHER/GT/x.png", make_pair(0)[1])
    done = show(own_bench, tmp_path / "g")
    assert "sets without a map: OTHER" in done.output
    show(own_bench, tmp_path / "h", "--sets", "DEEP", "OTHER")
    assert page_data(tmp_path / "h")["sets"] == ["DEEP", "OTHER"]


def test_gallery_set_without_gt_has_no_scores(own_bench, tmp_path):
    for path in (own_bench / "data/DEEP/GT").iterdir():
        path.unlink()
    (own_bench / "data/DEEP/GT").rmdir()
    assert show(own_bench, tmp_path / "g", "--sets", "DEEP").status == 0
    image = page_data(tmp_path / "g")["images"][0]
    assert image["gt"] is None
    assert [entry["scores"] for entry in image["maps"]] == [None, None]
    assert image["disagreement"] > 0


@pytest.fixture(scope="module")
def scores_folder(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    flags = ("--data", bench / "data", "--maps", bench / "maps", "--output", folder)
    assert run_tool("evaluate", *flags, "--workers", 1).status == 0
    return folder


def test_gallery_scores_flag_gives_an_equal_page(gallery, bench, scores_folder, tmp_path):
    done = show(bench, tmp_path / "g", "--scores", scores_folder)
    assert done.status == 0, done.error
    assert page_data(tmp_path / "g") == page_data(gallery)


def test_gallery_scores_of_other_maps_are_refused(own_bench, scores_folder, tmp_path):
    write(own_bench / "maps/good/DEEP/2.png", make_pair(99)[0])
    done = show(own_bench, tmp_path / "g", "--scores", scores_folder)
    assert "good on DEEP/2" in error_line(done)
    assert not (tmp_path / "g" / "index.html").exists()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--figure", "2", f"{AWKWARD_SET}/a #1"], ["DEEP/2", f"{AWKWARD_SET}/a #1"]),
        (["--worst", "1"], None),
        (["--best", "2"], None),
        (["--disagreement", "2"], None),
    ],
)
def test_gallery_figure_is_drawn(bench, tmp_path, options, names):
    pytest.importorskip("matplotlib")
    done = show(bench, tmp_path / "g", *options)
    assert done.status == 0, done.error
    if names:
        assert f"figure of {', '.join(names)}" in done.output
    assert (tmp_path / "g" / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert np.asarray(cv2.imread(str(tmp_path / "g" / "figure.png"))).ndim == 3


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--limit", "0"], "--limit: 0"),
        (["--zoom-side", "5"], "--zoom-side: 5"),
        (["--worst", "0"], "--worst: 0"),
        (["--figure", "nobody"], "--figure nobody"),
        (["--methods", "good", "--disagreement", "2"], "--disagreement 2"),
        (["--worst", "1", "--best", "1"], "--best"),
        (["--methods", "nobody"], "nobody"),
        (["--sets", "NOWHERE"], "NOWHERE"),
        (["--scores", "nowhere"], "--scores nowhere"),
        (["--scores", "x", "--no-normalize"], "--no-normalize"),
    ],
)
def test_gallery_wrong_flag_gives_one_line(bench, tmp_path, options, word):
    assert word in error_line(show(bench, tmp_path / "g", *options))
    assert not (tmp_path / "g").exists()


def test_gallery_existing_page_is_refused(gallery, bench):
    before = (gallery / "index.html").stat().st_mtime_ns
    assert "--overwrite" in error_line(show(bench, gallery))
    assert (gallery / "index.html").stat().st_mtime_ns == before


def test_gallery_output_among_the_maps_is_refused(bench):
    assert "--maps" in error_line(show(bench, bench / "maps" / "page"))
    assert not (bench / "maps" / "page").exists()
