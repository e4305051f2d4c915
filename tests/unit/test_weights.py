"""Weights files: what goes in comes out, and everything else is refused by name."""

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mutualformer_sod import build_model
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import file_sha256
from mutualformer_sod.models.backbone import read_backbone_weights
from mutualformer_sod.models.starting import load_encoder, load_network
from mutualformer_sod.models.weights import (
    CONTENT_SHA256,
    content_sha256,
    load_weights,
    read_metadata,
    save_weights,
)

SMALL = {
    "feature_blocks": (1, 2),
    "dim": 32,
    "decoder_width": 16,
    "detail_width": 8,
    "image_size": 64,
}
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "weights" / "mutualformer_tiny.safetensors"
PROTOCOL = {"name": "custom", "train_images": {"A": 3}, "choice": "last epoch"}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("tiny-scratch", **SMALL).eval()


@pytest.fixture
def path(tmp_path, model):
    file = tmp_path / "weights.safetensors"
    save_weights(model, file, PROTOCOL)
    return file


def test_load_weights_saved_model_restores_logits_and_protocol(path, model):
    loaded, protocol = load_weights(path)
    rgb, depth = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(rgb, depth), model(rgb, depth), rtol=0, atol=0)
    assert not loaded.training
    assert protocol == PROTOCOL
    assert loaded.config == model.config == read_metadata(path)[0]


@pytest.mark.parametrize(
    "fields", [{"stem": "tf_efficientnet_lite0"}, {"fusion": "gemini_fusion"}], ids=str
)
def test_load_weights_of_any_parts_restores_every_tensor(tmp_path, fields):
    want = build_model("tiny-scratch", **SMALL, **fields)
    save_weights(want, tmp_path / "weights.safetensors", PROTOCOL)
    got, _ = load_weights(tmp_path / "weights.safetensors")
    for kind in ("named_parameters", "named_buffers"):  # the state dict lacks some buffers
        found = dict(getattr(got, kind)())
        for name, tensor in getattr(want, kind)():
            assert torch.equal(found.pop(name), tensor), name
        assert not found


def test_load_weights_draws_no_random_numbers(path):
    before = torch.get_rng_state()
    load_weights(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_save_weights_shared_parameters_are_stored_once(path):
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
    assert "encoder.rgb_stream.body.blocks.0.attn.qkv.weight" in names
    assert "encoder.depth_stream.body.blocks.0.attn.qkv.weight" not in names
    assert "encoder.depth_stream.body.blocks.0.norm1.weight" in names
    encoder = load_weights(path)[0].encoder
    rgb, depth = encoder.rgb_stream.body.blocks[0], encoder.depth_stream.body.blocks[0]
    assert rgb.attn.qkv.weight is depth.attn.qkv.weight
    assert rgb.norm1.weight is not depth.norm1.weight


def test_load_weights_float16_file_gives_float32(tmp_path, model):
    path = tmp_path / "half.safetensors"
    save_weights(model, path, PROTOCOL, dtype=torch.float16)
    loaded, _ = load_weights(path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.no_depth, model.no_depth, rtol=1e-3, atol=1e-3)


def test_save_weights_returns_sha256_of_file(tmp_path, model):
    path = tmp_path / "w.safetensors"
    assert save_weights(model, path, PROTOCOL) == file_sha256(path)
    assert [item.name for item in tmp_path.iterdir()] == ["w.safetensors"]


def test_load_weights_other_preset_is_refused(path):
    with pytest.raises(ValueError, match=r"'tiny-scratch', not 'small'"):
        load_weights(path, preset="small")


def test_load_weights_misfitting_tensor_is_named(tmp_path, path):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    broken = tmp_path / "broken.safetensors"
    save_file({k: v for k, v in state.items() if k != "no_depth"}, broken, metadata=metadata)
    with pytest.raises(ValueError, match=r"broken\.safetensors.*lack 'no_depth'"):
        load_weights(broken)
    save_file(state | {"no_depth": torch.zeros(2)}, broken, metadata=metadata)
    with pytest.raises(ValueError, match="shape"):
        load_weights(broken)
    save_file(state | {"more": torch.zeros(2)}, broken, metadata=metadata)
    with pytest.raises(ValueError, match="'more'"):
        load_weights(broken)


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "torch", "foreign", "folder", "none"])
def test_load_weights_other_file_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "weights.safetensors"
    if kind == "text":
        path.write_text("these are not weights")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "torch":
        torch.save({"a": torch.zeros(1)}, path)
    elif kind == "foreign":
        save_file({"a": torch.zeros(1)}, path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ValueError, match=r"weights\.safetensors") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("config", "[]", "metadata"),
        ("config", '{"fusion": {"dim": "x"}}', "dim='x'"),
        ("config", '{"preset": "small", "encoder": {"backbone": "vit_nano"}}', "vit_nano"),
        ("config", '{"encoder": {}}', "'preset'"),
        ("protocol", "null", "protocol"),
        ("protocol", None, "protocol"),
    ],
)
def test_load_weights_broken_metadata_name_file(tmp_path, path, key, value, word):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    metadata = {k: v for k, v in (metadata | {key: value}).items() if v is not None}
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors", metadata)
    with pytest.raises(ValueError, match=word) as caught:
        load_weights(tmp_path / "b.safetensors")
    assert "b.safetensors" in str(caught.value)


