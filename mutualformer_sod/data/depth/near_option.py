"""Values of ``--near``: the polarity of each set."""

from collections.abc import Sequence

from mutualformer_sod.data.discovery.benchmarks import matching_names
from mutualformer_sod.errors import InputError

_SIDES = ("auto", "white", "black")


def parse_near(items: Sequence[str]) -> tuple[str, dict[str, str], bool]:
    """Parse the values of ``--near``: auto, white, black, strict, SET=white, SET=black.

    Returns:
        The polarity of sets that are not named ("auto", "white" or "black"), that of the named
        sets, and whether a weak decision stops the run.

    Raises:
        InputError: any other value, or values that contradict each other.
    """
    defaults: set[str] = set()
    by_set: dict[str, str] = {}
    for item in items:
        name, equals, value = item.rpartition("=")
        if (value not in _SIDES and item != "strict") or bool(name) != bool(equals):
            raise InputError(
                f"--near {item}: unknown value."
                " Fix: pass auto, white, black, strict, SET=white or SET=black"
            )
        if not name:
            defaults.add(item)
        elif by_set.setdefault(name, value) != value:
            raise InputError(f"--near: {name} is both {by_set[name]} and {value}. Fix: pass one")
    strict = "strict" in defaults
    sides = defaults - {"strict", "auto"} or {"auto"}
    if len(sides) > 1 or (strict and sides != {"auto"}):
        raise InputError(
            f"--near {' '.join(sorted(defaults))} contradict each other. Fix: pass one"
        )
    return sides.pop(), by_set, strict


def chosen_sides(names: Sequence[str], near: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Find the value of ``--near`` for each set.

    Returns:
        "auto", "white" or "black" by the name of the set, and whether a weak decision stops.

    Raises:
        InputError: as `parse_near`; a set that is not among ``names``.
    """
    default, by_set, strict = parse_near(near)
    sides = dict.fromkeys(names, default)
    for asked, side in by_set.items():
        named = matching_names(asked, names)
        if len(named) != 1:
            problem = "names several sets" if named else "names no set"
            raise InputError(
                f"--near {asked}={side} {problem}. Fix: name one of {', '.join(names)}"
            )
        sides[named[0]] = side
    return sides, strict
