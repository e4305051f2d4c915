"""The demo without its page: files of all kinds, limits, its folder of files."""

import os
import socket
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from mutualformer_sod import Predictor
from mutualformer_sod.configs.released import find_weights, name_weights
from mutualformer_sod.data.synthetic.scenes import make_scene
from mutualformer_sod.demo.samples import make_samples
from mutualformer_sod.demo.scratch import Scratch
from mutualformer_sod.demo.service import Request, Service, check_inputs
from mutualformer_sod.errors import InputError
from mutualformer_sod.models import build_model
from mutualformer_sod.serving.access import is_own, refusal
from mutualformer_sod.serving.pictures import check_pixels

SIZE = (96, 128)


@pytest.fixture(scope="module")
def service():
    fields = {"feature_blocks": (1, 2), "dim": 32, "decoder_width": 16, "detail_width": 8}
    predictor = Predictor(build_model("tiny-scratch", **fields), 64, "cpu")
    scratch = Scratch()
    yield Service({"small": predictor}, scratch, 10**6)
    scratch.close()


@pytest.fixture
def counted():
    """A service, and a list that grows with each run of its network."""
    runs = []

    class Counted(Predictor):
        def image_logits(self, *arguments, **options):
            runs.append(arguments)
            return super().image_logits(*arguments, **options)

    fields = {"feature_blocks": (1,), "dim": 16, "decoder_width": 16, "detail_width": 8}
    predictor = Counted(build_model("tiny-scratch", num_heads=2, **fields), 32, "cpu")
    scratch = Scratch()
    yield Service({"small": predictor}, scratch, 10**6), runs
    scratch.close()


@pytest.fixture
def scene():
    return make_scene(0, 2, SIZE)


@pytest.fixture
def rgb(tmp_path, scene):
    path = tmp_path / "photo.png"
    Image.fromarray(scene.rgb).save(path)
    return path


def ask(service, rgb, depth=None, **options):
    return service.answer(Request(rgb, depth, "small", **options))


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def save_depth(folder, depth, suffix=".png"):
    path = folder / f"depth{suffix}"
    np.save(path, depth) if suffix == ".npy" else Image.fromarray(depth).save(path)
    return path


def test_service_returns_map_overlay_and_cutout_at_native_size(service, rgb, scene):
    answer = ask(service, rgb)
    assert read(answer.saliency).shape == SIZE
    assert read(answer.overlay).shape == (*SIZE, 3)
    cut = read(answer.cutout)
    opaque = cut[..., 3] == 255
    assert (cut[..., 2::-1][opaque] == scene.rgb[opaque]).all()
    assert (cut[..., 3] == read(answer.saliency)).all()
    assert answer.depth is None and "RGB only" in answer.message


@pytest.mark.parametrize("kind", ["uint16", "npy"])
def test_service_with_deep_depth_gives_the_map_of_its_8_bit_copy(
    service, rgb, scene, tmp_path, kind
):
    plain = ask(service, rgb, save_depth(tmp_path, scene.depth))
    wide = scene.depth.astype(np.uint16) * 257
    deep = wide if kind == "uint16" else scene.depth / np.float32(255) * 7 - 3
    path = save_depth(tmp_path, deep, ".png" if kind == "uint16" else ".npy")
    difference = read(plain.saliency).astype(int) - read(ask(service, rgb, path).saliency)
    assert np.abs(difference).max() <= 1


def test_service_with_disparity_asks_and_the_switch_means_millimetres(
    service, rgb, scene, tmp_path
):
    stored = np.rint((3 + scene.depth / 255 * 100) * 256 + 1).astype(np.uint16)
    stored[:, :8] = 0
    path = save_depth(tmp_path, stored)
    asked, millimetres = (ask(service, rgb, path, invert=invert) for invert in (False, True))
    assert "may be millimetres or disparity" in asked.message
    shown, inverted = read(asked.depth).astype(int), read(millimetres.depth)
    assert np.corrcoef(shown[:, 8:].ravel(), scene.depth[:, 8:].ravel())[0, 1] > 0.99
    assert np.abs(shown + inverted - 255).max() <= 1


def test_service_with_invert_inverts_the_depth(service, rgb, scene, tmp_path):
    path = save_depth(tmp_path, scene.depth)
    shown = read(ask(service, rgb, path).depth).astype(int)
    inverted = read(ask(service, rgb, path, invert=True).depth)
    assert np.abs(255 - inverted - shown).max() <= 1


def test_service_with_threshold_returns_a_binary_map(service, rgb):
    soft = read(ask(service, rgb).saliency)
    hard = read(ask(service, rgb, threshold=float(np.median(soft)) / 255).saliency)
    assert set(np.unique(hard)) <= {0, 255}
    assert (hard[soft > np.median(soft) + 1] == 255).all()


