"""Tests of the parts of a gallery: error maps, disagreement, picture files, page, choice."""

import json
import re

import cv2
import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.gallery.figure import save_paper_figure
from mutualformer_sod.gallery.page import ImageCard, MapCard, pick, read_scores, write_page
from mutualformer_sod.gallery.pictures import (
    FALSE_POSITIVE,
    MISS,
    PictureFolder,
    disagreement,
    error_map,
    map_as_scored,
    thumbnail_size,
)


def test_error_map_colours_by_sign():
    gt = np.array([[False, False, True, True]])
    drawn = error_map(np.array([[0.0, 1.0, 1.0, 0.0]]), gt)[0].tolist()
    assert drawn[0] == [255, 255, 255]
    assert drawn[1] == list(FALSE_POSITIVE)
    assert len(set(drawn[2])) == 1  # grey
    assert drawn[3] == list(MISS)


def test_error_map_colour_grows_with_the_error():
    values = np.linspace(0, 1, 5)[None]
    blue = error_map(values, np.zeros(values.shape, bool))[0, :, 2].astype(int)
    assert (np.diff(blue) < 0).all()


def test_map_as_scored_equals_the_evaluators_normalisation():
    levels = np.array([[10, 60, 110]], np.uint8)
    assert map_as_scored(levels, (1, 3)) == pytest.approx(np.array([[0, 0.5, 1]]))
    assert map_as_scored(levels, (1, 3), normalize=False)[0, 0] == 10 / 255
    assert map_as_scored(np.full((2, 2), 51, np.uint8), (2, 2)).max() == 0.2  # constant: unchanged


def test_disagreement_is_the_mean_over_all_pairs():
    maps = [np.full((2, 2), value) for value in (0.0, 0.5, 1.0)]
    assert disagreement(maps) == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert disagreement(maps[:1]) is None


def test_thumbnail_size_is_at_most_that_of_the_picture():
    assert thumbnail_size((400, 600)) == (200, 300)
    assert thumbnail_size((50, 70)) == (50, 70)
    assert thumbnail_size((1, 100_000)) == (1, 800)


def test_picture_folder_large_picture_is_shrunk(tmp_path):
    kept = PictureFolder(tmp_path, 300).keep(np.zeros((100, 600), np.uint8), b"x")
    assert kept.size == (50, 300)
    assert cv2.imread(str(tmp_path / "full" / kept.full)).shape[:2] == (50, 300)


def test_picture_folder_full_picture_is_lossless(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    kept = PictureFolder(tmp_path, 300).keep(levels, b"x")
    again = cv2.imread(str(tmp_path / "full" / kept.full), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(again, levels)


def test_picture_folder_other_source_or_size_is_another_file(tmp_path):
    grey = np.zeros((4, 4), np.uint8)
    small, large = PictureFolder(tmp_path, 300), PictureFolder(tmp_path, 400)
    names = {
        folder.keep(grey, *sources).name
        for folder in (small, large)
        for sources in ((b"a",), (b"b",), (b"a", b"b"), (b"ab",))
    }
    assert len(names) == 8


def card(set_name, stem, *s, disagree=None):
    maps = [MapCard(scores={"s_measure": value} if value is not None else {}) for value in s]
    return ImageCard(set_name, stem, maps=maps, disagreement=disagree)


CARDS = [
    card("A", "x", 0.9, 0.7, disagree=0.1),
    card("A", "y", 0.1, None, disagree=None),
    card("B", "x", 0.5, 0.6, disagree=0.3),
    card("B", "z", 0.8, 0.8, disagree=0.2),
]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"worst": 2}, ["B/x", "A/x"]),  # a tie keeps the order; y lacks a map
        ({"best": 1}, ["A/x"]),
        ({"disagreement": 2}, ["B/x", "B/z"]),
        ({"disagreement": 99}, ["B/x", "B/z", "A/x"]),
        ({"stems": ["z", "A/x"]}, ["B/z", "A/x"]),
    ],
)
def test_pick_by_each_choice_gives_images_in_order(choice, names):
    assert [f"{c.set_name}/{c.stem}" for c in pick(CARDS, **choice)] == names


@pytest.mark.parametrize(
    ("choice", "word"),
    [({"stems": ["x"]}, "A/x or B/x"), ({"stems": ["q"]}, "no such image")],
)
def test_pick_ambiguous_or_unknown_name_is_refused(choice, word):
    with pytest.raises(InputError, match=word):
        pick(CARDS, **choice)


def test_write_page_name_with_tags_is_escaped(tmp_path):
    name = "</script><!--<b>&\u2028$STYLE\udcff"
    write_page(tmp_path / "p.html", name, [name], [ImageCard(name, name, maps=[MapCard()])], name)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert "<b>" not in text
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(found)["images"][0]["stem"] == name


def test_write_page_needs_no_network(tmp_path):
    write_page(tmp_path / "p.html", "t", ["m"], [])
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|\bsrc=|@import|url\(", text)


def test_read_scores_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no scores\.json"):
        read_scores(tmp_path)
    (tmp_path / "scores.json").write_text('{"protocol": {"normalize": true}}')
    (tmp_path / "per_image.csv").write_text("method,image\na,b\n")
    with pytest.raises(InputError, match=r"not written by tools/evaluate\.py"):
        read_scores(tmp_path)


def test_paper_figure_is_reproducible_with_text_fonts(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [[np.zeros((20, 30), bool), None, np.full((10, 15), 0.5)]] * 2
    for name in ("a", "b"):
        save_paper_figure([tmp_path / f"{name}.pdf"], rows, ["RGB", "$x", "a_b"])
    content = (tmp_path / "a.pdf").read_bytes()
    assert content == (tmp_path / "b.pdf").read_bytes()
    assert b"/TrueType" in content or b"/Type42" in content or b"/CIDFontType2" in content
    assert b"/Type3" not in content
