"""tools/train.py: the files of a run, resuming, and refusing."""

import json
import re
import shutil

import cv2
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tool_runs import SMALL_MODEL, error_line, run_tool, train_small

from mutualformer_sod.models.weights import load_weights
from mutualformer_sod.training.checkpoints import find_checkpoints, load_checkpoint

SMALL_FIELDS = {
    name: json.loads(value) for name, value in (item.split("=") for item in SMALL_MODEL)
}


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_run_leaves_config_log_checkpoints_and_weights(run_folder):
    names = {path.name for path in run_folder.glob("[!.]*")}
    assert names == {
        *("config.json", "starts.json", "log.jsonl", "val_images.txt"),
        *("checkpoints", "weights.safetensors"),
    }
    log = log_of(run_folder)
    assert [line["epoch"] for line in log] == [1, 2]
    assert {"loss", "mae"} == set(log[0]["val"])
    assert log[0]["train"]["total"] > log[1]["train"]["total"] > 0


def test_weights_file_is_of_the_best_epoch_and_contains_the_protocol(run_folder):
    _, protocol = load_weights(run_folder / "weights.safetensors")
    best = min(log_of(run_folder), key=lambda line: line["val"]["loss"])
    assert protocol["epoch"] == best["epoch"]
    assert protocol["train_images"] == {"SAMPLES": 9}
    assert protocol["val_images"] == {"SAMPLES": 3}
    assert "hold-out" in protocol["choice"]
    best_state = load_checkpoint(find_checkpoints(run_folder / "checkpoints", "best")[0])["model"]
    for name, tensor in load_file(run_folder / "weights.safetensors").items():
        torch.testing.assert_close(tensor, best_state[name])


def test_every_start_is_recorded_with_code_versions_and_data(run_folder):
    (start,) = json.loads((run_folder / "starts.json").read_text())
    assert set(start["code"]) == {"commit", "dirty"}
    assert start["versions"]["torch"] == torch.__version__
    assert len(start["data_fingerprint"]) >= 16
    assert start["processes"] == 1
    assert "train.py" in start["command"]


def test_last_line_sums_up_the_run(run_folder_output):
    assert re.search(
        r"done: [\d.]+ M parameters, 2 epochs, released epoch [12] \(best epoch on .+\), "
        r"[\d.]+ s per epoch, [\d.]+ images/s, peak resident memory \d+ MB",
        run_folder_output,
    )


def test_train_resume_of_finished_run_reports_it(run_folder, scenes):
    done = train_small(run_folder, scenes, "--resume")
    assert done.status == 0
    assert "finished" in done.output