def test_service_with_new_threshold_runs_no_network(counted, rgb):
    service, runs = counted
    for threshold in (0, 0.5, 1):
        assert ask(service, rgb, threshold=threshold).saliency is not None
    assert len(runs) == 1


def test_service_applies_the_orientation_tag(service, tmp_path, scene):
    exif = Image.Exif()
    exif[0x112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(scene.rgb).save(path, exif=exif)
    answer = ask(service, path)
    assert read(answer.saliency).shape == SIZE[::-1]
    assert "turned" in answer.message


@pytest.mark.parametrize("mode", ["CMYK", "P", "L", "RGBA"])
def test_service_maps_every_colour_mode(service, tmp_path, scene, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(scene.rgb).convert(mode).save(path)
    assert ask(service, path).saliency is not None


def test_service_with_depth_of_other_proportions_warns(service, rgb, tmp_path):
    depth = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    assert "STRETCHED" in ask(service, rgb, save_depth(tmp_path, depth)).message


def test_service_with_empty_depth_ignores_it_and_warns(service, rgb, tmp_path):
    nothing = save_depth(tmp_path, np.full(SIZE, np.nan, np.float32), ".npy")
    answer = ask(service, rgb, nothing)
    assert answer.saliency is not None and "empty depth" in answer.message


def bad_files(folder):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    picture.save(folder / "whole.png")
    picture.save(folder / "whole.jpg")
    whole, jpeg = (folder / "whole.png").read_bytes(), (folder / "whole.jpg").read_bytes()
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2
    return {
        "text.png": b"this is no picture",
        "nothing.png": b"",
        "half.png": whole[: len(whole) // 2],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "huge.png": whole[:12] + header + whole[24:],
        "noise.png": rng.bytes(1000),
        "noise.npy": rng.bytes(1000),
        "x.tif": b"II*\0" + rng.bytes(100),
    }


@pytest.mark.parametrize(
    "name",
    ["text.png", "nothing.png", "half.png", "half.jpg", "huge.png", "noise.png", "x.tif"],
)
@pytest.mark.parametrize("place", ["rgb", "depth"])
def test_service_with_bad_file_names_it_in_one_line(service, rgb, tmp_path, name, place):
    path = tmp_path / name
    path.write_bytes(bad_files(tmp_path)[name])
    answer = ask(service, path) if place == "rgb" else ask(service, rgb, path)
    assert answer.saliency is None
    assert answer.message.startswith(f"Error: {name}: ")  # the name alone: no folder of ours
    assert "\n" not in answer.message and "defect" not in answer.message


def test_service_with_removed_file_asks_for_it_again(service, tmp_path):
    assert "upload the file again" in ask(service, tmp_path / "gone.png").message


@pytest.mark.parametrize("suffix", [".png", ".npy", ".tif", ".webp"])
def test_check_pixels_reads_only_the_header(tmp_path, suffix):
    path = save_depth(tmp_path, np.zeros((40, 50), np.uint8), suffix)
    check_pixels(path, 2000)
    with pytest.raises(InputError, match="50 x 40 pixels"):
        check_pixels(path, 1999)


def test_check_pixels_ignores_damaged_metadata(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (50, 40)).save(path, dpi=(72, 72))
    data = bytearray(path.read_bytes())
    data[data.index(b"pHYs") + 4] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="50 x 40 pixels"):
        check_pixels(path, 1999)


def test_check_pixels_refuses_array_with_huge_header(tmp_path):
    path = save_depth(tmp_path, np.zeros((40, 50), np.uint8), ".npy")
    path.write_bytes(path.read_bytes().replace(b"(40, 50), }     ", b"(4000000, 50), }"))
    with pytest.raises(InputError, match="50 x 4000000 pixels"):
        check_pixels(path, 10**6)


def test_service_with_defect_answers_and_logs_the_traceback(rgb, caplog):
    scratch = Scratch()
    assert "defect" in ask(Service({"small": None}, scratch, 10**6), rgb).message
    scratch.close()
    assert "Traceback" in caplog.text  # in the terminal, not on the page


def test_service_forgets_old_outputs_of_the_network(counted, tmp_path):
    service, runs = counted
    paths = [tmp_path / f"{index}.png" for index in range(40)]
    for index, path in enumerate(paths):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(path)
        ask(service, path)
    ask(service, paths[-1])
    assert len(runs) == 40
    ask(service, paths[0])
    assert len(runs) == 41


def test_scratch_removes_old_files_but_not_kept_ones():
    scratch = Scratch(keep_seconds=100)
    kept, old, new = (scratch.path / name for name in ("kept", "old", "new"))
    kept.write_bytes(b"x")
    scratch.start()
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    for path in (kept, old):
        os.utime(path, (time.time() - 200,) * 2)
    scratch.sweep()
    assert [path.exists() for path in (kept, old, new)] == [True, False, True]
    scratch.close()
    assert not scratch.path.exists()


def test_scratch_above_its_size_removes_the_oldest_files():
    scratch = Scratch(most_bytes=250)
    for age in range(5):
        path = scratch.path / str(age)
        path.write_bytes(bytes(100))
        os.utime(path, (time.time() - age,) * 2)
    scratch.sweep()
    assert sorted(path.name for path in scratch.path.iterdir()) == ["0", "1"]
    scratch.close()


def test_samples_have_every_kind_of_scene(tmp_path):
    samples = make_samples(tmp_path / "x", 3)
    assert len({sample.title for sample in samples}) == 3
    assert all(read(sample.rgb).shape[:2] == read(sample.depth).shape for sample in samples)


def test_name_weights_returns_the_shortest_unique_names(tmp_path):
    paths = [tmp_path / name for name in ("a/weights.x", "b/weights.x", "c/own.x", "d/own.x")]
    assert list(name_weights(paths)) == ["a", "b", "c/own", "d/own"]


def test_name_weights_returns_the_names_of_released_weights(tmp_path):
    paths = [tmp_path / "tiny" / "weights.x", find_weights("tiny"), tmp_path / "mine" / "model.x"]
    own = f"{tmp_path.name}/tiny"
    assert list(name_weights(paths)) == [own, "tiny", "mine"]


def test_name_weights_of_files_that_differ_in_their_ending_keeps_both(tmp_path):
    paths = [tmp_path / "a" / name for name in ("weights.x", "weights.y")]
    assert list(name_weights(paths).values()) == [path.resolve() for path in paths]


def test_name_weights_with_file_given_twice_raises(tmp_path):
    with pytest.raises(InputError, match="passed twice"):
        name_weights([tmp_path / "a.x"] * 2)


class TestAccess:
    @pytest.mark.parametrize(
        ("name", "host", "own"),
        [
            ("localhost", "127.0.0.1", True),
            ("127.0.0.1", "127.0.0.1", True),
            ("127.8.9.1", "127.0.0.1", True),
            ("::1", "127.0.0.1", True),
            ("evil.example", "127.0.0.1", False),
            ("localhost.evil.example", "127.0.0.1", False),
            ("127.0.0.1.evil.example", "127.0.0.1", False),
            ("192.0.2.7", "127.0.0.1", False),
            ("192.0.2.7", "192.0.2.7", True),
            ("lab.example", "Lab.Example", True),
            ("localhost", "192.0.2.7", True),
            ("192.0.2.7", "0.0.0.0", True),
            ("evil.example", "0.0.0.0", False),
            (socket.gethostname().casefold(), "0.0.0.0", True),
            (None, "0.0.0.0", False),
        ],
    )
    def test_is_own_accepts_loopback_and_the_given_host(self, name, host, own):
        assert is_own(name, host) is own

    @pytest.mark.parametrize(
        ("headers", "word"),
        [
            ({"host": "localhost:7860"}, None),
            ({"host": "[::1]:7860", "origin": "http://localhost:7860"}, None),
            ({"host": "evil.example"}, "Host 'evil.example'"),
            ({}, "Host ''"),
            ({"host": "localhost", "origin": "https://evil.example"}, "Origin 'https://evil"),
            ({"host": "localhost", "origin": "null"}, "Origin 'null'"),
            ({"host": "localhost", "origin": "http://[broken"}, "Origin"),
        ],
    )
    def test_refusal_of_foreign_headers_has_their_value(self, headers, word):
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        problem = refusal(pairs, "127.0.0.1")
        assert problem is None if word is None else word in problem


class TestInputs:
    FILE = {"path": "/tmp/a.png", "meta": {"_type": "gradio.FileData"}}  # noqa: RUF012

    @pytest.mark.parametrize("inputs", [(FILE, None, "w", 0, False), (FILE, FILE, "w", 0.5, True)])
    def test_check_inputs_accepts_usable_inputs(self, inputs):
        check_inputs(inputs, ["w"])

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ((), "received 0 inputs.*pass 5: picture, depth"),
            (("a.png", None, "w", 0, False), "picture 'a.png' .*upload"),
            ((FILE, {"path": 7}, "w", 0, False), "depth .*upload"),
            (([FILE], None, "w", 0, False), "picture"),
            ((FILE, None, "v", 0, False), "weights 'v' .*one of w"),
            ((FILE, None, ["w"], 0, False), "weights"),
            ((FILE, None, "w", "x", False), "threshold 'x' .*0 to 1"),
            ((FILE, None, "w", 2, False), "threshold 2"),
            ((FILE, None, "w", float("nan"), False), "threshold nan"),
            ((FILE, None, "w", True, False), "threshold True"),
            ((FILE, None, "w", 0, "yes"), "invert 'yes' .*true or false"),
        ],
    )
    def test_check_inputs_with_wrong_input_names_it(self, inputs, words):
        with pytest.raises(InputError, match=words):
            check_inputs(inputs, ["w"])
