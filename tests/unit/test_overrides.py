"""The options that turn a preset into a stored configuration."""

import pytest

from mutualformer_sod.configs.fusion import fusion_methods
from mutualformer_sod.configs.model import ModelConfig, list_presets, make_config, overrides_of


@pytest.mark.parametrize("preset", list_presets())
def test_overrides_of_a_preset_are_empty(preset):
    assert overrides_of(make_config(preset)) == {}


@pytest.mark.parametrize("fusion", fusion_methods())
def test_overrides_rebuild_a_stored_configuration(fusion):
    options = {
        "fusion": fusion,
        "image_size": 96,
        "feature_blocks": (2, 6),
        "dim": 48,
        "decoder_width": 32,
    }
    config = make_config("tiny-scratch", **options)
    stored = ModelConfig.from_dict(config.to_dict())
    assert make_config(stored.preset, **overrides_of(stored)) == config
