"""Every fusion through the tools: trained, tested, stopped and resumed, shared, exported."""

import json

import cv2
import pytest
import torch
from forked_runs import finish, finish_together, start, train_arguments
from safetensors.torch import load_file
from test_interruptions import assert_same_end, wait_until
from tool_runs import SMALL_MODEL, error_line, run_tool, train_small

from mutualformer_sod.configs.fusion import fusion_methods
from mutualformer_sod.models.weights import read_metadata
from mutualformer_sod.training.checkpoints import find_checkpoints

SPARSE = ("token_fusion", "channel_exchange")
ENSEMBLES = (*SPARSE, "gemini_fusion")
# Three that draw, that act inside the encoder and that diffuse the features; exchange that happens.
RESUMED = {
    "token_fusion": ("exchange=random",),
    "gemini_fusion": (),
    "cross_attention_cda": ("head=ensemble",),
}


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def fusion_options(fusion, *options):
    return f"fusion={fusion}", "share=true", *options


@pytest.fixture(scope="module", params=fusion_methods())
def trained(request, tmp_path_factory, scenes):
    """Name and folder of a finished run of one fusion."""
    folder = tmp_path_factory.mktemp("fusion") / request.param
    done = train_small(folder, scenes, *fusion_options(request.param), "--amp", "off")
    assert done.status == 0, done.error
    return request.param, folder


class TestTrained:
    def test_losses_and_statistics_are_logged_by_name(self, trained):
        fusion, folder = trained
        log = log_of(folder)
        assert len(log) == 2
        sides = {f"side_{level}" for level in (1, 2, 3)}
        losses = {"total", "structure"} | (set() if fusion in ENSEMBLES else sides)
        statistics = set()
        if fusion in ENSEMBLES:
            statistics.add("rgb_weight")
            losses |= {f"{m}_{n}" for m in ("rgb", "depth") for n in (*sides, "structure")}
        if fusion in SPARSE:
            statistics.add("exchange_ratio")
            losses.add("sparsity")
        for line in log:
            assert set(line["train"]) == losses
            assert set(line.get("statistics", {})) == statistics
            assert all(0 <= value <= 1 for value in line.get("statistics", {}).values())

    @pytest.mark.parametrize("trained", ENSEMBLES, indirect=True)
    def test_alpha_moves(self, trained):
        _, folder = trained
        assert load_file(folder / "weights.safetensors")["alpha"].abs().min() > 1e-5
        assert log_of(folder)[-1]["statistics"]["rgb_weight"] != 0.5

    def test_maps_are_written_at_native_size(self, trained, scenes, tmp_path):
        weights = trained[1] / "weights.safetensors"
        options = ("--output", tmp_path, "--workers", 0, "--device", "cpu")
        done = run_tool("test", "--data", scenes, "--weights", weights, *options)
        assert done.status == 0, done.error
        maps = sorted(tmp_path.rglob("*.png"))
        assert len(maps) == 12
        for path in maps:
            scene = next((scenes / "SAMPLES").rglob(f"RGB/{path.stem}.*"))
            assert cv2.imread(str(path), -1).shape == cv2.imread(str(scene)).shape[:2]


def test_initial_weights_are_those_of_the_encoder_and_of_its_average(run_folder, scenes, tmp_path):
    source, path = run_folder / "weights.safetensors", tmp_path / "run" / "weights.safetensors"
    options = (*fusion_options("token_fusion"), "--epochs", 1, "--lr", 1e-12)
    options += ("--init-weights", source, "--ema-decay", 0.9999)
    done = train_small(tmp_path / "run", scenes, *options)
    assert done.status == 0, done.error
    want = load_file(source)
    for name, tensor in load_file(path).items():
        if name.startswith("encoder."):
            torch.testing.assert_close(tensor, want[name], rtol=0, atol=1e-6)
    assert read_metadata(path)[1]["init_weights"] == source.name
    assert "the encoder is loaded" in done.output
    assert "new, from random weights: " in done.output


