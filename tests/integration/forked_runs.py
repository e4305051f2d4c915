"""Tools in processes that can be killed, forked from a server that has imported torch."""

import contextlib
import ctypes
import os
import runpy
import socket
import sys
from pathlib import Path

from tool_runs import ROOT, SMALL_MODEL

from mutualformer_sod.workers import worker_context

_PRELOADED = ["mutualformer_sod.training.trainer", "cv2", "timm"]


def train_arguments(output: Path, data: Path, *options: object) -> list[str]:
    """A command line of tools/train.py: a cut-down model, four epochs of three updates."""
    arguments = [
        *("--data", data, "--train-sets", "SAMPLES", "--preset", "tiny-scratch"),
        *("--output", output),
        *("--epochs", 4, "--batch-size", 4, "--size", 32, "--workers", 0, "--holdout", 0.25),
        *("--lr", 1e-3, "--device", "cpu", "--checkpoint-steps", 1, "--ema-decay", 0.9),
        *("--depth-dropout", 0.2, "--set", *SMALL_MODEL, "drop_path=0.1", "encoder_drop_path=0.1"),
        *options,
    ]
    return [str(argument) for argument in arguments]


def start(
    arguments: list[str],
    log: Path,
    most_bytes: int | None = None,
    tool: str = "train",
    environment: dict[str, str] | None = None,
    network: str | None = None,
):
    """Start a tool with these arguments; output goes to the end of the file ``log``.

    ``network`` names the network namespace in which it runs, see ``ip netns``.
    """
    context = worker_context(_PRELOADED)
    process = context.Process(
        target=_run, args=(tool, arguments, str(log), most_bytes, environment or {}, network)
    )
    process.start()
    return process


def finish(arguments: list[str], log: Path, most_bytes: int | None = None) -> int:
    """Run tools/train.py to its end; returns its exit status."""
    process = start(arguments, log, most_bytes)
    process.join(240)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def finish_together(arguments: list[str], log: Path, count: int = 2) -> list[int | None]:
    """Run tools/train.py in several processes of one run to their end; returns their statuses."""
    return join_all(
        [start(arguments, log, environment=variables) for variables in torchrun_variables(count)]
    )


def call_together(function, count: int) -> list[int | None]:
    """Call a function of a module in several processes of one run; returns their statuses."""
    context = worker_context(_PRELOADED)
    processes = [
        context.Process(target=_call, args=(function, variables))
        for variables in torchrun_variables(count)
    ]
    for process in processes:
        process.start()
    return join_all(processes)


def torchrun_variables(
    count: int, hosts: int = 1, address: str = "127.0.0.1"
) -> list[dict[str, str]]:
    """The environment variables that torchrun sets for each of its processes.

    ``address`` is that of the first host.
    """
    local = count // hosts
    common = {"MASTER_ADDR": address, "MASTER_PORT": str(free_port())}
    common |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(local)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank % local)} for rank in range(count)]


def join_all(processes: list) -> list[int | None]:
    for process in processes:
        process.join(240)
        process.kill()  # one that hangs
    return [process.exitcode for process in processes]


def free_port() -> int:
    """A port of this host that nothing listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _enter_network(name: str) -> None:
    """Move this process, which has one thread, into a network namespace; os.setns is of 3.12."""
    with Path("/run/netns", name).open() as namespace:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), f"setns {name}")


def _call(function, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    function()


def _run(
    tool: str,
    arguments: list[str],
    log: str,
    most_bytes: int | None,
    environment: dict[str, str],
    network: str | None,
) -> None:
    import torch

    torch.set_num_threads(1)
    if network is not None:
        _enter_network(network)
    if most_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    os.environ.update(environment)
    sys.argv = [f"{tool}.py", *arguments]
    os.chdir(ROOT)
    with (
        Path(log).open("a", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
