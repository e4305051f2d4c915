"""A forward pass keeps nothing on the network: copies, pickles, threads and compiled graphs."""

import copy
import pickle
import threading

import pytest
import torch
from fused_models import IN_ENCODER, images, small_model
from torch import nn

CASES = [(fusion, "patch") for fusion in ("mutualformer", *IN_ENCODER)]
CASES.append(("mutualformer", "hybrid"))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def model(request):
    fusion, stem = request.param
    shared = {"share": True} if fusion == "mutualformer" else {}
    return small_model(fusion, stem=stem, encoder_drop_path=0.2, **shared).eval()


def attributes(network):
    """Every attribute of every module that is not a parameter, a buffer or a child."""
    return {
        (name, key): copy.copy(value)
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if key not in ("_parameters", "_buffers", "_modules")
    }


def run_training_step(network):
    output = network.train()(*images(), keys=torch.tensor([3, 4, 9]))
    (output.logits.sum() + sum(output.extra_losses.values())).backward()
    network.zero_grad()
    network.eval()


@pytest.mark.parametrize("recomputes", [False, True])
def test_forward_pass_changes_no_attribute(model, recomputes):
    network = copy.deepcopy(model)
    if recomputes:
        network.encoder.set_grad_checkpointing()
    network.train().eval()
    before = attributes(network)
    network(*images())
    run_training_step(network)
    after = attributes(network)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert type(value) is type(after[key]), key
        if isinstance(value, bool | int | float | str | list | tuple | dict):
            assert repr(value) == repr(after[key]), key
        assert not isinstance(after[key], torch.Tensor), key


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_duplicate_of_a_used_network_gives_the_same_logits(model, duplicate):
    network = copy.deepcopy(model)
    run_training_step(network)
    with torch.no_grad():
        want = network(*images())
        twin = duplicate(network)
        assert torch.equal(twin(*images()), want)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(twin(*images()), want)


def test_two_threads_get_the_logits_of_their_own_images(model):
    batches = [images(count=2, size=(64, 96), seed=0), images(count=3, size=(96, 64), seed=1)]
    with torch.no_grad():
        want = [model(*batch) for batch in batches]
    start, results = threading.Barrier(2), {}

    def work(number):
        with torch.no_grad():
            start.wait()
            results[number] = [model(*batches[number]) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        for got in results[number]:
            torch.testing.assert_close(got, want[number], rtol=1e-9, atol=1e-9)


def test_no_module_has_a_forward_hook(model):
    for module in model.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks)


@pytest.mark.parametrize("fusion", ["mutualformer", "token_fusion", "gemini_fusion"])
def test_compiled_network_is_one_graph_with_the_same_logits(fusion):
    torch._dynamo.reset()
    network = small_model(fusion).eval()
    rgb, depth = images()
    has_depth = torch.tensor([True, False])
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        got, want = compiled(rgb, depth, has_depth), network(rgb, depth, has_depth)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_batch_norm_of_a_joint_encoder_converts_to_sync_batch_norm():
    network = small_model("concat")
    for stream in (network.encoder.rgb_stream, network.encoder.depth_stream):
        stem = nn.Sequential(nn.Conv2d(3, 64, 16, 16), nn.BatchNorm2d(64)).double()
        stream.body.patch_embed.proj = stem
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network)).eval()
    assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())
    with torch.no_grad():
        torch.testing.assert_close(converted(*images()), network.eval()(*images()))
