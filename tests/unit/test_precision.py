"""What --amp means on a CPU, and what a run makes of it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.configs.recipes import RECIPES, make_train_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.plan import Options, claim_folder
from mutualformer_sod.experiments.runs import resolve_amp
from mutualformer_sod.models.device import cpu_computes_in, pick_amp
from mutualformer_sod.training.run import settle_amp

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@pytest.fixture
def avx2(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.fixture
def unlimited(monkeypatch):
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("limit", ["AVX2", "avx2_vnni_2", "AVX512_CORE", "AVX512_CORE_VNNI"])
def test_auto_onednn_limit_is_off(name, limit, unlimited, monkeypatch):
    monkeypatch.setenv(name, limit)
    assert pick_amp("auto", CPU) == "off"


@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_auto_torch_limit_is_off(capability, unlimited):
    code = (
        "import torch; from mutualformer_sod.models.device import pick_amp;"
        "print(pick_amp('auto', torch.device('cpu')))"
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.stdout.strip() == "off", done.stderr


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_cpu_computes_in_flag_is_true(name, unlimited):
    words = set()
    if Path("/proc/cpuinfo").is_file():
        words = set(Path("/proc/cpuinfo").read_text().split())
    native = bool(words & {f"avx512_{name}", f"amx_{name}"})
    limited = "AVX512" not in torch.backends.cpu.get_cpu_capability()
    assert cpu_computes_in(name) == (native and not limited)


def test_auto_cpu_flags_decide(unlimited):
    assert pick_amp("auto", CPU) == ("bf16" if cpu_computes_in("bf16") else "off")


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_pick_amp_unsupported_type_warns(name, avx2, caplog):
    assert pick_amp(name, CPU) == name
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"--amp {name}" in record.message
    assert "4 to 5 times" in record.message


@pytest.mark.parametrize("name", ["auto", "off"])
def test_pick_amp_float32_does_not_warn(name, avx2, caplog):
    assert pick_amp(name, CPU) == "off"
    assert not caplog.records


def test_pick_amp_unknown_type_is_refused():
    with pytest.raises(InputError, match="int4"):
        pick_amp("int4", CPU)


@pytest.mark.parametrize("recipe", [None, *RECIPES])
def test_recipe_amp_is_auto(recipe):
    assert make_train_config(recipe).amp == "auto"


def test_predictor_default_amp_is_auto(avx2):
    assert Predictor(build_model("tiny-scratch"), device="cpu").amp == "off"


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_resume_other_machine_keeps_precision(amp, avx2):
    assert settle_amp("auto", CPU, {"amp": amp}) == amp


def test_resume_precision_unlike_auto_is_reported(avx2, caplog):
    settle_amp("auto", CPU, {"amp": "bf16"})
    assert "continues with --amp bf16" in caplog.text


def test_resume_other_precision_is_refused():
    with pytest.raises(InputError, match="started with off"):
        settle_amp("bf16", CPU, {"amp": "off"})


@pytest.mark.parametrize(("flag", "amp"), [("auto", "off"), ("off", "off"), ("bf16", "bf16")])
def test_resume_old_run_keeps_precision_of_flag(flag, amp):
    state = {"options": {"train": {"amp": flag}}}
    assert settle_amp("auto", CPU, state) == amp


def test_comparison_other_machine_keeps_precision(tmp_path, avx2, caplog):
    begun = resolve_amp(tmp_path, Options(amp="bf16"), "cpu")
    claim_folder(tmp_path, begun, [], 1)
    assert resolve_amp(tmp_path, Options(), "cpu").amp == "bf16"
    assert "continues with amp bf16, as at the start" in caplog.text


def test_comparison_auto_is_decided_once(tmp_path, avx2):
    assert resolve_amp(tmp_path, Options(), "cpu").amp == "off"
