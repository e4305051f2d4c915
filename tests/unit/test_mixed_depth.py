"""Images with and without depth in one batch: who sees what, and who gets a gradient."""

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from mutualformer_sod import build_model


def batch(size=(64, 64), images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.rand(images, 3, *size, generator=generator)
    return rgb, torch.rand(images, 1, *size, generator=generator)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_model("tiny-scratch").eval()


def test_detector_without_depth_ignores_the_form_of_its_absence(tiny):
    rgb, depth = batch()
    with torch.inference_mode():
        without = tiny(rgb, None)
        masked = tiny(rgb, depth, torch.tensor([False, False]))
        poisoned = tiny(rgb, torch.full_like(depth, float("nan")), torch.zeros(2).bool())
    torch.testing.assert_close(masked, without, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(poisoned, without, rtol=1e-4, atol=1e-5)


def test_detector_uses_depth_where_has_depth_is_true(tiny):
    rgb, depth = batch()
    with torch.inference_mode():
        shown = tiny(rgb, depth, torch.tensor([True, False]))
        changed = tiny(rgb, 1 - depth, torch.tensor([True, False]))
    assert (shown[0] - changed[0]).abs().max() > 1e-4
    torch.testing.assert_close(shown[1], changed[1])


@pytest.mark.parametrize("preset", ["tiny-scratch", "resnet50"])
def test_depth_stream_sees_each_real_map_and_one_stand_in(preset):
    model = build_model(preset).eval()
    rgb, depth = batch(images=4)
    seen = []
    model.encoder.depth_stream.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    for has_depth in (
        torch.tensor([False, True, False, True]),
        torch.zeros(4).bool(),
        torch.ones(4).bool(),
        None,
    ):
        with torch.inference_mode():
            model(rgb, depth, has_depth)
    assert seen == [3, 1, 4, 4]


def test_images_keep_their_own_depth_in_a_mixed_batch(tiny):
    rgb, depth = batch(images=4)
    has_depth = torch.tensor([False, True, False, True])
    with torch.inference_mode():
        together = tiny(rgb, depth, has_depth)
        for row, real in enumerate(has_depth.tolist()):
            one = slice(row, row + 1)
            alone = tiny(rgb[one], depth[one] if real else None)
            torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-5)


@pytest.fixture
def one_process_group(tmp_path):
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("preset", ["tiny-scratch", "resnet50"])
def test_every_batch_of_a_distributed_run_reaches_every_parameter(preset, one_process_group):
    model = DistributedDataParallel(build_model(preset).train())  # raises on a parameter left out
    rgb, depth = batch()
    for has_depth in ([True, True], [False, False], [True, False], None):
        output = model(rgb, depth, None if has_depth is None else torch.tensor(has_depth))
        sum(item.square().mean() for item in [output.logits, *output.side_logits]).backward()
    output = model(rgb)
    sum(item.square().mean() for item in [output.logits, *output.side_logits]).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_all_depths_real_is_the_default(tiny):
    rgb, depth = batch()
    with torch.inference_mode():
        torch.testing.assert_close(tiny(rgb, depth), tiny(rgb, depth, torch.ones(2).bool()))
