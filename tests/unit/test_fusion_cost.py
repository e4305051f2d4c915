"""What each fusion adds to a two-stream ViT block, against the table it was specified with."""

import pytest
import torch
from fused_models import FUSIONS

from mutualformer_sod.benchmark.fusion_cost import check_fusions, layer_costs, network_overrides
from mutualformer_sod.benchmark.speed import make_counter
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.affinity import cross_diffusion_attention
from mutualformer_sod.models.tiles import TILE_ROWS

# Per cent of a two-stream block at C = 384 and N = 196, 784.
SPECIFIED = {
    "token_fusion": (12, 10),
    "gemini_fusion": (69, 56),
    "cross_attention": (39, 50),
    "concat": (8, 25),
    "channel_exchange": (0, 0),
    "sum": (0, 0),
    "mutualformer: the same as released": (64, 829),
    "mutualformer: cross-diffusion": (8, 25),
}


@pytest.fixture(scope="module")
def costs():
    columns = [layer_costs(FUSIONS, 384, tokens, 0) for tokens in (196, 784)]
    return [{row["name"]: row["macs_ratio"] for row in rows} for rows in columns]


@pytest.mark.parametrize("name", SPECIFIED)
def test_layer_costs_are_the_specified_ones_within_15_per_cent(name, costs):
    for column, specified in zip(costs, SPECIFIED[name], strict=True):
        assert 100 * column[name] == pytest.approx(specified, rel=0.15)


def test_layer_costs_have_a_row_for_every_fusion(costs):
    for column in costs:
        assert not [fusion for fusion in FUSIONS if not any(n.startswith(fusion) for n in column)]


def test_layer_costs_of_the_block_equal_the_count_by_hand():
    tokens, dim = 10, 64
    (block,) = layer_costs([], dim, tokens, 0)
    assert block["macs"] == 2 * (12 * tokens * dim**2 + 2 * tokens**2 * dim)


def test_row_tiles_cost_as_many_products_as_whole_affinities(monkeypatch):
    monkeypatch.setitem(TILE_ROWS, "cpu", (20, 20))
    heads = [torch.rand(1, 2, 50, 8) for _ in range(3)]
    counts = []
    for attention in ("dense", "tiled"):
        with torch.no_grad(), make_counter() as counter:
            cross_diffusion_attention(heads, heads, attention=attention)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 2 * 8 * 50**2 * 8  # q k^T 2, W X 4, W^T Y 2; two heads


def test_layer_costs_time_the_methods_own_work():
    block, whole = layer_costs(["cross_attention"], 64, 16, rounds=2)
    assert block["seconds_ratio"] == 1
    assert whole["seconds"] > 0


def test_layer_costs_depend_on_the_switches():
    with_phi, without = (
        layer_costs(["gemini_fusion"], 64, 16, 0, {"phi": phi})[1]["macs"] for phi in (True, False)
    )
    assert with_phi - without == 2 * 16 * 3 * 64**2  # W1: 2C -> C and W2: C -> C, both directions


def test_check_fusions_with_all_returns_every_fusion_once():
    assert check_fusions(["sum", "all", "sum"]) == list(FUSIONS)
    assert check_fusions(["sum", "concat", "sum"]) == ["sum", "concat"]


def test_network_overrides_share_the_encoder():
    assert network_overrides("sum", "small", {}) == {"share": True, "fusion": "sum"}
    with pytest.raises(InputError, match="share"):
        network_overrides("sum", "small", {"share": False})


@pytest.mark.parametrize("fields", [{"share": True}, {"dim": 64}, {"nonsense": 1}])
def test_layer_costs_with_another_option_refuse_it(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        layer_costs(["sum"], 64, 16, 0, fields)
