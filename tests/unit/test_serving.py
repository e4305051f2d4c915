"""The service without HTTP: the bytes of predict, with and without a depth estimator."""

import numpy as np
import pytest
from PIL import Image

from mutualformer_sod import Predictor
from mutualformer_sod.data.synthetic.scenes import make_scene
from mutualformer_sod.errors import InputError
from mutualformer_sod.inference.picture_depth import plan_depths
from mutualformer_sod.inference.picture_maps import PictureOutputs, predict_pictures
from mutualformer_sod.inference.picture_pairs import Picture
from mutualformer_sod.models import build_model
from mutualformer_sod.serving.access import address_of, bind, refusal, warning_of
from mutualformer_sod.serving.pictures import Asked, PictureService, TooLarge

SETTINGS = {"weights": "x"}
MORE = {"depth_estimator": "y"}
PIXELS = 96 * 128


@pytest.fixture(scope="module")
def predictor():
    fields = {"feature_blocks": (1,), "dim": 16, "decoder_width": 16, "detail_width": 8}
    return Predictor(build_model("tiny-scratch", num_heads=2, **fields), 32, "cpu")


@pytest.fixture
def files(tmp_path):
    """A picture, its depth, and constant depth."""
    scene = make_scene(0, 2, (96, 128))
    flat = np.full_like(scene.depth, 9)
    for name, image in (("rgb", scene.rgb), ("depth", scene.depth), ("flat", flat)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return {name: tmp_path / f"{name}.png" for name in ("rgb", "depth", "flat")}


def estimate(rgb):
    return np.tile(np.linspace(0, 1, rgb.shape[1], dtype=np.float32), (len(rgb), 1))


def predicted(predictor, files, depth, output, settings):
    pictures = [Picture("picture", files["rgb"], depth and files[depth])]
    plan = plan_depths(pictures, "auto")
    predict_pictures(predictor, pictures, plan, PictureOutputs(output, settings))
    return (output / "maps" / "picture.png").read_bytes()


@pytest.mark.parametrize("depth", [None, "depth", "flat"])
def test_service_with_estimator_estimates_only_missing_depth(predictor, files, tmp_path, depth):
    service = PictureService(predictor, SETTINGS, PIXELS, (estimate, SETTINGS | MORE))
    asked = Asked("maps", files["rgb"], depth and files[depth])
    answer = service.answer(asked, tmp_path / "a")
    plain = predicted(predictor, files, depth, tmp_path / "b", SETTINGS)
    assert (answer.png == plain) == (depth is not None)
    if depth is None:
        predictor.estimator = estimate
        try:
            assert answer.png == predicted(predictor, files, None, tmp_path / "c", SETTINGS | MORE)
        finally:
            del predictor.estimator
    assert ("colour alone" in " ".join(answer.notes)) == (depth == "flat")


def test_service_refuses_depth_for_weights_without_depth(predictor, files, tmp_path):
    alone = Predictor(predictor.model, 32, "cpu", modality="rgb")
    with pytest.raises(InputError, match="trained without depth"):
        PictureService(alone, SETTINGS, PIXELS).answer(
            Asked("maps", files["rgb"], files["depth"]), tmp_path
        )


@pytest.mark.parametrize("large", ["rgb", "depth", "background_file"])
def test_service_refuses_too_many_pixels_of_each_file(predictor, files, tmp_path, large):
    Image.new("L", (129, 96)).save(tmp_path / "large.png")
    given = {"rgb": files["rgb"], "depth": files["depth"], "background_file": files["rgb"]}
    given[large] = tmp_path / "large.png"
    with pytest.raises(TooLarge, match="129 x 96 pixels"):
        PictureService(predictor, SETTINGS, PIXELS).answer(
            Asked("cutouts", **given, background="x.png"), tmp_path
        )


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)],
)
def test_warning_of_host_that_others_reach(host, warns):
    assert bool(warning_of(host)) == warns


@pytest.mark.parametrize(
    ("host", "printed", "here"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("a-name", "a-name", "a-name"),
    ],
)
def test_address_of_a_service_is_one_that_it_accepts(monkeypatch, host, printed, here):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))])
    with bind(host, 0) as listening:
        monkeypatch.setattr(
            "socket.socket.getsockname", lambda _: (host if host[0].isdigit() else "10.0.0.9", 81)
        )
        assert address_of(listening, host) == f"http://{printed}:81"
        assert address_of(listening, host, here=True) == f"http://{here}:81"
    for address in (printed, here):
        assert refusal([(b"host", f"{address}:81".encode())], host) is None
