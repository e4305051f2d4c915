"""Options, runs and output folder of a comparison."""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutualformer_sod.configs.model import DEFAULT_PRESET
from mutualformer_sod.configs.recipes import RECIPES, make_train_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.code_state import code_of_results, inputs_of
from mutualformer_sod.experiments.variants import Variant
from mutualformer_sod.files import write_json
from mutualformer_sod.output_folder import OutputFolder, changed

PLAN_FILE, DATA_FILE = "comparison.json", "data.json"
SCORES_FILE = "scores/scores.json"
# Training options that are the same for all runs and differ from the training defaults.
_RECIPE: dict[str, Any] = {
    "holdout": 0.0,  # no validation images: the last epoch is scored
    "multi_scale": False,
    "cache": "disk",
}

# Options that TrainConfig also has.
_SHARED = ("preset", "epochs", "lr", "batch_size", "size", "amp", "limit", "init_weights")
# Options without effect on generated scenes.
_OF_DATA = ("sets", "test_data", "near", "limit", "estimated_depth", "holdout", "holdout_sets")
RIGHT = "right"
# Kinds of misleading depth in a test.
DEPTHS = {
    "hidden": "no depth",
    "exchanged": "the depth of another image of the set",
    "constant": "the same depth in all pixels except two (a fully constant map counts as missing)",
    "noise": "random numbers",
}


@dataclass(frozen=True)
class Options:
    """Options that affect the scores, and do not change after the start of a comparison.

    Options without a comment are options of ``TrainConfig``.

    Raises:
        InputError: a value is illegal, a file is missing, or an option has no effect.
    """

    recipe: str | None = None  # recipe whose training options all runs have; None for the defaults
    preset: str = DEFAULT_PRESET
    epochs: int = 6
    lr: float = 1e-3
    batch_size: int = 16
    size: int | None = None
    amp: str = "auto"
    fields: dict[str, Any] = field(default_factory=dict)  # options of the model, for all variants
    init_weights: str | None = None  # weights from which every encoder starts
    data: tuple[str, ...] = ()  # folders of sets; empty for generated scenes
    sets: tuple[str, ...] = ()  # names of the sets to use; empty for all
    test_data: tuple[str, ...] = ()  # folders of test sets; empty to split the sets of ``data``
    near: tuple[str, ...] = ()
    limit: int | None = None
    estimated_depth: str | None = None
    test_limit: int | None = None  # test on the first images of each set; None for all
    test_depth: tuple[str, ...] = ()  # misleading depth to test with, too: names of `DEPTHS`
    # Ratio of each set of ``data`` to test on. None: 0.2 without ``test_data``, else 0. With
    # ``test_data`` only sets with depth are split.
    holdout: float | None = None
    holdout_sets: tuple[str, ...] = ()  # sets to split; empty for all that ``holdout`` splits
    scenes: int = 1000  # number of generated scenes for training, without ``data``
    test_scenes: int = 120  # number of generated scenes for the test, without ``data``

    def __post_init__(self) -> None:
        for name, is_legal, remedy in (
            ("holdout", self.holdout is None or 0 < self.holdout < 1, "a ratio in (0, 1)"),
            ("test_limit", self.test_limit is None or self.test_limit >= 1, "1 or more"),
            ("test_depth", set(self.test_depth) <= set(DEPTHS), f"some of {', '.join(DEPTHS)}"),
            ("scenes", self.scenes >= 3, "3 or more"),  # one scene of each kind
            ("test_scenes", self.test_scenes >= 3, "3 or more"),
        ):
            if not is_legal:
                value = getattr(self, name)
                raise InputError(f"`{name}` {value} is not usable. Fix: pass {remedy}.")
        for name in _OF_DATA:
            if getattr(self, name) and not self.data:
                raise InputError(f"`{name}` has no effect without `data`. Fix: pass `data` too.")
        if self.estimated_depth and not RECIPES.get(self.recipe, {}).get("invent_depth"):
            raise InputError(
                "`estimated_depth` has no effect: the recipe invents no depth. Fix: pass `recipe`"
                " fusion-study, tiny or small-dinov2, or omit `estimated_depth`."
            )
        if self.holdout_sets and self.test_data and self.holdout is None:
            raise InputError(
                "`holdout_sets` has no effect with `test_data` alone. Fix: pass `holdout`, too."
            )
        if self.init_weights is not None and not Path(self.init_weights).is_file():
            raise InputError(
                f"`init_weights` {self.init_weights}: no such file. Fix: check the path."
            )


@dataclass(frozen=True)
class Run:
    """A variant trained with one seed, and the folder of its training, maps and scores."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Return the name of the run that messages use."""
        return f"{self.variant.name} seed {self.seed}"

    def per_image(self, kind: str = RIGHT) -> Path:
        """Return the path of the scores per image (CSV) for one kind of test depth."""
        name = "per_image.csv" if kind == RIGHT else f"{kind}.csv"
        return (self.folder / SCORES_FILE).with_name(name)

    @property
    def finished(self) -> bool:
        """Return whether the run was trained, tested and scored."""
        return (self.folder / SCORES_FILE).is_file()