def test_load_weights_nan_is_refused(tmp_path):
    broken = build_model("tiny-scratch", **SMALL)
    with torch.no_grad():
        broken.no_depth.fill_(float("nan"))
    save_weights(broken, tmp_path / "nan.safetensors", PROTOCOL)
    with pytest.raises(ValueError, match=r"nan\.safetensors: 'no_depth'"):
        load_weights(tmp_path / "nan.safetensors")


def stored(path):
    with safe_open(path, framework="pt") as file:
        return {n: file.get_tensor(n) for n in file.keys()}, file.metadata()  # noqa: SIM118


class TestDamage:
    """Files that a download, a copy or a disk has spoilt are named as what they are."""

    @pytest.fixture(params=["weights", "shipped"])
    def whole(self, request, path):
        return path if request.param == "weights" else SHIPPED

    @pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
    def test_load_weights_flipped_bit_is_refused(self, whole, tmp_path, place):
        content = bytearray(whole.read_bytes())
        content[int(place * len(content))] ^= 1
        (tmp_path / "flipped.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"flipped\.safetensors: damaged: .*checksum"):
            load_weights(tmp_path / "flipped.safetensors")

    def test_load_weights_changed_protocol_is_refused(self, path):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"last epoch", b"best epoch"))
        with pytest.raises(InputError, match="checksum"):
            load_weights(path)

    def test_load_encoder_flipped_bit_is_refused(self, path, model):
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match="checksum"):
            load_encoder(build_model("tiny-scratch", **SMALL), path)

    def test_load_weights_without_checksum_loads(self, path):
        state, metadata = stored(path)
        del metadata[CONTENT_SHA256]
        save_file(state, path, metadata)
        assert load_weights(path)[1] == PROTOCOL

    @pytest.mark.parametrize(
        ("kind", "word"),
        [
            ("pointer", "a Git LFS pointer.*git lfs pull"),
            ("page", "a web page"),
            ("empty", "an empty file"),
            ("header", r"truncated: the file has 100 bytes instead of \d+"),
            ("half", r"truncated: the file has \d+ bytes instead of \d+"),
            ("longer", r"damaged: the file has \d+ bytes instead of \d+"),
        ],
    )
    @pytest.mark.parametrize("reader", ["load_weights", "load_encoder", "read_backbone_weights"])
    def test_reader_spoilt_file_names_cause(self, path, tmp_path, reader, kind, word):
        whole = path.read_bytes()
        spoilt = tmp_path / "spoilt.safetensors"
        spoilt.write_bytes(
            {
                "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
                "page": b"<!DOCTYPE html>\n<html><body>Not found</body></html>",
                "empty": b"",
                "header": whole[:100],
                "half": whole[: len(whole) // 2],
                "longer": whole + b"more",
            }[kind]
        )
        read = {
            "load_weights": load_weights,
            "load_encoder": lambda file: load_encoder(build_model("tiny-scratch", **SMALL), file),
            "read_backbone_weights": read_backbone_weights,
        }[reader]
        with pytest.raises(InputError, match=rf"spoilt\.safetensors: {word}") as caught:
            read(spoilt)
        assert "pickle" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["pointer", "half"])
    def test_read_backbone_weights_spoilt_torch_file_names_cause(self, tmp_path, kind):
        torch.save({"a": torch.zeros(1000)}, tmp_path / "b.pth")
        whole = (tmp_path / "b.pth").read_bytes()
        content, word = whole[: len(whole) // 2], "truncated after"
        if kind == "pointer":
            content, word = b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"
        (tmp_path / "b.pth").write_bytes(content)
        with pytest.raises(InputError, match=rf"b\.pth: .*{word}"):
            read_backbone_weights(tmp_path / "b.pth")


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("module.", "DataParallel"), ("_orig_mod.", "compile"), ("module._orig_mod.", "DataParallel")],
)
class TestWrapped:
    """Weights saved from inside DataParallel or torch.compile."""

    def test_load_weights_wrapper_prefix_is_removed_with_warning(
        self, path, model, caplog, prefix, name
    ):
        state, metadata = stored(path)
        del metadata[CONTENT_SHA256]
        save_file({prefix + key: value for key, value in state.items()}, path, metadata)
        with caplog.at_level(logging.WARNING):
            loaded, _ = load_weights(path)
        assert torch.equal(loaded.no_depth, model.no_depth)
        assert name in caplog.text
        assert path.name in caplog.text

    @pytest.mark.parametrize("signed", ["before", "after"])
    def test_load_weights_wrapped_file_checksum_holds_with_or_without_prefix(
        self, path, model, prefix, name, signed
    ):
        state, metadata = stored(path)
        wrapped = {prefix + key: value for key, value in state.items()}
        if signed == "after":
            del metadata[CONTENT_SHA256]
            metadata[CONTENT_SHA256] = content_sha256(metadata, wrapped)
        save_file(wrapped, path, metadata)
        assert torch.equal(load_weights(path)[0].no_depth, model.no_depth)
        wrapped[prefix + "no_depth"] = wrapped[prefix + "no_depth"] + 1
        save_file(wrapped, path, metadata)
        with pytest.raises(InputError, match="damaged"):
            load_weights(path)

    def test_build_model_wrapped_backbone_warns_once(self, tmp_path, caplog, prefix, name):
        state = timm.create_model("test_vit").state_dict()
        wrapped = {prefix + key: value for key, value in state.items()}
        torch.save({"state_dict": wrapped}, tmp_path / "vit.pth")
        settings = {"backbone": "test_vit", "stem": "patch", "image_size": 160}
        with caplog.at_level(logging.WARNING):
            model = build_model(
                "tiny-scratch", pretrained=tmp_path / "vit.pth", feature_blocks=(2,), **settings
            )
        weight = model.encoder.rgb_stream.body.blocks[0].attn.qkv.weight
        assert torch.equal(weight, state["blocks.0.attn.qkv.weight"])
        assert caplog.text.count(name) == 1


