"""Parse the values of ``--near``, which set the polarity of data sets."""

from collections.abc import Sequence

from mutualformer_sod.data.depth.disparity import DISPARITY
from mutualformer_sod.data.discovery.benchmarks import matching_names
from mutualformer_sod.errors import InputError

POLARITIES = ("white", "black", DISPARITY)


def parse_near(items: Sequence[str]) -> tuple[str, dict[str, str], bool]:
    """Parse the values of ``--near``: strict, auto, white, black, disparity, or SET=VALUE.

    Returns:
        The value ("auto", "white", "black" or "disparity") for sets that are not named, the values
        of the named sets, and whether a weak decision is refused ("strict").

    Raises:
        InputError: a value is unknown, or two values contradict each other.
    """
    defaults: set[str] = set()
    by_set: dict[str, str] = {}
    for item in items:
        name, equals, value = item.rpartition("=")
        if (value not in ("auto", *POLARITIES) and item != "strict") or bool(name) != bool(equals):
            remedy = "pass strict, or auto, white, black or disparity, also as SET=white"
            raise InputError(f"--near {item}: the value is unknown. Fix: {remedy}")
        if not name:
            defaults.add(item)
        elif by_set.setdefault(name, value) != value:
            raise InputError(f"--near: {name} is both {by_set[name]} and {value}. Fix: pass one")
    if len(defaults - {"auto"}) > 1:
        passed = " ".join(sorted(defaults))
        raise InputError(f"--near: {passed} contradict each other. Fix: pass one value")
    default = next(iter(defaults - {"strict", "auto"}), "auto")
    return default, by_set, "strict" in defaults


def chosen_sides(
    names: Sequence[str], near: Sequence[str], has_depth: bool
) -> tuple[dict[str, str], bool]:
    """Find the value of ``--near`` for each set, and whether a weak decision is refused.

    ``has_depth`` is whether any set has depth or other maps.

    Raises:
        InputError: `parse_near` refuses a value, a set in ``near`` does not match exactly one of
            ``names``, or ``near`` sets a polarity although no set has depth.
    """
    default, by_set, strict = parse_near(near)
    sides = dict.fromkeys(names, default)
    for asked, side in by_set.items():
        named = matching_names(asked, names)
        if len(named) != 1:
            problem = "names several sets" if named else "names no set"
            known = ", ".join(names)
            raise InputError(f"--near {asked}={side} {problem}. Fix: name one of {known}")
        sides[named[0]] = side
    if not has_depth and any(side != "auto" for side in sides.values()):
        raise InputError(f"--near {' '.join(near)} has no effect: no set has depth. Fix: omit it.")
    return sides, strict