def runs_of(output: Path, variants: Sequence[Variant], seeds: int) -> list[Run]:
    """Return all runs, ordered by seed, so that the variants advance together."""
    return [run_of(output, variant, seed) for seed in range(seeds) for variant in variants]


def run_of(output: Path, variant: Variant, seed: int) -> Run:
    """Return the run of a variant and a seed."""
    return Run(variant, seed, output / "runs" / variant.folder / f"seed-{seed}")


def train_config(
    options: Options, run: Run, sources: dict[str, Any], resources: dict[str, Any]
) -> TrainConfig:
    """Return the training options of a run, with the same recipe for all runs.

    ``sources`` has "data", "sets" and "near" of the training images. ``resources`` has options
    without an effect on results, such as device and workers.

    Raises:
        InputError: a value is illegal.
    """
    config = make_train_config(
        options.recipe,
        **_RECIPE,
        **resources,
        **{name: getattr(options, name) for name in _SHARED},
        data=tuple(sources["data"]),
        train_sets=tuple(sources["sets"]),
        # A part of a benchmark is not a test set. Overlaps with the test images are refused when
        # the data are prepared.
        allow_overlap=True,
        modality=run.variant.modality,
        seed=run.seed,
        output=str(run.folder),
    )
    # Variants without depth ignore these two options, but equal options let all runs share a cache.
    return dataclasses.replace(
        config, near=tuple(sources["near"]), estimated_depth=options.estimated_depth
    )


def claim_folder(output: Path, options: Options, variants: Sequence[Variant], seeds: int) -> None:
    """Start a comparison in a folder, or continue a started comparison; variants may be added.

    Raises:
        InputError: the folder has a comparison with other options, inputs or code.
    """
    plan = {
        "options": dataclasses.asdict(options),
        "seeds": {variant.name: seeds for variant in variants},
        "code": code_of_results(),
        "inputs": inputs_of(options.init_weights, options.estimated_depth),
    }
    if (output / PLAN_FILE).exists():
        before = read_plan(output)
        if (output / DATA_FILE).exists():
            _refuse_changes(output, before, plan)
        added = {name: max(seeds, before["seeds"].get(name, 0)) for name in plan["seeds"]}
        plan["seeds"] = before["seeds"] | added
    write_json(output / PLAN_FILE, plan)


def _refuse_changes(output: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError if code, options or inputs changed since the start of a comparison."""
    old, new = before["code"], now["code"]
    different = [name for name in old | new if old.get(name) != new.get(name)]
    if different:
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        raise InputError(
            f"{output}: the comparison was started with other code: {different[0]}{more}. "
            "Fix: continue with the version that started it, or pass another `output`."
        )
    for name in changed(before["options"], now["options"]):
        started = _as_typed(before["options"].get(name))
        value = _as_typed(now["options"][name])
        raise InputError(
            f"{output}: was started with `{name}` {started}, but `{name}` is now {value}. "
            "Fix: pass the old value, or another `output`."
        )
    for path in changed(before["inputs"], now["inputs"]):
        raise InputError(
            f"{path}: its content has changed since the comparison {output} was started. "
            "Fix: restore the content, or pass another `output`."
        )


def read_plan(output: Path) -> dict[str, Any]:
    """Read the options of the comparison in a folder, and the number of seeds of each variant.

    Raises:
        InputError: the folder has no comparison, or the file of the comparison is damaged.
    """
    plan = _read(output, PLAN_FILE, options=dict, seeds=dict, code=dict, inputs=dict)
    if plan is None:
        raise InputError(
            f"`output` {output}: the folder has no {PLAN_FILE}. Fix: pass another folder."
        )
    return plan


def read_data(output: Path) -> dict[str, Any] | None:
    """Read the record of ``data.prepare_data``; return None if there is no record.

    Raises:
        InputError: the record is damaged.
    """
    return _read(output, DATA_FILE, fingerprint=str, train=dict, test=dict)


def _read(output: Path, file: str, **entries: type) -> dict[str, Any] | None:
    folder = OutputFolder(output, file, "comparison")
    if not folder.is_begun:
        return None
    record = folder.read(**entries)
    if record is None:
        raise InputError(
            f"{folder.record_file}: damaged. Fix: restore the file, or pass another `output`."
        )
    return record


def _as_typed(value: Any) -> str:
    """Format the value of an option as on the command line."""
    if isinstance(value, dict):
        value = [f"{name}={item}" for name, item in value.items()]
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    return "(not given)" if value in (None, "") else str(value)


def alone_in(output: Path) -> AbstractContextManager[None]:
    """Return a context that locks a folder.

    Raises:
        InputError: the folder has files but no comparison, or is in use.
    """
    folder = OutputFolder(output, PLAN_FILE, "comparison")
    folder.refuse_foreign()
    return folder.locked()
