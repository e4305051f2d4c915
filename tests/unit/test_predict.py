"""A user's pictures: pairing, depth, overlays, cut-outs, PNG files, and the predictor."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mutualformer_sod import Predictor
from mutualformer_sod.data.depth.units import DepthEncoding
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.photos import Photo, turn
from mutualformer_sod.imaging.png import read_note, write_png
from mutualformer_sod.inference.overlays import KINDS, cutout, overlay, paint
from mutualformer_sod.inference.picture_depth import fit_depth, plan_depths
from mutualformer_sod.inference.picture_pairs import Picture, pair_pictures
from mutualformer_sod.inference.predictor import native_saliency, saliency_strips

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
        assert "b.png: depth without a picture" in pair_pictures([rgb], depth)[1][0]

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
            (["two"], None, "pictures that would get one name"),
            (["one", "more/a.png"], None, "pictures that would get one name"),
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


def test_cutout_keeps_colours_and_multiplies_opacity():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    saliency = np.array([[0, 0.5, 1], [1, 1, 1]], np.float32)
    opacity = np.array([[255, 255, 255], [0, 128, 255]], np.uint8)
    cut = cutout(rgb, saliency, opacity)
    assert np.array_equal(cut[..., :3], rgb)
    assert cut[..., 3].tolist() == [[0, 128, 255], [0, 128, 255]]


@pytest.mark.parametrize("show", [overlay, cutout])
def test_overlay_and_cutout_of_another_size_are_refused(show):
    with pytest.raises(ValueError, match="Fix: pass"):
        show(np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2)))


class TestPng:
    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (33, 20)])
    def test_write_png_is_read_by_other_libraries(self, tmp_path, size, channels):
        image = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
        image = image[..., 0] if channels == 1 else image
        write_png(tmp_path / "a.png", size, [image[:5], image[5:]][: 1 + (size[0] > 5)])
        assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
        read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read[..., [2, 1, 0, 3][:channels]] if channels > 1 else read, image)

    def test_read_note_returns_what_write_png_wrote(self, tmp_path):
        note = {"weights": "abc", "size": 3, "name": "ü\n"}
        write_png(tmp_path / "a.png", (2, 2), [np.zeros((2, 2), np.uint8)], note)
        assert read_note(tmp_path / "a.png") == note
        cv2.imwrite(str(tmp_path / "b.png"), np.zeros((2, 2), np.uint8))
        (tmp_path / "c.png").write_bytes(b"\x89PNG")
        assert read_note(tmp_path / "b.png") is read_note(tmp_path / "c.png") is None

    def test_write_png_that_fails_keeps_the_old_file(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"before")
        with pytest.raises(ValueError, match="rows"):
            write_png(tmp_path / "a.png", (5, 2), [np.zeros((2, 2), np.uint8)])
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"before")]


@pytest.mark.parametrize("size", [(37, 53), (400, 3), (5, 7), (1, 90)])
def test_saliency_strips_equal_the_whole_map_up_to_rounding(size):
    logits = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 5
    strips = list(saliency_strips(logits, size, whole_pixels=0))
    assert len(strips) == size[0]
    np.testing.assert_allclose(np.vstack(strips), native_saliency(logits, size), atol=2e-6)


def test_paint_in_bands_equals_painting_the_whole():
    size = (900, 1200)  # more pixels than a band
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    photo = Photo(rgb, rgb, None, size, 1, ())
    saliency = np.random.default_rng(1).random(size, np.float32)
    want = np.rint(saliency.astype(float) * 255), overlay(rgb, saliency), cutout(rgb, saliency)
    for kind, image in zip(KINDS, want, strict=True):
        bands = list(paint(kind, photo, [saliency[:10], saliency[10:]]))
        assert len(bands) > 2
        assert np.array_equal(np.concatenate(bands), image)


class TestPredictor:
    @pytest.fixture(scope="class")
    @classmethod
    def predictor(cls):
        return Predictor.from_weights(WEIGHTS, device="cpu")

    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls):
        rgb = np.full((60, 80, 3), 90, np.uint8)
        rgb[20:45, 25:55] = (200, 60, 40)
        depth = np.tile(np.linspace(20, 120, 60)[:, None], (1, 80)).astype(np.uint8)
        depth[20:45, 25:55] = 230
        return rgb, depth

    @pytest.mark.parametrize("copy", ["inverted", "x257", "0 to 1", "0 to 255", "inverted x257"])
    def test_predictor_with_copies_of_a_depth_map_gives_one_map(self, predictor, scene, copy):
        rgb, depth = scene
        other, near = depth, "white"
        if "inverted" in copy:
            other, near = 255 - depth, "black"
        if "x257" in copy:
            other = other.astype(np.uint16) * 257
        if "0 to" in copy:
            other = other / (255 if copy == "0 to 1" else 1)  # float64
        want = predictor.predict(rgb, depth, near="white")
        assert np.abs(predictor.predict(rgb, other, near=near) - want).max() <= 1 / 255
        assert np.abs(predictor.predict(rgb, None) - want).max() > 1 / 255

    def test_predictor_with_metres_or_millimetres_gives_one_map(self, predictor, scene):
        rgb, depth = scene
        millimetres = (3000 - 10 * depth.astype(np.uint16)).astype(np.uint16)
        metres = millimetres / 1000
        millimetres[5:9, 5:9], metres[5:9, 5:9] = 0, np.nan
        first, second = (predictor.predict(rgb, d, near="auto") for d in (millimetres, metres))
        np.testing.assert_allclose(first, second, atol=1e-4)

    @pytest.mark.parametrize("depth", [np.zeros, np.ones, lambda size: np.full(size, np.nan)])
    def test_predictor_with_constant_raw_depth_ignores_it(self, predictor, scene, depth):
        got = predictor.predict(scene[0], depth(scene[1].shape), near="auto")
        assert np.array_equal(got, predictor.predict(scene[0]))

    @pytest.mark.parametrize("axis", [0, 2])
    def test_predictor_accepts_depth_of_one_channel(self, predictor, scene, axis):
        rgb, depth = scene
        got = predictor.predict(rgb, np.expand_dims(depth, axis), near="white")
        assert np.array_equal(got, predictor.predict(rgb, depth, near="white"))

    def test_predictor_accepts_array_views(self, predictor, scene):
        rgb, depth = scene
        got = predictor.predict(rgb[:, ::-1], depth[:, ::-1], near="white")
        want = predictor.predict(rgb[:, ::-1].copy(), depth[:, ::-1].copy(), near="white")
        assert np.array_equal(got, want)

    def test_predictor_with_empty_batch_returns_empty_logits(self, predictor):
        logits = predictor.logits(torch.zeros(0, 3, 32, 32), torch.zeros(0, 1, 32, 32), None)
        assert logits.shape == (0, 1, 32, 32)

    @pytest.mark.parametrize(
        ("rgb", "depth", "options", "words"),
        [
            (np.zeros((4, 5), np.uint8), None, {}, "grey image as numpy.dstack"),
            (np.zeros((4, 5, 4), np.uint8), None, {}, r"pass \(H, W, 3\)"),
            (np.zeros((4, 5, 3)), None, {}, "float64"),
            (np.zeros((0, 5, 3), np.uint8), None, {}, "pass"),
            ([[1, 2]], None, {}, "list"),
            (None, np.zeros((5, 4)), {}, r"pass \(4, 5\), the size of rgb"),
            (None, np.full((4, 5), 7, np.uint8), {}, "near="),
            (None, np.full((4, 5), np.nan), {}, "near="),
            (None, np.full((4, 5), "x"), {}, "numeric"),
            (None, np.full((4, 5), 70000), {"near": "black"}, "16 bits"),
            (None, np.linspace(1, 9, 20).reshape(4, 5), {"near": "auto"}, 'near="black" if'),
            (None, np.zeros((4, 5)), {"near": "up"}, "unknown"),
            (None, np.zeros((4, 5)), {"near": "white", "encoding": MAP}, "one of them"),
        ],
    )
    def test_predictor_with_wrong_argument_raises_one_line(
        self, predictor, rgb, depth, options, words
    ):
        rgb = np.zeros((4, 5, 3), np.uint8) if rgb is None else rgb
        with pytest.raises(InputError, match=words) as caught:
            predictor.predict(rgb, depth, **options)
        assert "\n" not in str(caught.value)
