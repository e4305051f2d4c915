"""Batches come as they were chosen, from workers that leave Ctrl-C to the main process."""

import signal

import pytest
import torch
from torch.utils.data import Dataset

from mutualformer_sod.data.loader import make_loader


class Numbers(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        numbers = (signal.SIGINT, signal.SIGTERM)
        ignored = {signal.getsignal(number) is signal.SIG_IGN for number in numbers}
        return {"number": index, "ignores_signals": ignored == {True}}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_given_in_their_order(workers):
    batches = [[3, 1], [9], [0, 0, 4]]
    loader = make_loader(Numbers(), batches, workers)
    assert len(loader) == 3
    assert [batch["number"].tolist() for batch in loader] == batches


@pytest.mark.parametrize(("workers", "ignored"), [(0, False), (1, True)])
def test_only_workers_leave_signals_to_the_main_process(workers, ignored):
    loader = make_loader(Numbers(), [[0]], workers)
    assert next(iter(loader))["ignores_signals"].item() is ignored


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_the_global_generator(workers):
    before = torch.get_rng_state()
    list(make_loader(Numbers(), [[1]], workers))
    assert torch.equal(torch.get_rng_state(), before)
