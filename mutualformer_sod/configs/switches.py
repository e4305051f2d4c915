"""Declaration of model options: one dataclass field with its default and legal values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from mutualformer_sod.configs.checks import check, check_types


def switch(
    default: Any,
    want: str = "",
    accepts: Callable[[Any], bool] | None = None,
    *,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field with its legal values.

    Args:
        default: value if none is given.
        want: legal values in words.
        accepts: test of a value for ``want``.
        choices: legal words, in place of ``want`` and ``accepts``.
    """
    if choices:
        want, accepts = f"one of {', '.join(choices)}", choices.__contains__
    return dataclasses.field(default=default, metadata={"want": want, "accepts": accepts})


@dataclasses.dataclass(frozen=True)
class Switches:
    """Base of dataclasses that check the fields declared by ``switch``.

    Raises:
        InputError (a ValueError): a field has another type, or an illegal value.
    """

    def __post_init__(self) -> None:
        check_types(self)
        for item in dataclasses.fields(self):
            accepts, value = item.metadata.get("accepts"), getattr(self, item.name)
            if accepts is not None:
                check(accepts(value), item.name, value, item.metadata["want"])
