"""Values of ``--set``, as a shell passes them."""

import pytest

from mutualformer_sod.configs.switches import parse_fields


@pytest.mark.parametrize(
    ("text", "value"),
    [(".5", 0.5), ("-.5", -0.5), ("5", 5), ("1e-3", 1e-3), ("true", True), ("[1,.5", "[1,.5")],
)
def test_set_value_is_parsed_like_a_number_of_a_flag(text, value):
    assert parse_fields([f"epsilon={text}"]) == {"epsilon": value}
