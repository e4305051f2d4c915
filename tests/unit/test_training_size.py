"""Size of the images of one update."""

import pytest

from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.training.update import training_size


def sizes(stride, side, **fields):
    config = TrainConfig(epochs=10, **fields)
    return [training_size(config, epoch, 0, 5, (side, side), stride)[0] for epoch in range(10)]


def test_size_grows_to_the_full_one():
    got = sizes(16, 128, progressive=0.75, multi_scale=False)
    assert got == sorted(got) and got[0] == 96 and got[-1] == 128


@pytest.mark.parametrize("multi_scale", [False, True])
@pytest.mark.parametrize(("stride", "side"), [(14, 224), (16, 224), (32, 320)])
def test_size_is_a_multiple_of_the_stride_or_of_16(stride, side, multi_scale):
    for size in sizes(stride, side, progressive=0.75, multi_scale=multi_scale):
        assert size % min(stride, 16) == 0


def test_constant_size_is_the_models():
    assert set(sizes(14, 224, multi_scale=False)) == {224}
