"""A finished run goes on to more epochs."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from test_interruptions import assert_same_end
from tool_runs import error_line, train_small

from mutualformer_sod.models.weights import load_weights

CONSTANT = ("--schedule", "constant", "--ema-decay", 0.9)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory, scenes):
    """A finished run of one epoch at a constant rate."""
    folder = tmp_path_factory.mktemp("one") / "run"
    done = train_small(folder, scenes, "--epochs", 1, *CONSTANT)
    assert done.status == 0, done.error
    return folder


@pytest.fixture
def run(one_epoch, tmp_path):
    """A copy of that run."""
    return shutil.copytree(one_epoch, tmp_path / "run")


def test_finished_run_names_the_flag_that_extends_it(run, scenes):
    done = train_small(run, scenes, "--epochs", 1, *CONSTANT, "--resume")
    assert done.status == 0
    assert "finished (1 epoch): nothing to do; a larger --epochs extends it" in done.output


def test_finished_run_at_a_constant_rate_goes_on_bit_for_bit(run, scenes, tmp_path):
    whole = train_small(tmp_path / "whole", scenes, "--epochs", 2, *CONSTANT)
    assert whole.status == 0, whole.error
    done = train_small(run, scenes, "--epochs", 2, *CONSTANT, "--resume")
    assert done.status == 0, done.error
    assert "the result of --epochs 2 from the start" in done.output
    assert_same_end(run, tmp_path / "whole")


def test_finished_run_that_goes_on_keeps_its_weights_and_records_it(run, one_epoch, scenes):
    done = train_small(run, scenes, "--epochs", 2, *CONSTANT, "--resume")
    assert done.status == 0, done.error
    before, kept = (one_epoch / "weights.safetensors", run / "weights-1-epochs.safetensors")
    assert kept.read_bytes() == before.read_bytes()
    assert load_weights(run / "weights.safetensors")[1]["extended_from"] == [1]
    assert json.loads((run / "config.json").read_text())["extended_from"] == [1]
    again = train_small(run, scenes, "--epochs", 2, *CONSTANT, "--resume")
    assert "finished (2 epochs)" in again.output
    assert kept.read_bytes() == before.read_bytes()


def test_finished_run_without_its_log_writes_its_weights_again(run, one_epoch, scenes):
    for name in ("log.jsonl", "weights.safetensors"):
        (run / name).unlink()
    done = train_small(run, scenes, "--epochs", 1, *CONSTANT, "--resume")
    assert done.status == 0, done.error
    assert "released epoch 1" in done.output
    load_weights(run / "weights.safetensors")


def test_longer_run_goes_on_where_it_was_stopped(run, scenes, tmp_path):
    options = ("--epochs", 3, *CONSTANT, "--resume")
    assert train_small(run, scenes, *options).status == 0
    want = load_file(run / "weights.safetensors")
    (run / "weights.safetensors").unlink()
    for path in (run / "checkpoints").glob("*-000003-*"):
        path.unlink()
    done = train_small(run, scenes, *options)
    assert done.status == 0, done.error
    assert "resuming in epoch 3 of 3" in done.output
    got = load_file(run / "weights.safetensors")
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())


def test_falling_rate_follows_the_schedule_of_the_longer_run(scenes, tmp_path):
    for epochs in (1, 3):
        options = ("--epochs", epochs, "--warmup-epochs", 0, "--resume")
        done = train_small(tmp_path / "run", scenes, *options)
        assert done.status == 0, done.error
    assert "--schedule cosine and --progressive count 3 epochs" in done.output
    assert "not the result of --epochs 3 from the start" in done.output
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    whole = train_small(tmp_path / "whole", scenes, "--epochs", 3, "--warmup-epochs", 0)
    assert whole.status == 0
    lines = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    assert [line["lr"] for line in log[1:]] == [json.loads(line)["lr"] for line in lines[1:]]


@pytest.mark.parametrize(
    "options",
    [("--epochs", 2, "--lr", 0.5), ("--epochs", 2, "--schedule", "cosine")],
    ids=str,
)
def test_longer_run_with_other_options_too_is_refused(run, scenes, options):
    before = (run / "weights.safetensors").read_bytes()
    assert "is now" in error_line(train_small(run, scenes, *CONSTANT, *options, "--resume"))
    assert (run / "weights.safetensors").read_bytes() == before


def test_unfinished_run_takes_no_more_epochs(run, scenes):
    assert train_small(run, scenes, "--epochs", 2, *CONSTANT, "--resume").status == 0
    for path in (run / "checkpoints").glob("*-000002-*"):
        path.unlink()
    line = error_line(train_small(run, scenes, "--epochs", 3, *CONSTANT, "--resume"))
    assert "only a finished run" in line


def test_run_without_checkpoints_is_not_begun_anew_for_more_epochs(run, scenes):
    shutil.rmtree(run / "checkpoints")
    before = (run / "weights.safetensors").read_bytes()
    error_line(train_small(run, scenes, "--epochs", 2, *CONSTANT, "--resume"))
    assert (run / "weights.safetensors").read_bytes() == before
