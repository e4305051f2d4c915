"""A user's pictures: pairing, depth, overlays and cut-outs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.photos import Photo, turn
from mutualformer_sod.inference.overlays import KINDS, CutoutStyle, cut_out, cutout, overlay, paint
from mutualformer_sod.inference.picture_depth import fit_depth, plan_depths
from mutualformer_sod.inference.picture_pairs import Picture, pair_pictures

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"
MAP = DepthEncoding("map", "white", 1.0, "")


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


class TestJobs:
    def test_pair_pictures_with_equal_stems_pairs_them(self, tmp_path):
        rgb = touch(tmp_path / "rgb", "b.JPG", "a b.png", "ü.webp")
        depth = touch(tmp_path / "d", "a b.npy", "ü.png")
        pictures, remarks = pair_pictures([rgb], depth)
        assert [(j.stem, j.depth and j.depth.name) for j in pictures] == [
            ("a b", "a b.npy"),
            ("b", None),
            ("ü", "ü.png"),
        ]
        assert not remarks

    def test_pair_pictures_ignores_endings_of_the_modality(self, tmp_path):
        rgb = touch(tmp_path / "rgb", "1_rgb.png", "2.png")
        depth = touch(tmp_path / "d", "1_depth.png", "2_depth.png")
        assert [j.depth.name for j in pair_pictures([rgb], depth)[0]] == [
            "1_depth.png",
            "2_depth.png",
        ]

    def test_pair_pictures_of_two_files_ignores_their_names(self, tmp_path):
        rgb, depth = touch(tmp_path, "a.png") / "a.png", touch(tmp_path, "z.npy") / "z.npy"
        assert pair_pictures([rgb], depth)[0] == [Picture("a", rgb, depth)]

    def test_pair_pictures_skips_other_files_but_not_heic(self, tmp_path):
        rgb = touch(tmp_path / "rgb", "a.png", "b.HEIC", "notes.txt", ".hidden.png")
        (rgb / "sub.png").mkdir()
        pictures, remarks = pair_pictures([rgb], None)
        assert [job.stem for job in pictures] == ["a", "b"]
        assert len(remarks) == 2
        assert ".hidden.png skipped: hidden" in remarks[0]
        assert "notes.txt, sub.png" in remarks[1]

    def test_pair_pictures_reports_hidden_depth(self, tmp_path):
        rgb, depth = touch(tmp_path / "rgb", "a.png"), touch(tmp_path / "d", "a.png", "._a.png")
        pictures, remarks = pair_pictures([rgb], depth)
        assert pictures[0].depth.name == "a.png"
        assert remarks == [f"{depth}: ._a.png skipped: hidden, the name starts with a dot"]

    def test_pair_pictures_reports_all_mistakes_at_once(self, tmp_path):
        rgb = touch(tmp_path / "rgb", *(f"{n}{end}" for n in range(9) for end in (".png", ".jpg")))
        depth = touch(tmp_path / "d", *(f"{n}{end}" for n in range(7) for end in (".png", ".npy")))
        with pytest.raises(InputError) as refused:
            pair_pictures([rgb, tmp_path / "none", tmp_path / "nowhere"], depth)
        for number in range(9):
            assert f"{rgb}/{number}.jpg and {rgb}/{number}.png" in str(refused.value)
        for number in range(7):
            assert f"{depth}/{number}.npy and {depth}/{number}.png" in str(refused.value)
        assert f"{tmp_path / 'none'}: no such" in str(refused.value)
        assert f"{tmp_path / 'nowhere'}: no such" in str(refused.value)

    def test_pair_pictures_reports_depth_without_picture(self, tmp_path):
        rgb, depth = touch(tmp_path / "rgb", "a.png"), touch(tmp_path / "d", "a.png", "b.png")
        assert "b.png: no picture matches this depth" in pair_pictures([rgb], depth)[1][0]

    def test_pair_pictures_keeps_unsupported_depth_to_fail_later(self, tmp_path):
        rgb = touch(tmp_path / "rgb", "a.png", "b.png")
        depth = touch(tmp_path / "d", "a.png", "a.mat", "b.mat")
        pictures, remarks = pair_pictures([rgb], depth)
        assert [job.depth.name for job in pictures] == ["a.png", "b.mat"]
        assert "a.mat skipped" in remarks[0]
        assert list(plan_depths(pictures[1:], "auto").failed) == [depth / "b.mat"]

    @pytest.mark.parametrize(
        ("rgb", "depth", "words"),
        [
            (["none"], None, "`rgb` .*none"),
            (["empty"], None, "no picture found"),
            (["two"], None, "pictures whose outputs would get one name"),
            (["one", "more/a.png"], None, "pictures whose outputs would get one name"),
            (["one"], "none", "`depth` .*none"),
            (["one"], "one", "is the folder of the pictures"),
            (["one", "z.png"], "z.npy", "one file for several pictures"),
            (["one"], "double", "several depth maps of one picture"),
            (["one"], "bare", "no depth map found"),
            (["one"], "other", r"no file belongs to a picture: z\.png"),
            (["one"], "matlab", r"unsupported depth files: a\.mat\. Fix: .*numpy\.save"),
            (["one"], "unpaired", r"unsupported depth files: 7\.npz"),
        ],
    )
    def test_pair_pictures_with_mistake_names_it(self, tmp_path, rgb, depth, words):
        touch(tmp_path, "z.png", "z.npy")
        for folder, names in (
            ("empty", []),
            ("one", ["a.png"]),
            ("more", ["a.png"]),
            ("two", ["a.png", "a.jpg"]),
            ("double", ["a.png", "a.npy"]),
            ("bare", ["notes.txt"]),
            ("other", ["z.png"]),
            ("matlab", ["a.mat"]),
            ("unpaired", ["7.npz"]),
        ):
            touch(tmp_path / folder, *names)
        with pytest.raises(InputError, match=words):
            pair_pictures([tmp_path / name for name in rgb], depth and tmp_path / depth)


class TestDepths:
    def photo(self, size, orientation=1):
        rgb = np.zeros((*size, 3), np.uint8)
        return Photo(rgb, rgb, None, size, orientation, ())

    @pytest.mark.parametrize(
        ("raw", "word"),
        [
            (np.full((4, 6), 9, np.uint8), "constant"),
            (np.zeros((4, 6), np.uint16), "empty"),
            (np.full((4, 6), np.nan, np.float32), "empty"),
            (np.where(np.eye(4, 6) > 0, 0, 700).astype(np.uint16), "constant"),
        ],
    )
    def test_fit_depth_of_constant_map_returns_none(self, raw, word):
        encoding = DepthEncoding("metric" if raw.dtype != np.uint8 else "map", "black", 1.0, "")
        depth, notes = fit_depth(raw, encoding, self.photo((4, 6)), (4, 6))
        assert depth is None
        assert word in notes[0]

    def test_fit_depth_of_half_size_adds_no_new_values(self):
        raw = np.array([[1, 2], [3, 90]], np.uint8)
        depth, notes = fit_depth(raw, MAP, self.photo((4, 4)), (4, 4))
        assert np.array_equal(depth, raw.repeat(2, axis=0).repeat(2, axis=1))
        assert notes == ["depth 2 x 2 resized"]

    @pytest.mark.parametrize(
        ("raw", "word"),
        [
            (np.eye(4, 6, dtype=np.uint8) * 255, "two values"),
            (np.maximum(np.arange(24).reshape(4, 6) - 14, 0), "half of"),
        ],
    )
    def test_fit_depth_of_doubtful_map_returns_a_remark(self, raw, word):
        depth, notes = fit_depth(raw.astype(np.uint8), MAP, self.photo((4, 6)), (4, 6))
        assert depth is not None
        assert word in notes[0]

    def test_fit_depth_of_other_proportions_returns_a_remark(self):
        raw = np.arange(12, dtype=np.uint8).reshape(3, 4)
        assert "STRETCHED" in fit_depth(raw, MAP, self.photo((9, 16)), (9, 16))[1][0]

    @pytest.mark.parametrize(("stored", "turned"), [((2, 3), True), ((3, 2), False)])
    def test_fit_depth_rotates_stored_depth_only(self, stored, turned):
        raw = np.arange(6, dtype=np.uint8).reshape(stored)
        depth, notes = fit_depth(raw, MAP, self.photo((3, 2), orientation=6), (3, 2))
        assert np.array_equal(depth, np.rot90(raw, -1) if turned else raw)
        assert bool(notes) is turned

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("lies", ["stored", "shown"])
    def test_fit_depth_follows_the_given_orientation(self, orientation, lies):
        raw = np.arange(16, dtype=np.uint8).reshape(4, 4)  # square: its sides tell nothing
        photo = self.photo((4, 4), orientation)
        depth, _ = fit_depth(raw, MAP, photo, (4, 4), lies)
        assert np.array_equal(depth, raw if lies == "shown" else turn(raw, orientation))

    @pytest.mark.parametrize("near", ["auto", "strict"])
    def test_plan_depths_with_contradiction_raises(self, tmp_path, near):
        np.save(tmp_path / "a.npy", np.linspace(1, 14, 48, dtype=np.float32).reshape(6, 8))
        pictures = [Picture("a", tmp_path / "a.npy", tmp_path / "a.npy")]
        with pytest.raises(InputError, match=r"Fix: .*--near black .*--near white"):
            plan_depths(pictures, near)
        assert plan_depths(pictures, "white").encodings[tmp_path / "a.npy"].near == "white"

    def test_plan_depths_decides_each_type_apart_and_skips_bad_files(self, tmp_path):
        ramp = np.linspace(700, 3000, 48).reshape(6, 8)[::-1]
        cv2.imwrite(str(tmp_path / "mm.png"), ramp.astype(np.uint16))
        np.save(tmp_path / "m.npy", np.where(ramp < 800, np.nan, ramp / 1000).astype(np.float32))
        cv2.imwrite(str(tmp_path / "map.png"), (ramp / 12).astype(np.uint8))
        (tmp_path / "bad.png").write_bytes(b"")
        files = [tmp_path / name for name in ("mm.png", "m.npy", "map.png", "bad.png")]
        plan = plan_depths([Picture(f.stem, f, f) for f in files], "auto")
        kinds = [(plan.encodings[f].kind, plan.encodings[f].near) for f in files[:3]]
        assert kinds == [("metric", "black"), ("metric", "black"), ("map", "black")]
        assert list(plan.failed) == files[3:]
        assert sum("decided from 1 map alone" in remark for remark in plan.remarks) == 1


def test_overlay_marks_the_object_and_dims_the_rest():
    rgb = np.array([[[100, 200, 50], [100, 200, 50]]], np.uint8)
    marked = overlay(rgb, np.array([[0.0, 1.0]]))
    assert marked[0, 0].tolist() == [55, 110, 28]  # darker, of the same hue
    assert marked[0, 1, 0] > 180 > marked[0, 1, 1]


def test_cutout_keeps_opaque_colours_and_multiplies_opacity():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    saliency = np.array([[0, 0.5, 1], [1, 1, 1]], np.float32)
    opacity = np.array([[255, 255, 255], [0, 128, 255]], np.uint8)
    cut = cutout(rgb, saliency, opacity)
    assert np.array_equal(cut[..., :3][cut[..., 3] == 255], rgb[cut[..., 3] == 255])
    assert cut[..., 3].tolist() == [[0, 128, 255], [0, 128, 255]]


@pytest.mark.parametrize("show", [overlay, cutout])
def test_overlay_and_cutout_of_another_size_are_refused(show):
    with pytest.raises(ValueError, match="Fix: pass"):
        show(np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2)))


def test_paint_in_bands_equals_painting_the_whole():
    size = (900, 1200)  # more pixels than a band
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    photo = Photo(rgb, rgb, None, size, 1, ())
    saliency = np.random.default_rng(1).random(size, np.float32)
    want = np.rint(saliency.astype(float) * 255), overlay(rgb, saliency)
    for kind, image in zip(KINDS, want, strict=True):
        bands = list(paint(kind, photo, [saliency[:10], saliency[10:]]))
        assert len(bands) > 2
        assert np.array_equal(np.concatenate(bands), image)


class TestCutOut:
    @pytest.fixture
    def photo(self):
        rgb = np.full((60, 80, 3), (30, 90, 200), np.uint8)
        rgb[20:40, 30:50] = (220, 40, 10)
        return Photo(rgb, rgb, None, (60, 80), 1, ())

    @pytest.fixture
    def saliency(self):
        saliency = np.zeros((60, 80), np.float32)
        saliency[20:40, 30:50] = 1
        return cv2.GaussianBlur(saliency, (0, 0), 1.5)

    def test_cut_out_without_style_equals_cutout(self, photo, saliency):
        got = cut_out(photo, [saliency[:25], saliency[25:]])
        assert np.array_equal(got, cutout(photo.rgb, saliency))

    @pytest.mark.parametrize(
        ("background", "want"),
        [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#10ff02", (16, 255, 2))],
    )
    def test_cut_out_on_a_colour_has_it_outside_the_object(self, photo, saliency, background, want):
        got = cut_out(photo, [saliency], CutoutStyle(background))
        assert got.shape == (60, 80, 3)
        assert tuple(got[5, 5]) == want
        assert tuple(got[30, 40]) == (220, 40, 10)

    def test_cut_out_on_blur_shows_the_blurred_picture(self, photo, saliency):
        got = cut_out(photo, [saliency], CutoutStyle("blur"))
        assert np.abs(got[5, 5].astype(int) - (30, 90, 200)).max() <= 1
        assert tuple(got[30, 40]) == (220, 40, 10)

    @pytest.mark.parametrize("shape", [(30, 300), (300, 30), (7, 7)])
    def test_cut_out_on_a_file_is_covered_by_it(self, photo, saliency, tmp_path, shape):
        Image.fromarray(np.full((*shape, 3), (1, 2, 3), np.uint8)).save(tmp_path / "b.png")
        got = cut_out(photo, [saliency], CutoutStyle(str(tmp_path / "b.png")))
        assert got.shape == (60, 80, 3)
        assert tuple(got[0, 0]) == tuple(got[-1, -1]) == (1, 2, 3)

    def test_cut_out_cropped_is_the_object_with_a_margin(self, photo, saliency):
        got = cut_out(photo, [saliency], CutoutStyle(crop=True))
        assert all(20 <= side <= 24 for side in got.shape[:2])
        assert tuple(got[11, 11]) == (220, 40, 10, 255)

    def test_cut_out_without_object_is_not_cropped(self, photo, saliency):
        assert cut_out(photo, [0 * saliency], CutoutStyle(crop=True)).shape == (60, 80, 4)

    def test_cutout_style_with_an_unknown_colour_is_refused(self):
        with pytest.raises(InputError, match="`background` nocolour: neither a colour nor a file"):
            CutoutStyle("nocolour")

    def test_cutout_style_with_a_file_that_is_no_picture_is_refused(self, tmp_path):
        (tmp_path / "b.txt").write_text("text")
        with pytest.raises(InputError, match=r"`background` .*b\.txt: the file is not"):
            CutoutStyle(str(tmp_path / "b.txt"))
