"""tools/benchmark.py and what it counts."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tool_runs import ROOT, SMALL_MODEL, error_line, run_tool
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mutualformer_sod.benchmark.speed import Contestant, Settings, count_macs
from mutualformer_sod.models import MutualFormerBlock


def test_products_of_one_block_are_those_counted_by_hand():
    tokens, dim, heads = 36, 32, 4
    block = MutualFormerBlock(dim, heads, attention="dense").eval()
    inputs = [torch.rand(1, tokens, 2 * dim), torch.rand(1, tokens, dim)]
    qkv = 3 * tokens * dim * 3 * dim  # rgb, depth, fused
    aggregates = 3 * tokens * 2 * dim * dim  # rgb, depth, joint
    mlp = 2 * tokens * dim * 4 * dim
    projection = tokens * dim * dim
    # q k^T of rgb, depth, fused; W v of the fused stream; W_r and W_d on both modalities' values;
    # W_d^T and W_r^T on what they gave of the other's.
    attention = (3 + 1 + 4 + 2) * tokens * tokens * dim
    expected = qkv + aggregates + mlp + projection + attention
    assert count_macs(block, inputs) == {"total": expected}


@pytest.mark.parametrize("instructions", ["avx2", "default"])
def test_count_macs_under_other_instruction_sets_is_the_same(instructions):
    code = "\n".join(
        (
            "import json, sys, torch",
            "from mutualformer_sod.benchmark.speed import Contestant, Settings",
            "macs = Contestant('tiny-scratch', Settings(64)).macs",
            "json.dump((torch.backends.cpu.get_cpu_capability(), macs), sys.stdout)",
        )
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": instructions}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    capability, macs = json.loads(done.stdout)
    assert capability.lower() == instructions or capability == "NO AVX"
    assert macs == Contestant("tiny-scratch", Settings(size=64)).macs


def test_count_macs_with_any_attention_kernel_is_the_same():
    query = torch.rand(1, 2, 36, 8)
    counts = []
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend):
            counts.append(count_macs(_Attention(), [query])["total"])
    assert counts == [2 * 2 * 36 * 36 * 8] * 2


class _Attention(nn.Module):
    def forward(self, query):
        return nn.functional.scaled_dot_product_attention(query, query, query)


def test_macs_of_a_convolution_and_a_linear_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 36, 5))
    counted = count_macs(model, [torch.rand(2, 3, 6, 6)])
    assert counted["total"] == 2 * (36 * 3 * 8 * 9 + 8 * 36 * 5)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


SHORT = (
    *("--preset", "tiny-scratch", "--size", 64),
    *("--rounds", 1, "--device", "cpu", "--clock", "cpu"),
)


def test_networks_are_timed_by_the_clock_of_the_process(tmp_path, threads):
    threads(1)
    done = run_tool("benchmark", *SHORT, "--set", *SMALL_MODEL, "--json", tmp_path / "figures.json")
    assert done.status == 0, done.error
    assert json.loads((tmp_path / "figures.json").read_text())["settings"]["clock"] == "cpu"
    assert "cpu time" in done.output


def test_clock_of_the_process_is_refused_with_several_threads(threads):
    threads(2)
    assert "OMP_NUM_THREADS=1" in error_line(run_tool("benchmark", *SHORT))


def test_parts_add_up_to_the_whole_network():
    contestant = Contestant("tiny-scratch", Settings(size=64))
    assert (
        sum(contestant.macs[part] for part in ("encoder", "fusion", "decoder"))
        == (contestant.macs["total"])
    )
    seconds = contestant.run_in_parts()
    assert set(seconds) == {"encoder", "fusion", "decoder", "rest"}
    assert min(seconds.values()) > 0


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "figures.json"
    done = run_tool(
        "benchmark",
        *("--compare", "2x timm:vit_tiny_patch16_224", "tiny-scratch", "--size", 64, "--rounds", 2),
        *("--device", "cpu", "--set", *SMALL_MODEL, "--json", path),
    )
    assert done.status == 0, done.error
    return done.output, json.loads(path.read_text())


def test_networks_and_bare_backbones_stand_side_by_side(comparison):
    output, figures = comparison
    first, second = figures["results"]
    assert first["times_the_first"] == 1
    ratio = second["seconds"]["fastest"] / first["seconds"]["fastest"]
    assert second["times_the_first"] == pytest.approx(ratio)
    assert f"{ratio:.2f}" in output
    assert "fusion" in output


def test_figures_carry_machine_and_units(comparison):
    _, figures = comparison
    assert figures["machine"]["torch_threads"] >= 1
    assert figures["settings"]["size"] == 64
    for result in figures["results"]:
        assert result["flops"]["total"] == 2 * result["macs"]["total"]
        assert result["seconds"]["fastest"] <= result["seconds"]["median"]
        assert result["images_per_second"] == pytest.approx(1 / result["seconds"]["median"])
        assert 0 < result["peak_memory_mib"] < 500


def test_two_backbones_cost_twice_one(comparison):
    _, figures = comparison
    one = Contestant("timm:vit_tiny_patch16_224", Settings(size=64))
    assert figures["results"][0]["macs"]["total"] == 2 * one.macs["total"]


def test_layers_of_fusions_stand_beside_the_block(tmp_path):
    path = tmp_path / "figures.json"
    done = run_tool(
        "benchmark",
        *("--fusions", "all", "--dim", 64, "--tokens", 9, 16, "--rounds", 1, "--json", path),
    )
    assert done.status == 0, done.error
    figures = json.loads(path.read_text())
    assert list(figures["tokens"]) == ["9", "16"]
    for rows in figures["tokens"].values():
        assert rows[0]["seconds_ratio"] == 1
        for row in rows:
            assert row["name"] in done.output


def test_networks_differ_in_nothing_but_their_fusion(tmp_path):
    path = tmp_path / "figures.json"
    done = run_tool(
        "benchmark",
        *("--fusions", "sum", "gemini_fusion", "--preset", "tiny-scratch"),
        *("--size", 64, "--rounds", 1),
        *("--device", "cpu", "--json", path, "--set", "head=merge", *SMALL_MODEL),
    )
    assert done.status == 0, done.error
    plain, inside = json.loads(path.read_text())["results"]
    assert [plain["name"], inside["name"]] == ["sum", "gemini_fusion"]
    for part in ("fusion", "decoder"):
        assert plain["macs"][part] == inside["macs"][part]
    assert plain["macs"]["encoder"] < inside["macs"]["encoder"]
    assert plain["parameters"] < inside["parameters"]


def test_shipped_weights_can_be_measured():
    weights = ROOT / "weights" / "mutualformer_tiny.safetensors"
    done = run_tool("benchmark", "--weights", weights, "--rounds", 1, "--device", "cpu")
    assert done.status == 0, done.error
    assert "decoder" in done.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--preset", "huge"], "tiny, tiny-scratch"),
        (["--compare", "timm:vit_nano"], "vit_nano"),
        (["--compare", "two timm:vit_tiny_patch16_224"], "2x timm"),
        (["--preset", "tiny-scratch", "--size", "8"], "--size: 8"),
        (["--preset", "tiny-scratch", "--amp", "half"], "--amp"),
        (["--preset", "tiny-scratch", "--device", "tpu"], "--device"),
        (["--preset", "tiny-scratch", "--set", "epsilon"], "FIELD=VALUE"),
        (["--preset", "tiny-scratch", "--set", "epsilonn=1"], "epsilon"),
        (["--weights", "no.safetensors"], "no.safetensors"),
        (["--weights", "no.pth"], ".safetensors"),
        (["--rounds", "0", "--preset", "tiny-scratch"], "--rounds: 0"),
        ([], "--preset"),
        (["--fusions", "fussion"], "mutualformer, channel_exchange"),
        (["--fusions", "sum", "--weights", "x.safetensors"], "--weights"),
        (["--fusions", "sum", "--compare", "tiny-scratch"], "--compare"),
        (["--fusions", "sum", "--dim", "100"], "--dim: 100"),
        (["--fusions", "sum", "--tokens", "0"], "--tokens: 0"),
        (["--fusions", "sum", "--size", "64"], "--size"),
        (["--fusions", "sum", "--set", "image_size=64"], "image_size"),
        (["--fusions", "sum", "--preset", "tiny-scratch", "--set", "share=false"], "share"),
        (["--preset", "tiny-scratch", "--tokens", "9"], "--tokens"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_line(arguments, word):
    assert word in error_line(run_tool("benchmark", *arguments))