def test_resuming_needs_no_file_of_initial_weights(run_folder, scenes, tmp_path):
    source = tmp_path / "start.safetensors"
    source.write_bytes((run_folder / "weights.safetensors").read_bytes())
    options = ("--init-weights", source, *("--set", "fusion=sum", *SMALL_MODEL))
    assert train_small(tmp_path / "run", scenes, *options).status == 0
    want = load_file(tmp_path / "run" / "weights.safetensors")
    source.unlink()
    (tmp_path / "run" / "weights.safetensors").unlink()
    for path in (tmp_path / "run" / "checkpoints").glob("*-000002-*"):
        path.unlink()
    done = train_small(tmp_path / "run", scenes, *options, "--resume")
    assert done.status == 0, done.error
    got = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())


def test_initial_weights_of_another_preset_are_refused_in_one_line(run_folder, scenes, tmp_path):
    options = ("--init-weights", run_folder / "weights.safetensors", "--preset", "small")
    done = train_small(tmp_path / "run", scenes, *options)
    assert "--init-weights" in (line := error_line(done))
    assert "--preset tiny" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("fusion=token_fusion", "share=false"), "share=False"),
        (("head=ensemble",), "mutualformer has one fused stream"),
        (("fusion=gemini_fusion", "backbone=resnet18"), "plain ViT"),
        (("fusion=tokenfusion",), "token_fusion"),
    ],
    ids=str,
)
def test_mistakes_end_in_one_line(scenes, tmp_path, options, word):
    done = train_small(tmp_path / "run", scenes, *options)
    assert word in error_line(done)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fusion", RESUMED)
def test_killed_and_resumed_is_the_same_bit_for_bit(fusion, scenes, tmp_path):
    options = ("--epochs", "2", "--set", *SMALL_MODEL, "encoder_drop_path=0.1")
    options += fusion_options(fusion, *RESUMED[fusion])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish(train_arguments(whole, scenes, *options), tmp_path / "log") == 0
    arguments = train_arguments(killed, scenes, *options)
    process = start(arguments, tmp_path / "log")
    wait_until(lambda: len(find_checkpoints(killed / "checkpoints", "last")) >= 2, process)
    process.kill()
    process.join()
    assert not (killed / "weights.safetensors").exists()
    assert finish([*arguments, "--resume"], tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(killed, whole)


@pytest.mark.parametrize("fusion", RESUMED)
def test_two_processes_train_as_one(fusion, scenes, tmp_path):
    options = ("--epochs", 2, "--global-batch-size", 6)
    options += ("--set", *SMALL_MODEL, *fusion_options(fusion, *RESUMED[fusion]))
    one, two = tmp_path / "one", tmp_path / "two"
    done = run_tool("train", *train_arguments(one, scenes, *options, "--batch-size", 6))
    assert done.status == 0, done.error
    arguments = train_arguments(two, scenes, *options, "--batch-size", 3)
    log = tmp_path / "log"
    assert finish_together(arguments, log) == [0, 0], log.read_text()
    for first, second in zip(log_of(one), log_of(two), strict=True):
        for part in ("train", "statistics", "val"):
            assert first.get(part) == pytest.approx(second.get(part), abs=1e-5)


@pytest.mark.parametrize("fusion", ["cross_attention_cda", "token_fusion", "concat"])
def test_bf16_trains_finite(fusion, scenes, tmp_path):
    done = train_small(tmp_path / "run", scenes, *fusion_options(fusion), "--amp", "bf16")
    assert done.status == 0, done.error
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize("fusion", ["cross_attention", "cross_attention_cda", "sum"])
def test_checkpointing_activations_changes_nothing_at_the_taps(fusion, scenes, tmp_path):
    totals = []
    for flag in ((), ("--grad-checkpointing",)):
        folder = tmp_path / f"run{len(flag)}"
        options = fusion_options(fusion, "head=ensemble", "encoder_drop_path=0.2")
        done = train_small(folder, scenes, *options, *flag)
        assert done.status == 0, done.error
        totals.append([line["train"]["total"] for line in log_of(folder)])
    assert totals[0] == pytest.approx(totals[1], abs=1e-5)
