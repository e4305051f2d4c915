"""Precision-recall, F and E curves of an evaluation: one .npz, and figures of each set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing

Curves = dict[str, dict[str, dict[str, np.ndarray]]]  # set -> method -> curve -> (256,)

THRESHOLDS = np.arange(255, -1, -1)
# Told apart by colour-blind readers, and in print by the line style.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLES = ("-", "--", "-.", ":")


def save_curves(path: Path, curves: Curves) -> None:
    """Write all curves: keys "<set>/<method>/<precision|recall|f|e>", and "thresholds" 255..0."""
    arrays = {
        f"{set_name}/{method}/{name}": curve
        for set_name, methods in curves.items()
        for method, by_name in methods.items()
        for name, curve in by_name.items()
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, thresholds=THRESHOLDS, **arrays)


def plot_curves(folder: Path, curves: Curves, protocol: str) -> list[Path]:
    """Draw one figure a set, as PDF and PNG: precision against recall, F and E against threshold.

    Raises:
        InputError: matplotlib is not installed.
    """
    plt = _pyplot()
    paths = []
    for set_name, methods in curves.items():
        figure, (pr, f, e) = plt.subplots(1, 3, figsize=(12.5, 4.2), layout="constrained")
        for i, (method, curve) in enumerate(methods.items()):
            style = {
                "color": _COLOURS[i % len(_COLOURS)],
                "linestyle": _STYLES[i // len(_COLOURS) % len(_STYLES)],
                "linewidth": 1.6,
                "label": _without_mathematics(method),
            }
            pr.plot(curve["recall"], curve["precision"], **style)
            f.plot(THRESHOLDS, curve["f"], **style)
            e.plot(THRESHOLDS, curve["e"], **style)
        pr.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.005))
        f.set(xlabel="threshold", ylabel="F-measure", xlim=(0, 255), ylim=(0, 1.005))
        e.set(xlabel="threshold", ylabel="E-measure", xlim=(0, 255), ylim=(0, 1.005))
        for axes in (pr, f, e):
            axes.grid(alpha=0.3)
        pr.legend(loc="lower left", fontsize=9, ncols=1 + len(methods) // 9)
        figure.suptitle(f"{_without_mathematics(set_name)}: mean curves over the images")
        figure.supxlabel(protocol, fontsize=7, color="0.35")
        for suffix in (".pdf", ".png"):
            paths.append(folder / f"{set_name.replace('/', '_')}{suffix}")
            with replacing(paths[-1]) as temporary:
                figure.savefig(temporary, dpi=150)
        plt.close(figure)
    return paths


def _without_mathematics(name: str) -> str:
    """The name as matplotlib shall draw it: a dollar sign opens no formula."""
    return name.replace("$", r"\$")


def check_plotting() -> None:
    """Refuse plots before any work is done where matplotlib is not installed.

    Raises:
        InputError: matplotlib is not installed.
    """
    _pyplot()


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        raise InputError(
            "--plots needs matplotlib: pip install 'mutualformer_sod[plot]', or leave the flag out"
        ) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
