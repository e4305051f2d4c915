"""Comparison of fusions: variants and output folder."""

import json
from pathlib import Path

import pytest
from fused_models import FUSIONS

from mutualformer_sod.configs.model import make_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import plan
from mutualformer_sod.experiments.plan import Options
from mutualformer_sod.experiments.variants import (
    CONTROLS,
    check_variants,
    parse_variants,
)


def names(variants):
    return [variant.name for variant in variants]


# What is compared.


def test_parse_variants_expands_all_and_controls():
    assert names(parse_variants(["all"])) == list(FUSIONS)
    assert set(names(parse_variants(["controls"]))) == set(CONTROLS)


def test_parse_variants_with_repeated_name_keeps_one():
    assert names(parse_variants(["sum", "all", "sum"]))[0] == "sum"
    assert len(parse_variants(["sum", "all", "sum"])) == len(FUSIONS)


def test_parse_variants_of_own_variant_sets_its_fields():
    (variant,) = parse_variants(
        ["mutualformer:steps=2,feature_blocks=[1,2],form=paper,modality=rgb"]
    )
    assert variant.fields == {
        "fusion": "mutualformer",
        "steps": 2,
        "feature_blocks": [1, 2],
        "form": "paper",
    }
    assert variant.modality == "rgb"


@pytest.mark.parametrize("variant", parse_variants(["all", "controls"]), ids=lambda v: v.name)
def test_every_variant_has_a_shared_encoder(variant):
    config = make_config("small", **variant.overrides({"epsilon": 0.5}))
    assert config.encoder.share
    assert config.fusion.fusion == variant.fields["fusion"]


@pytest.mark.parametrize("control", CONTROLS.values(), ids=lambda v: v.name)
def test_every_control_differs_from_its_fusion(control):
    (fusion,) = parse_variants([control.fields["fusion"]])
    own, other = (make_config("small", **v.overrides({})).fusion for v in (control, fusion))
    if "head" in control.fields:  # which may be what "auto" stands for
        assert own.is_ensemble != other.is_ensemble
    assert (own, control.modality) != (other, fusion.modality)


def test_parse_variants_orders_matching_variants_last():
    order = names(parse_variants(["random_exchange", "sum", "token_fusion"]))
    assert order == ["sum", "token_fusion", "random_exchange"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("late", "pass all, controls"),
        ("sum:steps", "FIELD=VALUE"),
        ("sum:share=false", "share cannot be set"),
        ("sum:image_size=64", "`size`"),
        ("sum:modality=x", "rgb, depth or both"),
    ],
)
def test_parse_variants_with_unknown_name_raises(name, part):
    with pytest.raises(InputError, match=part):
        parse_variants([name])


def test_check_variants_with_unknown_field_names_the_variant():
    with pytest.raises(InputError, match=r"`fusions` sum:setps=2: .*steps"):
        check_variants(parse_variants(["sum:setps=2"]), "tiny-scratch", {})


def test_check_variants_checks_the_head_of_listed_fusions_only():
    check_variants(parse_variants(["sum", "concat"]), "tiny-scratch", {"head": "ensemble"})
    with pytest.raises(InputError, match="`fusions` mutualformer: head"):
        check_variants(
            parse_variants(["sum", "mutualformer"]), "tiny-scratch", {"head": "ensemble"}
        )


def test_parse_variants_with_shared_folder_raises():
    with pytest.raises(InputError, match="share a folder"):
        parse_variants(["sum:form=a:b", "sum:form=a b"])


# The folder.


def test_claim_folder_with_other_options_raises(tmp_path):
    options, variants = Options(fields={"dim": 32}), parse_variants(["sum"])
    plan.claim_folder(tmp_path, options, variants, 2)
    (tmp_path / plan.DATA_FILE).touch()
    plan.claim_folder(tmp_path, options, variants, 2)
    with pytest.raises(InputError, match=r"`lr` 0\.001, but `lr` is now 0\.01"):
        plan.claim_folder(tmp_path, Options(fields={"dim": 32}, lr=0.01), variants, 2)
    with pytest.raises(InputError, match="`fields` dim=32, but `fields` is now"):
        plan.claim_folder(tmp_path, Options(), variants, 2)


