"""The moving average of the weights."""

import copy

import pytest
import torch
from torch import nn

from mutualformer_sod.errors import InputError
from mutualformer_sod.models.weights import unique_state
from mutualformer_sod.training.ema import Ema


def make_model(seed=0):
    """A model with BatchNorm buffers, an integer buffer and a shared parameter."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def perturb(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.train()(torch.randn(4, 3))  # moves the running statistics


def snapshot(model):
    return {name: tensor.clone() for name, tensor in unique_state(model).items()}


def assert_same_bits(first, second):
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_averages_follow_the_recurrence_with_its_warm_up():
    model = make_model()
    ema = Ema(model, decay=0.3)
    want = snapshot(model)
    for decay in (1 / 10, 2 / 11, 3 / 12, 0.3, 0.3):
        perturb(model)
        ema.update(model)
        for name, tensor in unique_state(model).items():
            if tensor.is_floating_point():
                want[name] = decay * want[name] + (1 - decay) * tensor
            else:
                want[name] = tensor.clone()
    assert "1.running_var" in want and "1.num_batches_tracked" in want
    torch.testing.assert_close(ema.averages, want)


def test_ema_shared_tensor_is_stored_once():
    names = Ema(make_model(), 0.9).averages
    assert "0.weight" in names and "2.weight" not in names


def test_updating_leaves_the_model_and_its_gradients_alone():
    model = make_model()
    ema = Ema(model, 0.9)
    perturb(model)
    before = snapshot(model)
    ema.update(model)
    assert_same_bits(snapshot(model), before)
    assert not any(tensor.requires_grad for tensor in ema.averages.values())


def test_state_survives_a_file_bit_for_bit(tmp_path):
    model = make_model()
    ema = Ema(model, 0.999)
    for _ in range(3):
        perturb(model)
        ema.update(model)
    torch.save(ema.state_dict(), tmp_path / "ema.pt")
    other = make_model(seed=1)
    resumed = Ema(other, 0.999)
    resumed.load_state_dict(other, torch.load(tmp_path / "ema.pt", weights_only=True))
    assert_same_bits(resumed.averages, ema.averages)
    perturb(model)
    for each in (ema, resumed):
        each.update(model)
    assert_same_bits(resumed.averages, ema.averages)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_averages_of_another_model_are_refused_and_change_nothing(change):
    model = make_model()
    ema = Ema(model, 0.9)
    before = copy.deepcopy(ema.averages)
    state = Ema(make_model(seed=1), 0.9).state_dict()
    if change == "missing":
        del state["averages"]["1.bias"]
    else:
        state["averages"]["1.bias" if change == "shape" else "other"] = torch.zeros(2)
    with pytest.raises(InputError, match="other" if change == "extra" else "1.bias"):
        ema.load_state_dict(model, state)
    assert_same_bits(ema.averages, before)


@pytest.mark.parametrize("failing", [False, True])
def test_average_is_in_the_model_within_the_block_only(failing):
    model = make_model()
    ema = Ema(model, 0.9)
    perturb(model)
    own, averages = snapshot(model), copy.deepcopy(ema.averages)
    assert not torch.equal(own["0.weight"], averages["0.weight"])
    try:
        with ema.applied_to(model):
            assert_same_bits(snapshot(model), averages)
            perturb(model)  # whatever happens inside is forgotten
            if failing:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert failing
    assert_same_bits(snapshot(model), own)
    assert_same_bits(ema.averages, averages)
    assert model[2].weight is model[0].weight


def test_training_goes_on_after_the_average_was_applied_in_inference_mode():
    model = make_model()
    ema = Ema(model, 0.9)
    with torch.inference_mode(), ema.applied_to(model):
        model.eval()(torch.zeros(1, 3))
    model.train()(torch.randn(4, 3)).sum().backward()
    ema.update(model)
    assert model[0].weight.grad.isfinite().all()
