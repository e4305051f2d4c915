"""Who takes which images of an epoch."""

import itertools
import math

import pytest

from mutualformer_sod.training.sampler import count_replayed, epoch_order, plan_epoch

CASES = list(
    itertools.product((1, 7, 16, 37), (1, 4, 8, 12), (1, 2, 5), (1, 2, 3))
)  # images, global batch, batch, processes


@pytest.mark.parametrize(("images", "total", "batch", "processes"), CASES)
class TestPlan:
    def plans(self, images, total, batch, processes):
        order = epoch_order(images, seed=3, epoch=1)
        return order, [plan_epoch(order, total, batch, r, processes) for r in range(processes)]

    def test_every_image_is_seen_once(self, images, total, batch, processes):
        _, plans = self.plans(images, total, batch, processes)
        seen = [
            index
            for plan in plans
            for parts in plan
            for part in parts
            for index in part.indices
            if part.ratio
        ]
        assert sorted(seen) == list(range(images))

    def test_updates_contain_the_same_images_for_any_number_of_processes(
        self, images, total, batch, processes
    ):
        order, plans = self.plans(images, total, batch, processes)
        assert {len(plan) for plan in plans} == {math.ceil(images / total)}
        for number, updates in enumerate(zip(*plans, strict=True)):
            seen = [i for parts in updates for part in parts if part.ratio for i in part.indices]
            assert sorted(seen) == sorted(order[number * total : (number + 1) * total])

    def test_shares_are_those_of_the_images_and_sum_to_one(self, images, total, batch, processes):
        order, plans = self.plans(images, total, batch, processes)
        for number, updates in enumerate(zip(*plans, strict=True)):
            count = len(order[number * total : (number + 1) * total])
            parts = [part for parts in updates for part in parts]
            assert sum(part.ratio for part in parts) == pytest.approx(1)
            assert all(part.ratio in (0, len(part.indices) / count) for part in parts)

    def test_processes_take_equally_many_parts_no_larger_than_the_batch(
        self, images, total, batch, processes
    ):
        _, plans = self.plans(images, total, batch, processes)
        for updates in zip(*plans, strict=True):
            assert len({len(parts) for parts in updates}) == 1
            for parts in updates:
                assert all(1 <= len(part.indices) <= batch for part in parts)


def test_order_depends_on_seed_and_epoch_alone():
    orders = {(s, e): tuple(epoch_order(50, s, e)) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert tuple(epoch_order(50, 1, 2)) == orders[1, 2]


def test_order_with_replay_has_all_own_images_and_other_replayed_ones_each_epoch():
    orders = [epoch_order(20, 0, epoch, replayed=5, pool=100) for epoch in range(4)]
    drawn = set()
    for order in orders:
        assert len(order) == len(set(order)) == 25
        assert set(range(20)) < set(order) < set(range(120))
        drawn |= {index for index in order if index >= 20}
    assert len(drawn) > 10
    assert epoch_order(20, 0, 3, replayed=5, pool=100) == orders[3]


@pytest.mark.parametrize(
    ("images", "pool", "ratio", "want"),
    [(70, 1000, 0.3, 30), (10, 1000, 0.5, 10), (10, 4, 0.5, 4), (10, 50, 0.0, 0)],
)
def test_replayed_images_make_the_ratio_of_an_epoch(images, pool, ratio, want):
    assert count_replayed(images, pool, ratio) == want
