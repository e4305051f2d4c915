"""Concatenation: attention over the joint sequence, the rest of a block as it was."""

import pytest
import torch
from fused_models import (
    COUNT,
    blocks_of,
    close,
    encode,
    images,
    loop_heads,
    loop_linear,
    loop_mlp,
    loop_norm,
    run_block,
    small_model,
    tokens,
    with_prefix,
)


def make(**options):
    return small_model("concat", **options).eval()


@pytest.mark.parametrize("layer", [0, 1])
def test_block_attends_to_the_concatenated_sequence(layer):
    model = make()
    blocks, streams = blocks_of(model, layer), tokens(number=1 + COUNT)
    got = run_block(model, layer, *streams)
    if layer == 0:  # the modality embedding enters here, and the CLS token has none
        streams = [
            with_prefix(stream, stream[:, 1:] + embedding)
            for stream, embedding in zip(streams, model.fusion.modality_embed, strict=True)
        ]
    normed = [loop_norm(b.norm1, stream) for b, stream in zip(blocks, streams, strict=True)]
    attention = blocks[0].attn
    joint = loop_linear(attention.proj, loop_heads(attention, torch.cat(normed, dim=1)))
    attended = joint[:, : 1 + COUNT], joint[:, 1 + COUNT :]
    for index, block in enumerate(blocks):
        close(got[index], loop_mlp(block, streams[index] + attended[index]))


def test_each_modality_reaches_the_other_and_no_other_image():
    model = make()
    rgb, depth = (image.requires_grad_() for image in images(channels=(3, 3)))
    for features in encode(model, rgb, depth)[:2]:
        for gradient in torch.autograd.grad(features[0][0].sum(), (rgb, depth), retain_graph=True):
            assert gradient[0].any() and not gradient[1].any()


def test_modality_embedding_is_small_at_the_start_and_trained():
    torch.manual_seed(0)
    model = small_model("concat").train()
    assert model.fusion.modality_embed.shape == (2, 64)
    assert 0 < model.fusion.modality_embed.abs().max() <= 2  # trunc_normal_ cuts there
    model(*images()).logits.square().mean().backward()
    assert model.fusion.modality_embed.grad.any(dim=1).all()


def test_modalities_of_equal_norms_and_embeddings_are_interchangeable():
    model = make()
    with torch.no_grad():
        model.fusion.modality_embed[1] = model.fusion.modality_embed[0]
    model.encoder.depth_stream.load_state_dict(model.encoder.rgb_stream.state_dict())
    rgb, depth = images(channels=(3, 3))
    swapped = reversed(encode(model, depth, rgb)[:2])
    for got, want in zip(encode(model, rgb, depth)[:2], swapped, strict=True):
        for got_tap, want_tap in zip(got, want, strict=True):
            close(got_tap, want_tap)


@pytest.mark.parametrize(("head", "streams"), [("auto", 0), ("merge", 0), ("ensemble", 2)])
def test_it_runs_under_both_heads_and_merges_by_default(head, streams):
    model = make(head=head).train()
    assert len(model(*images()).streams) == streams
