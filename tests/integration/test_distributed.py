"""Several processes, on one host and on two: the same training, the same maps."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from forked_runs import (
    call_together,
    free_port,
    join_all,
    start,
    torchrun_variables,
)
from tool_runs import ROOT, SMALL_MODEL, error_line, run_tool

from mutualformer_sod.distributed import all_reduce, one_voice, rank, start_processes
from mutualformer_sod.training.checkpoints import find_checkpoints, load_checkpoint

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SCORES = ("total", "structure", "side_1")


def train_arguments(output, scenes, batch_size, *options):
    # Nine images in updates of six: the second update of an epoch is smaller. Ten updates in all.
    return [
        *("--data", scenes, "--train-sets", "SAMPLES"),
        *("--preset", "tiny-scratch", "--epochs", 5, "--batch-size", batch_size, "--workers", 0),
        *("--global-batch-size", 6, "--size", 64, "--holdout", 0.25, "--lr", 1e-3, "--seed", 1),
        *("--depth-dropout", 0.3, "--device", "cpu", "--amp", "off", "--output", output, *options),
        *("--set", *SMALL_MODEL, "drop_path=0.2", "encoder_drop_path=0.2"),
    ]


def map_arguments(output, scenes, weights):
    arguments = ["--data", scenes, "--device", "cpu", "--weights", weights, "--output", output]
    return [str(argument) for argument in arguments]


def train_command(*arguments):
    return [ROOT / "tools" / "train.py", *train_arguments(*arguments)]


def torchrun(*arguments):
    return [sys.executable, str(ROOT / "tools" / "launch.py"), *map(str, arguments)]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_alone(*arguments):
    """Train in one process: this one, which has imported torch."""
    done = run_tool("train", *train_arguments(*arguments))
    assert done.status == 0, done.error
    return done.output


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights_of(folder):
    return load_checkpoint(find_checkpoints(folder / "checkpoints", "last")[0])["model"]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, scenes):
    folder = tmp_path_factory.mktemp("one") / "run"
    train_alone(folder, scenes, 6)
    return folder


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, scenes):
    folder = tmp_path_factory.mktemp("two") / "run"
    output = run(torchrun("--nproc-per-node", 2, "--standalone", *train_command(folder, scenes, 3)))
    assert output.count("epoch 5/5") == 1  # the first process alone talks
    return folder


def assert_same_training(folder, one_process):
    for line, want in zip(log_of(folder), log_of(one_process), strict=True):
        for name in SCORES:
            assert line["train"][name] == pytest.approx(want["train"][name], abs=1e-5)
        assert line["val"]["loss"] == pytest.approx(want["val"]["loss"], abs=1e-5)
    want = weights_of(one_process)
    for name, tensor in weights_of(folder).items():
        assert torch.allclose(tensor, want[name], rtol=0, atol=1e-4), name


def test_two_processes_train_as_one_with_the_same_images_an_update(one_process, two_processes):
    assert_same_training(two_processes, one_process)


def test_accumulated_gradients_train_as_whole_batches(tmp_path, one_process, scenes):
    train_alone(tmp_path / "run", scenes, 2)
    assert_same_training(tmp_path / "run", one_process)


def test_run_of_two_processes_goes_on_with_one(tmp_path, two_processes, scenes):
    shutil.copytree(two_processes, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").unlink()
    for path in (tmp_path / "run" / "checkpoints").glob("*-000005-*"):
        path.unlink()
    output = train_alone(tmp_path / "run", scenes, 3, "--resume")
    assert "resuming in epoch 5" in output
    assert_same_training(tmp_path / "run", two_processes)


def test_another_number_of_images_an_update_is_refused(two_processes, scenes):
    arguments = train_arguments(two_processes, scenes, 6, "--resume", "--global-batch-size", 8)
    assert "--global-batch-size 6" in error_line(run_tool("train", *arguments))


def test_maps_of_two_processes_are_those_of_one(tmp_path, two_processes, scenes):
    weights = two_processes / "weights.safetensors"
    done = run_tool("test", *map_arguments(tmp_path / "one", scenes, weights))
    assert done.status == 0, done.error
    command = [ROOT / "tools" / "test.py", *map_arguments(tmp_path / "two", scenes, weights)]
    run(torchrun("--nproc-per-node", 2, "--standalone", *command))
    maps = sorted((tmp_path / "one").rglob("*.png"))
    assert len(maps) == 12
    for path in maps:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes()
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert records[0] == records[1]


def test_mistake_ends_two_processes_with_one_line_and_status_two(tmp_path, scenes):
    command = train_command(tmp_path / "run", scenes, 3, "--lr", "nan")
    done = subprocess.run(
        torchrun("--nproc-per-node", 2, "--standalone", *command), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--lr" in done.stderr


def ask_for_the_largest():
    with one_voice():
        start_processes("cpu")
        assert all_reduce([15.0, float(rank())], torch.device("cpu"), "MAX") == [15.0, 2.0]


def test_requests_of_several_processes_are_granted_once():
    assert call_together(ask_for_the_largest, 3) == [0, 0, 0]


def can_make_hosts():
    """Whether network namespaces can be made here, each of which stands for a host."""
    name = f"probe{os.getpid()}"
    if shutil.which("ip") is None:
        return False
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return done.returncode == 0


@pytest.fixture
def two_hosts():
    """For each of two hosts its address and its network namespace.

    The namespaces are joined by a virtual cable. Where none can be made, this host stands for both
    and the names are None.
    """
    if not can_make_hosts():
        yield [("127.0.0.1", None), ("127.0.0.1", None)]
        return
    names = [f"mf{os.getpid()}{side}" for side in "ab"]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        cable = ["ip", "link", "add", "cable0", "netns", names[0], "type", "veth"]
        subprocess.run([*cable, "peer", "name", "cable0", "netns", names[1]], check=True)
        for number, name in enumerate(names, start=1):
            inside = ["ip", "-n", name]
            address = f"10.77.3.{number}/24"
            subprocess.run([*inside, "addr", "add", address, "dev", "cable0"], check=True)
            for device in ("lo", "cable0"):
                subprocess.run([*inside, "link", "set", device, "up"], check=True)
        yield [(f"10.77.3.{number}", name) for number, name in enumerate(names, start=1)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


CABLE = {"GLOO_SOCKET_IFNAME": "cable0"}


def launch_on_both(two_hosts, *arguments):
    """Run one process of a command on each host, started by torchrun."""
    first, port = two_hosts[0][0], free_port()
    agents = []
    for number, (_, network) in enumerate(two_hosts):
        flags = ["--nnodes", 2, "--nproc-per-node", 1, "--node-rank", number]
        flags += ["--master-addr", first, "--master-port", port]
        environment = ENVIRONMENT | (CABLE if network else {})
        prefix = ["ip", "netns", "exec", network] if network else []
        command = [*prefix, *torchrun(*flags, *arguments)]
        agents.append(
            subprocess.Popen(
                command,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    try:
        outputs = [agent.communicate(timeout=400)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    return outputs


def test_two_hosts_train_as_one_process(tmp_path, two_hosts, one_process, scenes):
    outputs = launch_on_both(two_hosts, *train_command(tmp_path / "run", scenes, 3))
    assert "2 processes, at most 3 at a time" in outputs[0] + outputs[1]
    assert_same_training(tmp_path / "run", one_process)


def test_two_hosts_write_the_maps_together(tmp_path, two_hosts, one_process, scenes):
    arguments = map_arguments(tmp_path / "maps", scenes, one_process / "weights.safetensors")
    log = tmp_path / "log"
    variables = torchrun_variables(2, hosts=2, address=two_hosts[0][0])
    processes = [
        start(
            arguments,
            log,
            tool="test",
            environment=own | (CABLE if network else {}),
            network=network,
        )
        for own, (_, network) in zip(variables, two_hosts, strict=True)
    ]
    assert join_all(processes) == [0, 0], log.read_text()
    assert log.read_text().count("12 maps, 12 written now") == 1  # one speaks for both
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 12