def test_train_with_teacher_repeats_and_refuses_another_teacher(run_folder, scenes, tmp_path):
    teacher = tmp_path / "teacher.safetensors"
    shutil.copy(run_folder / "weights.safetensors", teacher)
    options = ["--teacher", teacher, "--teacher-ratio", 0.75]
    assert train_small(tmp_path / "whole", scenes, *options).status == 0
    assert train_small(tmp_path / "parts", scenes, *options, "--epochs", 1).status == 0
    assert train_small(tmp_path / "parts", scenes, *options, "--resume").status == 0
    states = [load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts")]
    plain = load_file(run_folder / "weights.safetensors")
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    assert any(not torch.equal(states[0][name], tensor) for name, tensor in plain.items())
    state = load_file(teacher)
    save_file({name: 2 * tensor for name, tensor in state.items()}, teacher, _metadata(teacher))
    line = error_line(train_small(tmp_path / "parts", scenes, *options, "--resume", "--epochs", 3))
    assert "--teacher" in line
    assert "the weights changed since the run" in line


def test_train_fine_tune_takes_network_and_recipe_from_the_weights(run_folder, scenes, tmp_path):
    weights = run_folder / "weights.safetensors"
    done = run_tool(
        "train",
        *("--data", scenes, "--train-sets", "SAMPLES", "--fine-tune", weights),
        *("--output", tmp_path / "mine", "--epochs", 3, "--workers", 0),
    )
    assert done.status == 0, done.error
    before, _ = load_weights(weights)
    after, protocol = load_weights(tmp_path / "mine" / "weights.safetensors")
    assert after.config == before.config
    assert protocol["finetune"] == "weights.safetensors"
    train = json.loads((tmp_path / "mine" / "config.json").read_text())["train"]
    assert train["freeze_encoder_epochs"] == 2
    encoder = load_file(weights), load_file(tmp_path / "mine" / "weights.safetensors")
    assert any(
        not torch.equal(encoder[0][name], tensor.float())
        for name, tensor in encoder[1].items()
        if name.startswith("encoder.")
    )


def _metadata(path):
    """The metadata of a weights file without the checksum of its content."""
    with safe_open(path, framework="pt") as file:
        return {name: text for name, text in file.metadata().items() if name != "content_sha256"}


def test_run_stopped_before_its_weights_writes_them_when_resumed(run_folder, scenes, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").unlink()
    done = train_small(tmp_path / "run", scenes, "--resume")
    assert done.status == 0, done.error
    written = load_file(tmp_path / "run" / "weights.safetensors")
    for name, tensor in load_file(run_folder / "weights.safetensors").items():
        assert torch.equal(tensor, written[name]), name


def test_existing_run_is_not_overwritten(run_folder, scenes):
    before = (run_folder / "weights.safetensors").read_bytes()
    assert "--resume" in error_line(train_small(run_folder, scenes))
    assert (run_folder / "weights.safetensors").read_bytes() == before


def test_train_checkpoints_that_are_a_file_stop_the_start(run_folder, scenes, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns("checkpoints", "weights*"))
    (run / "checkpoints").write_text("")
    line = error_line(train_small(run, scenes, "--resume"))
    assert f"{run}/checkpoints: cannot be written to" in line and "Fix: " in line


def test_resuming_with_other_options_names_them(run_folder, scenes):
    line = error_line(train_small(run_folder, scenes, "--resume", "--lr", "0.5"))
    assert "lr was 0.001 and is now 0.5" in line


def test_train_without_a_training_set_names_the_sets_of_the_data(scenes, tmp_path):
    options = ("--output", tmp_path / "run", "--device", "cpu")
    line = error_line(run_tool("train", "--data", scenes, *options))
    assert "the sets of --data (SAMPLES). Fix: pass --train-sets or --protocol" in line
    (tmp_path / "empty").mkdir()
    line = error_line(run_tool("train", "--data", tmp_path / "empty", *options))
    assert f"no data set below {tmp_path / 'empty'}" in line


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"train": 3, "model_overrides": {}}'])
def test_broken_configuration_is_named(scenes, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert "config.json" in error_line(train_small(tmp_path, scenes, "--resume"))


def test_going_on_needs_no_pretrained_file(scenes, tmp_path):
    vit = tmp_path / "vit.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), vit)
    options = ("--pretrained", vit, "--epochs", 1)
    done = train_small(tmp_path / "run", scenes, *options)
    assert done.status == 0, done.error
    (tmp_path / "run" / "weights.safetensors").unlink()
    vit.unlink()
    done = train_small(tmp_path / "run", scenes, *options, "--resume")
    assert done.status == 0, done.error


def test_resume_in_an_empty_folder_starts_afresh(scenes, tmp_path):
    (tmp_path / "new").mkdir()
    done = train_small(tmp_path / "new", scenes, "--resume", "--epochs", 1)
    assert done.status == 0, done.error
    assert (tmp_path / "new" / "weights.safetensors").exists()


def test_train_that_diverges_ends_in_one_line(scenes, tmp_path):
    options = ("--lr", 1e30, "--epochs", 1, "--batch-size", 12, "--warmup-epochs", 0)
    line = error_line(train_small(tmp_path / "run", scenes, *options))
    assert "lower --lr" in line


def test_images_with_and_without_depth_train_together(scenes, tmp_path):
    shutil.copytree(scenes / "SAMPLES", tmp_path / "data" / "WITH")
    shutil.copytree(scenes / "SAMPLES", tmp_path / "data" / "WITHOUT")
    shutil.rmtree(tmp_path / "data" / "WITHOUT" / "depth")
    options = ("--train-sets", "WITH", "WITHOUT", "--epochs", 1)
    done = train_small(tmp_path / "run", tmp_path / "data", *options)
    assert done.status == 0, done.error
    assert "no depth: RGB only" in done.output


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--train-sets", "NOWHERE"], "NOWHERE"),
        (["--protocol", "2185"], "protocol 2185"),
        (["--train-sets", "SAMPLES", "--epochs", "0"], "--epochs"),
        (["--train-sets", "SAMPLES", "--lr", "nan"], "--lr"),
        (["--train-sets", "SAMPLES", "--preset", "huge"], "resnet50"),
        (["--train-sets", "SAMPLES", "--set", "epsilonn=1"], "epsilon"),
        (["--train-sets", "SAMPLES", "--set", "epsilon"], "--set"),
        (["--train-sets", "SAMPLES", "--set", "dim=abc"], "dim"),
        (["--train-sets", "SAMPLES", "--set", "preset=tiny"], "--preset"),
        (["--train-sets", "SAMPLES", "--set", "dim=64", "dim=32"], "passed twice"),
        (["--train-sets", "SAMPLES", "--set", "image_size=64", "--size", "32"], "contradict"),
        (["--train-sets", "SAMPLES", "--seed", "-1"], "--seed"),
        (["--train-sets", "SAMPLES", "--encoder-lr-scale", "nan"], "--encoder-lr-scale"),
        (["--train-sets", "SAMPLES", "--loss", "dice"], "f3net-released"),
        (["--train-sets", "SAMPLES", "--device", "tpu"], "--device"),
        (["--train-sets", "SAMPLES", "--near", "sideways"], "--near"),
        (["--train-sets", "SAMPLES", "--val-sets", "SAMPLES"], "--val-sets"),
        (["--train-sets", "SAMPLES", "--pretrained", "nowhere.pth"], "nowhere.pth"),
        ([], "--train-sets"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing_behind(scenes, tmp_path, options, word):
    output = tmp_path / "run"
    common = ["--data", scenes, "--output", output, "--workers", 0]
    if "--preset" not in options:
        common += ["--preset", "tiny-scratch"]
    assert word in error_line(run_tool("train", *common, *options))
    assert not (output / "log.jsonl").exists()


def test_benchmarks_test_set_may_choose_a_checkpoint_only_by_its_flag(scenes, tmp_path):
    shutil.copytree(scenes / "SAMPLES", tmp_path / "data" / "train" / "SCENES")
    shutil.copytree(scenes / "SAMPLES", tmp_path / "data" / "test" / "NJU2K")
    options = ["--train-sets", "SCENES", "--val-sets", "NJU2K", "--epochs", 1, "--holdout", 0]
    line = error_line(train_small(tmp_path / "run", tmp_path / "data", *options))
    assert "--choose-on-test-set" in line
    options += ["--choose-on-test-set", "--allow-overlap"]  # the images are the same here
    done = train_small(tmp_path / "run2", tmp_path / "data", *options)
    assert done.status == 0, done.error
    _, protocol = load_weights(tmp_path / "run2" / "weights.safetensors")
    assert "CHOSEN ON A TEST SET" in protocol["choice"]


def test_training_and_test_part_of_a_set_keep_their_own_depth_polarity(scenes, tmp_path):
    from mutualformer_sod.configs.model import make_config
    from mutualformer_sod.configs.training import TrainConfig
    from mutualformer_sod.training.sets import gather_training_data

    for split in ("train", "test"):
        shutil.copytree(scenes / "SAMPLES", tmp_path / split / "SCENES")
    for path in (tmp_path / "test" / "SCENES" / "depth").iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    config = TrainConfig(
        data=(tmp_path,), train_sets=("SCENES",), val_sets=("SCENES",), allow_overlap=True
    )
    data = gather_training_data(config, make_config("tiny-scratch"))
    near = {name: encoding.near for name, encoding in data.encodings.items()}
    assert near == {"SCENES": "white", "test/SCENES": "black"}
    assert data.val_counts == {"test/SCENES": 12}


def test_loss_that_is_not_finite_stops_with_the_update_and_the_images(
    scenes, tmp_path, monkeypatch
):
    from mutualformer_sod.training import update

    losses = update.detector_losses
    calls = []

    def spoiled(*arguments, **options):
        calls.append(None)
        found = losses(*arguments, **options)
        return found | {"total": found["total"] * float("nan")} if len(calls) == 2 else found

    monkeypatch.setattr(update, "detector_losses", spoiled)
    line = error_line(train_small(tmp_path / "run", scenes))
    assert "epoch 1, update 2" in line
    assert line.count("SAMPLES/") == 4


@pytest.mark.parametrize(
    "options",
    [
        ["--schedule", "poly", "--min-lr-ratio", 0.1, "--layer-decay", 0.8],
        ["--schedule", "triangular", "--optimizer", "sgd", "--freeze-encoder-epochs", 1],
        ["--ssim-weight", 0.5, "--boundary-weight", 0.5, "--loss", "f3net-released"],
        ["--amp", "bf16", "--channels-last", "--grad-checkpointing", "--ema-decay", 0.9],
        ["--deterministic", "--progressive", 0.5, "--size", 64, "--paste", 0.5],
        ["--cache", "ram", "--repeat", "SAMPLES=2", "--workers", 1],
        ["--cache", "disk", "--modality", "depth"],
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_options_train(scenes, tmp_path, options):
    done = train_small(tmp_path / "run", scenes, "--epochs", 2, *options)
    assert done.status == 0, done.error
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_frozen_encoder_does_not_change(scenes, tmp_path):
    states = []
    for epochs in (1, 2):
        folder = tmp_path / str(epochs)
        done = train_small(folder, scenes, "--epochs", epochs, "--freeze-encoder-epochs", 1)
        assert done.status == 0, done.error
        path = find_checkpoints(folder / "checkpoints", "last")[0]
        states.append(load_checkpoint(path)["model"])
    from mutualformer_sod import build_model

    torch.manual_seed(0)
    model = dict(build_model("tiny-scratch", image_size=32, **SMALL_FIELDS).named_parameters())
    names = [name for name in model if name.startswith("encoder.") and "weight" in name]
    assert all(torch.equal(states[0][name], model[name]) for name in names)
    assert not any(torch.equal(states[1][name], model[name]) for name in names)


def test_checkpointing_activations_changes_nothing(scenes, tmp_path):
    logs = []
    for number, options in enumerate(([], ["--grad-checkpointing"])):
        done = train_small(tmp_path / str(number), scenes, "--epochs", 1, "--amp", "off", *options)
        assert done.status == 0, done.error
        logs.append(log_of(tmp_path / str(number))[0]["train"])
    assert logs[0] == pytest.approx(logs[1], abs=1e-6)


def test_tensorboard_gets_losses_rates_scores_and_pictures(scenes, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = train_small(tmp_path / "run", scenes, "--tensorboard")
    assert done.status == 0, done.error
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/total", "train/grad_norm", "val/loss", "val/mae"} <= tags
    assert any(tag.startswith("lr/") for tag in tags)
    assert [event.step for event in events.Scalars("train/total")] == [1, 2, 3, 4, 5, 6]
    assert events.Tags()["images"] == ["rgb_depth_gt_map"]


def test_recipe_sets_options_that_flags_override(tmp_path, scenes):
    from mutualformer_sod.configs.recipes import make_train_config

    config = make_train_config("mutualformer-2185", epochs=3)
    assert (config.protocol, config.preset, config.epochs) == ("2185", "small", 3)
    own = make_train_config("mutualformer-2185", train_sets=("A",))
    assert (own.protocol, own.train_sets) == (None, ("A",))
    options = ["--data", scenes, "--output", tmp_path / "run", "--recipe"]
    assert "mutualformer-2185" in error_line(run_tool("train", *options, "nothing"))
    # The recipe starts unchanged: what stops it here is that the benchmarks are not there.
    assert "protocol 2985" in error_line(run_tool("train", *options, "mutualformer-2985"))