def test_load_network_same_configuration_restores_logits(path, model):
    started = build_model("tiny-scratch", **SMALL).eval()
    line = load_network(started, path)
    rgb, depth = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(started(rgb, depth), model(rgb, depth), rtol=0, atol=0)
    assert "the whole network is loaded" in line


def test_load_network_other_size_resamples_position_embeddings(path, model):
    started = build_model("tiny-scratch", **(SMALL | {"image_size": 96})).eval()
    load_network(started, path)
    rgb = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert (started(rgb) - model(rgb)).abs().max() < 0.2
    body = started.encoder.rgb_stream.body
    assert body.pos_embed.shape[1] == 1 + 6 * 6


def test_load_network_other_shape_error_gives_flags(path):
    with pytest.raises(InputError, match=r"`finetune` .*Fix: "):
        load_network(build_model("tiny-scratch", **(SMALL | {"dim": 64})), path)


def test_write_safetensors_every_process_gives_equal_bytes(tmp_path):
    code = (
        "import sys, pathlib, torch\n"
        "from mutualformer_sod.models.safetensors_file import write_safetensors\n"
        "metadata = {name: f'\u00e9 {name}' for name in 'abcdefgh'}\n"
        "state = {'y': torch.arange(3), 'x': torch.ones(2, 2).half()}\n"
        "for path in sys.argv[1:]:\n"
        "    write_safetensors(state, pathlib.Path(path), metadata)\n"
    )
    paths = [tmp_path / f"{number}.safetensors" for number in range(4)]
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # of the order of strings
    command = [sys.executable, "-c", code, *paths[:2]]
    environment = os.environ | {"PYTHONHASHSEED": seed}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    with mock.patch("sys.argv", ["-c", *map(str, paths[2:])]):  # in this process, of another seed
        exec(code, {})
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], "pt") as file:
        assert file.metadata() == {name: f"\u00e9 {name}" for name in "abcdefgh"}
        assert torch.equal(file.get_tensor("y"), torch.arange(3))
        assert torch.equal(file.get_tensor("x"), torch.ones(2, 2).half())
