"""Batches come as they were chosen, from workers that leave Ctrl-C to the main process."""

import multiprocessing
import os
import signal

import pytest
import torch
from torch.utils.data import Dataset

from mutualformer_sod.data.training.loader import make_loader, open_stream
from mutualformer_sod.errors import InputError


class Numbers(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        ignored = [
            signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM)
        ]
        return {"number": index, "ignored": torch.tensor(ignored)}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_given_in_their_order(workers):
    batches = [[3, 1], [9], [0, 0, 4]]
    loader = make_loader(Numbers(), batches, workers)
    assert len(loader) == 3
    assert [batch["number"].tolist() for batch in loader] == batches


@pytest.mark.parametrize(("workers", "ignored"), [(0, False), (1, True)])
def test_only_workers_leave_ctrl_c_to_the_main_process(workers, ignored):
    loader = make_loader(Numbers(), [[0]], workers)
    assert next(iter(loader))["ignored"].tolist() == [[ignored, False]]


def test_workers_of_a_stream_outlive_a_sigterm_and_end_with_the_stream():
    with open_stream(Numbers(), [[index] for index in range(10)], workers=2) as stream:
        for _ in range(2):  # one of each worker: both are up
            assert next(stream)["ignored"].tolist() == [[True, True]]
        workers = multiprocessing.active_children()
        for worker in workers:
            os.kill(worker.pid, signal.SIGTERM)
        assert len(list(stream)) == 8
    assert not any(worker.is_alive() for worker in workers)


def test_stream_that_is_left_early_ends_its_workers():
    with pytest.raises(ValueError, match="mine"), open_stream(Numbers(), [[0]] * 10, 1) as stream:
        next(stream)
        raise ValueError("mine")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_the_global_generator(workers):
    before = torch.get_rng_state()
    list(make_loader(Numbers(), [[1]], workers))
    assert torch.equal(torch.get_rng_state(), before)


class Unreadable(Dataset):
    def __getitem__(self, index: int) -> dict:
        if index == 1:
            raise InputError("a.png: unreadable. Fix: replace it.")
        return {"number": index}


@pytest.mark.parametrize("workers", [0, 1])
def test_input_error_of_a_worker_keeps_its_message(workers):
    batches = [[2], [0, 1]]
    with open_stream(Unreadable(), batches, workers) as stream:
        for loaded in (stream, iter(make_loader(Unreadable(), batches, workers))):
            assert next(loaded)["number"].tolist() == [2]
            with pytest.raises(InputError, match=r"^a\.png: unreadable\. Fix: replace it\.$"):
                next(loaded)
