"""Save the curves of an evaluation to one .npz file, and draw the figures of each set."""

import importlib.util
from pathlib import Path

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import escaped, replacing
from mutualformer_sod.metrics.registry import of_kind
from mutualformer_sod.metrics.results import Curves

THRESHOLDS = np.arange(255, -1, -1)
# Distinct for colour-blind readers; further methods differ in line style.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# Fonts for characters that matplotlib's own font lacks, in the names of methods and sets.
_CJK_FONTS = ("Noto Sans CJK SC", "Microsoft YaHei", "SimHei", "PingFang SC", "WenQuanYi Zen Hei")
_STYLES = ("-", "--", "-.", ":")


def save_curves(path: Path, curves: Curves) -> None:
    """Write all curves as "<set>/<method>/<curve>", and the thresholds 255..0 as "thresholds"."""
    arrays = {
        escaped(f"{set_name}/{method}/{name}"): curve
        for set_name, methods in curves.items()
        for method, by_name in methods.items()
        for name, curve in by_name.items()
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, thresholds=THRESHOLDS, **arrays)


def plot_curves(folder: Path, curves: Curves, protocol: str) -> list[Path]:
    """Draw a figure of each set, as PDF and PNG, with precision-recall and threshold curves.

    Raises:
        InputError: matplotlib is not installed.
    """
    plt = load_pyplot()
    drawn = [metric for metric in of_kind("curve") if metric.summary]
    paths = []
    for set_name, methods in curves.items():
        size = (12.5 * (1 + len(drawn)) / 3, 4.2)
        figure, (pr, *panels) = plt.subplots(1, 1 + len(drawn), figsize=size, layout="constrained")
        for i, (method, curve) in enumerate(methods.items()):
            style = {
                "color": _COLOURS[i % len(_COLOURS)],
                "linestyle": _STYLES[i // len(_COLOURS) % len(_STYLES)],
                "linewidth": 1.6,
                "label": without_mathematics(method),
            }
            pr.plot(curve["recall"], curve["precision"], **style)
            for axes, metric in zip(panels, drawn, strict=True):
                axes.plot(THRESHOLDS, curve[metric.name], **style)
        pr.set(xlabel="recall", ylabel="precision", xlim=(0, 1))
        for axes, metric in zip(panels, drawn, strict=True):
            axes.set(xlabel="threshold", ylabel=f"{metric.label}-measure", xlim=(0, 255))
        for axes in (pr, *panels):
            axes.set_ylim(0, 1.005)
            axes.grid(alpha=0.3)
        pr.legend(loc="lower left", fontsize=9, ncols=1 + len(methods) // 9)
        figure.suptitle(f"{without_mathematics(set_name)}: mean curves over the images")
        figure.supxlabel(protocol, fontsize=7, color="0.35")
        paths += save_figure(figure, folder, set_name.replace("/", "_"))
    return paths


def save_figure(figure, folder: Path, name: str) -> list[Path]:
    """Write a figure of matplotlib as PDF and PNG, close the figure, and return the paths."""
    paths = [folder / f"{name}{suffix}" for suffix in (".pdf", ".png")]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)
    load_pyplot().close(figure)
    return paths


def without_mathematics(name: str) -> str:
    """Escape dollar signs, which begin a formula in matplotlib, and bytes that are not Unicode."""
    return escaped(name).replace("$", r"\$")


def check_matplotlib(flags: str) -> None:
    """Raise an InputError that names ``flags`` if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(f"{flags}: matplotlib is not installed. Fix: pip install -e '.[plot]'.")


def load_pyplot():
    """Return pyplot with a backend for files, or raise InputError without matplotlib."""
    check_matplotlib("--plots")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    plt.rcParams["font.family"] = ["DejaVu Sans", *(f for f in _CJK_FONTS if f in installed)]
    return plt
