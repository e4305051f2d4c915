"""Option names of earlier versions are still read."""

import pytest

from mutualformer_sod.cli.train import make_parser
from mutualformer_sod.configs.model import ModelConfig, make_config
from mutualformer_sod.configs.switches import parse_fields
from mutualformer_sod.errors import InputError


def test_weights_with_old_names_have_the_same_configuration():
    config = make_config("tiny-scratch", feature_blocks=(2, 6))
    stored = config.to_dict()
    stored["encoder"]["taps"] = stored["encoder"].pop("feature_blocks")
    stored["fusion"]["blocks_per_tap"] = stored["fusion"].pop("blocks_per_level")
    assert ModelConfig.from_dict(stored) == config


def test_old_names_of_model_options_are_accepted():
    old = make_config("tiny-scratch", taps=(2, 6), blocks_per_tap=2)
    assert old == make_config("tiny-scratch", feature_blocks=(2, 6), blocks_per_level=2)


def test_old_name_is_accepted_on_the_command_line():
    assert parse_fields(["taps=[1,2]"]) == {"feature_blocks": [1, 2]}


def test_weights_with_the_removed_attention_stride_have_the_same_configuration():
    config = make_config("tiny-scratch")
    stored = config.to_dict()
    stored["fusion"]["attention_stride"] = 16
    assert ModelConfig.from_dict(stored) == config
    with pytest.raises(InputError, match="unknown model option 'attention_stride'"):
        make_config("tiny-scratch", attention_stride=16)


@pytest.mark.parametrize("flag", ["--min-lr-ratio", "--min-lr-share"])
def test_old_flag_is_accepted(flag):
    arguments = make_parser().parse_args(["--data", "d", "--output", "o", flag, "0.1"])
    assert arguments.min_lr_ratio == 0.1
