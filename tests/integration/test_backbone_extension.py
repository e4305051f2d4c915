"""Extension test: a timm backbone by name, through the configuration alone."""

import socket

import pytest
from tool_runs import run_tool

from mutualformer_sod.models.weights import load_weights

SMALL = ("dim=32", "decoder_width=16", "detail_width=8")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("test_vit2", ["stem=patch", "feature_blocks=[1,2]"]),
        ("test_vit", ["stem=tf_efficientnet_lite0", "feature_blocks=[1,2]"]),
        ("test_convnext", ["stem=patch"]),
    ],
    ids=["vit", "vit-and-stem", "hierarchical"],
)
def test_backbone_by_name_trains_and_maps_without_network(
    scenes, tmp_path, no_network, backbone, options
):
    done = run_tool(
        *("train", "--data", scenes, "--train-sets", "SAMPLES", "--output", tmp_path / "run"),
        *("--preset", "tiny-scratch", "--epochs", 1, "--batch-size", 6, "--size", 32),
        *("--workers", 0, "--device", "cpu", "--set", f"backbone={backbone}", *options, *SMALL),
    )
    assert done.status == 0, done.error
    weights = tmp_path / "run" / "weights.safetensors"
    model, _ = load_weights(weights)
    assert model.config.encoder.backbone == backbone
    test = ("test", "--data", scenes, "--weights", weights, "--device", "cpu", "--workers", 0)
    done = run_tool(*test, "--output", tmp_path / "maps")
    assert done.status == 0, done.error
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 12
