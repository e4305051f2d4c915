"""tools/export.py: files that run without this package and say what PyTorch says."""

import importlib.util
import json
import re
from functools import partial

import numpy as np
import pytest
import timm
import torch
from tool_runs import ROOT, error_line, run_tool
from torch.export import Dim
from torch.utils.data import default_collate

from mutualformer_sod import Predictor
from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.imaging.io import read_depth, read_rgb
from mutualformer_sod.inference import export
from mutualformer_sod.models import build_model
from mutualformer_sod.models.stem import TimmStem
from mutualformer_sod.models.weights import load_weights, save_weights

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")

pytestmark = pytest.mark.skipif(not export.CAN_EXPORT, reason="exporting needs torch 2.6 or newer")
SHIPPED = ROOT / "weights" / "mutualformer_tiny.safetensors"
STEM = "tf_efficientnet_lite0"
# Logits of 7 differ by 1.07e-4 between AVX2 and AVX-512 kernels, by rounding; maps by less.
OF_LOGITS = {"rtol": 1e-5, "atol": 1e-4}
SMALL = {"dim": 32, "decoder_width": 16, "detail_width": 8}


def run_export(weights, output, *options):
    return run_tool("export", "--weights", weights, "--output", output, *options)


@pytest.fixture(scope="module")
def weights(run_folder, tmp_path_factory):
    """Weights file of the cut-down model with logits as large as those of a long training."""
    model, protocol = load_weights(run_folder / "weights.safetensors")
    model.decoder.head[-1].weight.data *= 30
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(model, path, protocol)
    return path


@pytest.fixture(scope="module")
def exported(weights, scenes, tmp_path_factory):
    """An exported program for any size, the output of the tool, and the traced program."""
    path = tmp_path_factory.mktemp("export") / "network.pt2"
    options = ("--format", "exported-program", "--check", scenes, "--benchmark", "--rounds", 2)
    traced = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "trace", partial(record, export.trace, traced))
        done = run_export(weights, path, *options)
    assert done.status == 0, done.error
    return path, done.output, traced[0]


@pytest.fixture(scope="module")
def onnx_file(weights, exported, tmp_path_factory):
    """An ONNX file of the same traced program: tracing takes longest."""
    path = tmp_path_factory.mktemp("export") / "network.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "trace", lambda *_: exported[2])
        done = run_export(weights, path)
    assert done.status == 0, done.error
    return path


@pytest.fixture(scope="module")
def program(exported):
    return export.load_exported(exported[0])


def record(function, results, *arguments):
    results.append(function(*arguments))
    return results[-1]