@pytest.mark.parametrize("name", ["init_weights", "estimated_depth"])
def test_claim_folder_with_changed_input_names_it(tmp_path, name):
    path = tmp_path / name
    file = path if name == "init_weights" else path / "A" / "x.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"one")
    options = Options("fusion-study", data=("d",), **{name: str(path)})
    output = tmp_path / "out"
    plan.claim_folder(output, options, parse_variants(["sum"]), 1)
    (output / plan.DATA_FILE).touch()
    plan.claim_folder(output, options, parse_variants(["sum"]), 1)
    file.write_bytes(b"another")
    with pytest.raises(InputError, match=f"{name}: its content has changed since"):
        plan.claim_folder(output, options, parse_variants(["sum"]), 1)


def test_claim_folder_before_the_data_accepts_other_options(tmp_path):
    plan.claim_folder(tmp_path, Options(), [], 1)
    plan.claim_folder(tmp_path, Options(epochs=2), [], 1)
    assert plan.read_plan(tmp_path)["options"]["epochs"] == 2


def test_claim_folder_adds_fusions_and_seeds(tmp_path):
    plan.claim_folder(tmp_path, Options(), parse_variants(["sum"]), 3)
    plan.claim_folder(tmp_path, Options(), parse_variants(["concat"]), 1)
    found = plan.read_plan(tmp_path)
    assert found["seeds"] == {"sum": 3, "concat": 1}


@pytest.mark.parametrize("damage", [{"seeds": 2}, {"code": None}, {"inputs": None}])
def test_claim_folder_with_damaged_plan_raises(tmp_path, damage):
    whole = {"options": {}, "seeds": {"sum": 2}, "code": {}, "inputs": {}}
    (tmp_path / plan.PLAN_FILE).write_text(json.dumps(whole | damage))
    with pytest.raises(InputError, match=r"comparison\.json: damaged"):
        plan.claim_folder(tmp_path, Options(), parse_variants(["sum"]), 1)


@pytest.mark.parametrize("changed", ["models/block.py", "torch", "configs/recipes/tiny.json"])
def test_claim_folder_with_other_code_names_the_file(tmp_path, changed):
    plan.claim_folder(tmp_path, Options(), parse_variants(["sum"]), 1)
    (tmp_path / plan.DATA_FILE).touch()
    record = json.loads((tmp_path / plan.PLAN_FILE).read_text())
    record["code"][changed] = "0123"
    (tmp_path / plan.PLAN_FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"started with other code: {changed}"):
        plan.claim_folder(tmp_path, Options(), parse_variants(["concat"]), 1)


def test_alone_in_foreign_folder_raises(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="no comparison"), plan.alone_in(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_alone_in_used_folder_raises(tmp_path):
    with (
        plan.alone_in(tmp_path),
        pytest.raises(InputError, match="another process"),
        plan.alone_in(tmp_path),
    ):
        pass


def test_runs_of_orders_by_seed():
    runs = plan.runs_of(Path("x"), parse_variants(["sum", "concat"]), 2)
    assert [run.name for run in runs] == [
        *("sum seed 0", "concat seed 0"),
        *("sum seed 1", "concat seed 1"),
    ]


def test_train_config_differs_in_seed_modality_and_folder_only():
    sources = {"data": ["d"], "sets": ["A"], "near": ["A=white"]}
    runs = plan.runs_of(
        Path("x"), parse_variants(["sum", "depth_only", "rgb_only", "gemini_fusion"]), 2
    )
    configs = [vars(plan.train_config(Options(), run, sources, {})) for run in runs]
    differing = {name for c in configs for name in c if c[name] != configs[0][name]}
    assert differing == {"seed", "modality", "output"}
    assert configs[0]["holdout"] == 0


def test_train_config_has_the_options_of_the_recipe():
    (run,) = plan.runs_of(Path("x"), parse_variants(["sum"]), 1)
    options = Options(recipe="fusion-study", data=("d",), limit=5, lr=1e-2)
    config = plan.train_config(options, run, {"data": ["d"], "sets": ["A"], "near": []}, {})
    assert (config.invent_depth, config.limit, config.lr, config.holdout) == (1.0, 5, 1e-2, 0)
