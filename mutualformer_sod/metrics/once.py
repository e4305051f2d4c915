"""Compute a quantity once for each ground truth or pair, and share it among the metrics."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary


def once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate a function of one object: its result is stored as long as the object lives."""
    results: WeakKeyDictionary = WeakKeyDictionary()

    @wraps(function)
    def stored(owner: Any) -> Any:
        if owner not in results:
            results[owner] = function(owner)
        return results[owner]

    return stored