def real_images(root, size, count=6):
    sets = with_encodings(discover_sets([root]), ["white"])
    dataset = SodDataset(sets, size, with_gt=False)
    step = max(1, len(dataset) // count)
    batch = default_collate([dataset[index] for index in range(0, step * count, step)])
    return batch["rgb"], batch["depth"], batch["has_depth"]


@pytest.mark.parametrize("size", [128, (96, 160)])
@pytest.mark.parametrize("depth", ["with", "without", "mixed"])
def test_onnxruntime_gives_the_maps_of_pytorch_on_real_images(
    shared_data, weights, onnx_file, size, depth
):
    rgb, maps, has_depth = real_images(shared_data / "train_rgbd", size)
    assert has_depth.all()
    if depth != "with":
        has_depth[(0 if depth == "without" else 1) :: (1 if depth == "without" else 2)] = False
        maps[~has_depth] = torch.nan  # absent depth is ignored
    network = export.load_exported(onnx_file)
    with torch.inference_mode():
        want = load_weights(weights)[0](rgb, maps, has_depth)
    assert want.std() > 1  # far above the tolerance
    one = network(rgb[:1], maps[:1], has_depth[:1])
    for got, logits in ((network(rgb, maps, has_depth), want), (one, want[:1])):
        torch.testing.assert_close(got.sigmoid(), logits.sigmoid(), rtol=0, atol=1e-4)
        torch.testing.assert_close(got, logits, **OF_LOGITS)


def test_the_steps_of_an_export_are_told(exported):
    steps = ("tracing the network", "traced in", "written after", "check: comparing", "benchmark:")
    places = [exported[1].index(step) for step in steps]
    assert places == sorted(places)


def test_a_full_disk_is_reported_with_the_file(weights, exported, tmp_path, full_disk, monkeypatch):
    path = tmp_path / "a.pt2"
    monkeypatch.setattr(export, "trace", lambda *_: exported[2])
    with full_disk():
        line = error_line(run_export(weights, path, "--format", "exported-program"))
    assert str(path) in line
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_names_its_axes_and_carries_its_description(weights, onnx_file):
    session = onnxruntime.InferenceSession(onnx_file)
    assert [item.name for item in session.get_inputs()] == ["rgb", "depth", "has_depth"]
    assert session.get_inputs()[0].shape[::2] == ["batch", "height"]
    assert session.get_outputs()[0].name == "logits"
    metadata = session.get_modelmeta().custom_metadata_map
    config, protocol = load_weights(weights)[0].config, load_weights(weights)[1]
    assert json.loads(metadata["config"]) == json.loads(json.dumps(config.to_dict()))
    assert json.loads(metadata["protocol"]) == protocol
    assert (metadata["size"], metadata["sizes"]) == ("32", "multiples of 16")
    onnx.checker.check_model(onnx.load(onnx_file), full_check=True)


def test_the_documented_use_of_an_onnx_file_gives_the_predictors_map(weights, onnx_file, scenes):
    code = re.search(r"```python\n(import cv2.*?)```", (ROOT / "docs/export.md").read_text(), re.S)
    names: dict = {}
    exec(code[1].replace("mutualformer.onnx", str(onnx_file)), names)  # from our document
    predictor = Predictor.from_weights(weights, device="cpu")
    white = DepthEncoding("map", "white", 1.0, "drawn so")
    for sample in discover_sets([scenes])[0].samples[:4]:
        rgb, depth = read_rgb(sample.rgb), read_depth(sample.depth)
        wanted = predictor.predict(rgb, depth, white), predictor.predict(rgb)
        assert np.abs(wanted[0] - wanted[1]).mean() > 0.08  # depth has an effect
        found = names["predict"](rgb, depth), names["predict"](rgb)
        for want, got in zip(wanted, found, strict=True):
            assert got.shape == rgb.shape[:2]
            # OpenCV resizes to 32 pixels; inverted depth or exchanged colours change by 0.06.
            assert np.abs(got - want).mean() < 0.03


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_an_exported_program_takes_any_batch_and_size(weights, program, images, size):
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(images, 3, *size, generator=generator)
    depth = torch.rand(images, 1, *size, generator=generator)
    has_depth = torch.arange(images) % 2 == 1
    with torch.inference_mode():
        model, _ = load_weights(weights)
        want = model(rgb, depth, has_depth)
    got = program(rgb, depth, has_depth)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("fields", [{"fusion": "token_fusion"}, {"fusion": "concat"}])
def test_a_fusion_inside_the_encoder_is_traced_for_any_batch_and_size(fields):
    torch.manual_seed(0)
    network = export.ExportableDetector(
        build_model("tiny-scratch", feature_blocks=[1, 2], **SMALL, **fields)
    )
    program, any_size = export.trace(network)
    assert any_size
    inputs = torch.rand(3, 3, 32, 64), torch.rand(3, 1, 32, 64), torch.tensor([True, False, True])
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(*inputs), network(*inputs))


def test_an_exported_program_carries_its_description(exported):
    extra = {export.METADATA_FILE: ""}
    torch.export.load(exported[0], extra_files=extra)
    assert json.loads(extra[export.METADATA_FILE])["size"] == "32"


def test_the_check_and_the_speed_are_told(exported):
    assert "8 images, 8 of them with depth" in exported[1]
    assert re.search(r"largest difference: [\d.e-]+ in logits", exported[1])
    assert re.search(r"^\| torch.export \| [\d.]+ \|", exported[1], re.MULTILINE)


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_a_network_of_one_modality_never_sees_the_other(weights, modality):
    model, _ = load_weights(weights)
    exportable = export.ExportableDetector(model, modality)
    rgb, depth = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    has_depth = torch.tensor([True, True])
    with torch.inference_mode():
        want = Predictor(model, 32, "cpu", "off", modality).logits(rgb, depth, has_depth)
        got = exportable(rgb, depth, has_depth)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


