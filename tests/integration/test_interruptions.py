"""A run that is killed, stopped or cut off from its disk ends as the uninterrupted one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
from forked_runs import finish, start, train_arguments
from safetensors.torch import load_file
from tool_runs import ROOT

from mutualformer_sod.training.checkpoints import find_checkpoints, load_checkpoint

KILLS = 20


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, scenes):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert finish(train_arguments(folder / "run", scenes), folder / "log") == 0
    return folder / "run"


@pytest.fixture
def begun_run(tmp_path, scenes):
    """A run killed once it had at least two checkpoints; returns its folder and arguments."""
    arguments = train_arguments(tmp_path / "run", scenes)
    process = start(arguments, tmp_path / "log")
    wait_until(lambda: len(saved(tmp_path / "run")) >= 2, process)
    process.kill()
    process.join()
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    return tmp_path / "run", arguments


def saved(folder):
    return find_checkpoints(folder / "checkpoints", "last")


def is_saving(folder):
    """Whether a checkpoint is half written."""
    checkpoints = folder / "checkpoints"
    return checkpoints.is_dir() and any(p.suffix == ".tmp" for p in checkpoints.iterdir())


def has_new(folder, before, count):
    return len(set(saved(folder)) - before) >= count


def wait_until(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), "the run ended too early"
        assert time.monotonic() < end
        time.sleep(0.0005)


def assert_same_end(folder, whole_run):
    want = load_file(whole_run / "weights.safetensors")
    got = load_file(folder / "weights.safetensors")
    assert set(got) == set(want)
    for name, tensor in want.items():
        assert torch.equal(tensor, got[name]), name
    logs = []
    for run in (folder, whole_run):
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        for line in lines:
            for name in ("seconds", "images_per_second", "peak_memory_mb"):
                line.pop(name)
        logs.append(lines)
    assert logs[0] == logs[1]


def test_twenty_kills_some_of_them_while_saving_change_nothing(tmp_path, scenes, whole_run):
    rng = random.Random(4)
    arguments = train_arguments(tmp_path / "run", scenes, "--resume")
    while_saving = 0
    for number in range(KILLS):
        process = start(arguments, tmp_path / "log")
        if number % 2:
            wait_until(lambda: is_saving(tmp_path / "run"), process)
            time.sleep(rng.uniform(0, 0.004))
        else:  # anywhere; sometimes after an update
            before = set(saved(tmp_path / "run"))
            updates = rng.randrange(2)
            wait_until(partial(has_new, tmp_path / "run", before, updates), process)
            time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
        while_saving += is_saving(tmp_path / "run")
    assert while_saving >= 3
    assert finish(arguments, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(tmp_path / "run", whole_run)
    starts = json.loads((tmp_path / "run" / "starts.json").read_text())
    assert len(starts) > KILLS / 2
    assert not is_saving(tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_leaves_with_a_line(tmp_path, scenes, whole_run, number):
    arguments = train_arguments(tmp_path / "run", scenes, "--checkpoint-steps", 1000)
    process = start(arguments, tmp_path / "log")
    wait_until(lambda: (tmp_path / "run" / "starts.json").exists(), process)
    time.sleep(0.05)
    os.kill(process.pid, number)
    process.join(240)
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 128 + number, log
    line = log.splitlines()[-1]
    assert f"stopped by {number.name}" in line
    assert "--resume continues" in line
    assert "Traceback" not in log
    state = load_checkpoint(saved(tmp_path / "run")[0])
    assert (state["epoch"], state["step"]) != (4, 0)
    assert finish([*arguments, "--resume"], tmp_path / "log") == 0
    assert_same_end(tmp_path / "run", whole_run)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_resume_with_damaged_checkpoint_names_it_and_continues_from_the_previous(
    tmp_path, begun_run, whole_run, damage
):
    folder, arguments = begun_run
    newest, previous = saved(folder)[:2]
    content = bytearray(newest.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    log = tmp_path / "log2"
    assert finish([*arguments, "--resume"], log) == 2
    line = [line for line in log.read_text().splitlines() if "error:" in line]
    assert len(line) == 1
    assert newest.name in line[0]
    assert "damaged" in line[0]
    assert f"--resume previous to continue from {previous.name}" in line[0]
    intact = previous.read_bytes()
    previous.write_bytes(intact[:-1])
    assert finish([*arguments, "--resume"], tmp_path / "log3") == 2
    assert "--resume previous" not in (tmp_path / "log3").read_text()  # it is damaged, too
    previous.write_bytes(intact)
    process = start([*arguments, "--resume", "previous"], log)
    wait_until(lambda: saved(folder) and saved(folder)[0].name != newest.name, process)
    process.kill()  # the damaged one must not come back when the run is interrupted again
    process.join()
    assert not newest.exists()
    assert finish([*arguments, "--resume"], log) == 0, log.read_text()
    assert_same_end(folder, whole_run)


def test_full_disk_costs_the_new_checkpoint_alone(tmp_path, begun_run, whole_run):
    folder, arguments = begun_run
    before = {path.name: path.read_bytes() for path in saved(folder)}
    log = tmp_path / "log2"
    # The system refuses to let a file grow beyond this: what a full disk looks like to a program.
    assert finish([*arguments, "--resume"], log, most_bytes=1 << 20) == 2
    line = next(line for line in log.read_text().splitlines() if "error:" in line)
    assert "a checkpoint could not be written" in line
    assert "--resume" in line
    assert {path.name: path.read_bytes() for path in saved(folder)} == before
    assert not list((folder / "checkpoints").glob(".*"))
    assert finish([*arguments, "--resume"], log) == 0
    assert_same_end(folder, whole_run)


def test_other_data_are_refused_when_going_on(tmp_path, begun_run, scenes):
    folder, arguments = begun_run
    shutil.copytree(scenes, tmp_path / "other")
    victim = sorted((tmp_path / "other" / "SAMPLES" / "RGB").iterdir())[0]
    victim.write_bytes(victim.read_bytes() + b"\0")
    config = json.loads((folder / "config.json").read_text())
    config["train"]["data"] = [str(tmp_path / "other")]
    (folder / "config.json").write_text(json.dumps(config))
    arguments[arguments.index("--data") + 1] = str(tmp_path / "other")
    log = tmp_path / "log2"
    assert finish([*arguments, "--resume"], log) == 2
    assert "data changed" in log.read_text()


def test_group_of_processes_asked_to_end_saves_though_it_has_workers(tmp_path, scenes, whole_run):
    arguments = train_arguments(tmp_path / "run", scenes, "--workers", 2)
    command = [sys.executable, str(ROOT / "tools" / "train.py"), *arguments]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 240  # a busy machine
    while len(saved(tmp_path / "run")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGTERM)
    status = process.wait(240)
    text = (tmp_path / "log").read_text()
    assert status == 128 + signal.SIGTERM, text
    assert "Traceback" not in text
    assert finish([*arguments, "--resume"], tmp_path / "log") == 0
    assert_same_end(tmp_path / "run", whole_run)


def test_folder_in_which_a_run_goes_on_is_left_alone(tmp_path, scenes, whole_run):
    arguments = train_arguments(tmp_path / "run", scenes)
    process = start(arguments, tmp_path / "log")
    wait_until(lambda: len(saved(tmp_path / "run")) >= 1, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert finish([*arguments, "--resume"], tmp_path / "log2") == 2
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert "in use by another process" in (tmp_path / "log2").read_text()
    process.join(240)
    assert process.exitcode == 0
    assert_same_end(tmp_path / "run", whole_run)


def test_run_does_not_go_on_with_other_images_from_a_cache(tmp_path, begun_run):
    _, arguments = begun_run
    assert finish([*arguments, "--resume", "--cache", "ram"], tmp_path / "log2") == 2
    assert "cache was 'off' and is now 'ram'" in (tmp_path / "log2").read_text()