def test_one_size_is_said_where_the_backbone_allows_no_other(shared_data, tmp_path, monkeypatch):
    export_program = torch.export.export

    def one_size(exportable, inputs, *, dynamic_shapes):
        if 2 in dynamic_shapes[0]:
            raise ValueError("a side of the image was taken for a constant")
        return export_program(exportable, inputs, dynamic_shapes=dynamic_shapes)

    monkeypatch.setattr(torch.export, "export", one_size)
    path = tmp_path / "network.pt2"
    done = run_export(SHIPPED, path, "--format", "exported-program")
    assert done.status == 0, done.error
    assert "one image size only: 192 x 192" in done.output
    rgb, depth, has_depth = real_images(shared_data / "train_rgbd", 192, 3)
    has_depth[1] = False
    with torch.inference_mode():
        want = load_weights(SHIPPED)[0](rgb, depth, has_depth)
    got = export.load_exported(path)(rgb, depth, has_depth)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


class StemMaps(torch.nn.Module):
    """A pretrained stem without its ViT."""

    def __init__(self):
        super().__init__()
        stages = {"features_only": True, "out_indices": (1, 2, 3, 4)}
        self.stem = TimmStem(timm.create_model(STEM, **stages), 192, 16).eval()

    def forward(self, image):
        fine_maps, tokens = self.stem.maps(image)
        return *fine_maps, tokens


def test_stem_of_the_released_network_is_exported_for_any_size(tmp_path):
    torch.manual_seed(0)
    stem = StemMaps()
    axes = {0: Dim("batch"), 2: 16 * Dim("rows", min=2), 3: 16 * Dim("columns", min=2)}
    with torch.no_grad():
        program = torch.export.export(stem, (torch.rand(2, 3, 48, 64),), dynamic_shapes=(axes,))
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "stem.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "stem.onnx")
    image = torch.rand(3, 3, 96, 32)
    with torch.inference_mode():
        want = stem(image)
    got = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    for array, tensor in zip(got, want, strict=True):
        torch.testing.assert_close(torch.from_numpy(array), tensor, rtol=1e-4, atol=1e-4)


def test_a_file_that_differs_is_not_written(weights, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "trace", lambda *_: (None, True))
    monkeypatch.setattr(export, "save_program", lambda program, path, _: path.write_bytes(b"x"))
    monkeypatch.setattr(export, "load_exported", lambda _: lambda rgb, *_: rgb[:, :1] * torch.nan)
    options = ("--format", "exported-program", "--check", scenes, "--overwrite")
    (tmp_path / "a.pt2").write_bytes(b"before")
    done = run_export(weights, tmp_path / "a.pt2", *options)
    assert "not written" in error_line(done)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.pt2": b"before"}


def test_a_file_that_is_there_is_kept_without_the_flag(weights, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"before")
    line = error_line(run_export(weights, tmp_path / "a.onnx"))
    assert "--overwrite" in line
    assert (tmp_path / "a.onnx").read_bytes() == b"before"


def test_a_missing_extra_is_named(weights, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    line = error_line(run_export(weights, tmp_path / "a.onnx"))
    assert "onnxscript: not installed. Fix: pip install -e '.[export]'" in line


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--format", "tflite"], "--format"),
        (["--format", "exported-program"], ".pt2"),
        (["--size", "40"], "multiple of 16"),
        (["--size", "16"], "--size"),
        (["--limit", "0"], "--limit"),
        (["--rounds", "0"], "--rounds"),
        (["--check", "nowhere"], "nowhere"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--output", "network"], "--output"),
        (["--opset", "3"], "--opset: 3"),
    ],
)
def test_mistakes_end_in_one_line(weights, tmp_path, options, word):
    done = run_export(weights, tmp_path / "a.onnx", *options)
    assert word in error_line(done)
    assert not list(tmp_path.iterdir())


def test_an_opset_goes_with_onnx_alone(weights, tmp_path):
    options = ("--format", "exported-program", "--opset", 18)
    done = run_export(weights, tmp_path / "a.pt2", *options)
    assert "--opset" in error_line(done)
