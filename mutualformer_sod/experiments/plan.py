"""What all runs of a comparison share, and the folder that holds them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutualformer_sod.configs.model import DEFAULT_PRESET
from mutualformer_sod.configs.training import TrainConfig, make_train_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.variants import Variant
from mutualformer_sod.files import locked, write_json

PLAN_FILE, DATA_FILE, LOCK_FILE = "comparison.json", "data.json", ".lock"
SCORES_FILE = "scores/scores.json"
# What the runs of a comparison have that the defaults of a training have not; the same for all.
_RECIPE: dict[str, Any] = {
    "holdout": 0.0,  # the last epoch is released: none is chosen
    "multi_scale": False,
    "cache": "disk",
}


@dataclass(frozen=True)
class Options:
    """What decides the scores of every run; a started comparison keeps them.

    Attributes:
        preset, epochs, lr, batch_size, size, amp: as in ``TrainConfig``.
        fields: of the model, the same for all variants.
        init_weights: weights that every encoder starts from.
        data: folders of sets; none for generated scenes.
        sets: of these; none for all.
        test_data: folders of sets to test on; none to split those of ``data``.
        near: as in ``TrainConfig``.
        holdout: share of each set to test on, without ``test_data``.
        scenes, test_scenes: numbers of generated scenes, without ``data``.
    """

    preset: str = DEFAULT_PRESET
    epochs: int = 6
    lr: float = 1e-3
    batch_size: int = 16
    size: int | None = None
    amp: str = "auto"
    fields: dict[str, Any] = field(default_factory=dict)
    init_weights: str | None = None
    data: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    test_data: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    holdout: float = 0.2
    scenes: int = 1000
    test_scenes: int = 120

    def __post_init__(self) -> None:
        if not 0 < self.holdout < 1:
            raise InputError(f"--holdout {self.holdout} is not usable: give a share in (0, 1)")
        for name in ("scenes", "test_scenes"):
            value = getattr(self, name)
            if value < 3:  # one of each kind
                raise InputError(f"{_flag(name)} {value} is not usable: give 3 or more")
        for name in ("sets", "test_data", "near"):
            if getattr(self, name) and not self.data:
                raise InputError(f"{_flag(name)} goes with --data, which is not given")
        if self.init_weights is not None and not Path(self.init_weights).is_file():
            raise InputError(f"--init-weights {self.init_weights}: no such file")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


@dataclass(frozen=True)
class Job:
    """One run: a variant and a seed.

    Attributes:
        folder: of the run: what training writes, and maps and scores.
    """

    variant: Variant
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.variant.name} seed {self.seed}"

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.folder.with_suffix(".log")

    @property
    def finished(self) -> bool:
        """Whether it was trained, tested and scored."""
        return (self.folder / SCORES_FILE).is_file()


def jobs_of(output: Path, variants: Sequence[Variant], seeds: int) -> list[Job]:
    """All runs, seed by seed, so that an interrupted comparison has compared all variants."""
    return [job_of(output, variant, seed) for seed in range(seeds) for variant in variants]


def job_of(output: Path, variant: Variant, seed: int) -> Job:
    """The run of a variant and a seed."""
    return Job(variant, seed, output / "runs" / variant.folder / f"seed-{seed}")


def train_config(options: Options, job: Job, sources: dict[str, Any], run: dict) -> TrainConfig:
    """The training of a run: one recipe for all.

    Args:
        options: of the comparison.
        job: the run.
        sources: "data", "sets" and "near" of the training images.
        run: fields that change no result, such as device and workers.

    Raises:
        InputError: an illegal value.
    """
    own = {} if options.init_weights is None else {"init_weights": options.init_weights}
    config = make_train_config(
        None,
        **_RECIPE,
        **own,
        **run,
        preset=options.preset,
        data=tuple(sources["data"]),
        train_sets=tuple(sources["sets"]),
        # A part of a benchmark is no test set of it; overlaps with what is tested on are refused
        # when the data are prepared.
        allow_overlap=True,
        epochs=options.epochs,
        lr=options.lr,
        batch_size=options.batch_size,
        size=options.size,
        amp=options.amp,
        modality=job.variant.modality,
        seed=job.seed,
        output=str(job.folder),
    )
    # Variants without depth, too, though it has no effect there: all of them share the cache.
    return dataclasses.replace(config, near=tuple(sources["near"]))


def claim_folder(output: Path, options: Options, variants: Sequence[Variant], seeds: int) -> None:
    """Begin a comparison in a folder, or go on with the one that it holds.

    Variants and seeds may be added to a comparison; what decides the scores stays.

    Raises:
        InputError: the folder holds a comparison with other options.
    """
    path = output / PLAN_FILE
    names, count, options_now = [v.name for v in variants], seeds, options.to_dict()
    if path.exists():
        before = read_plan(output)
        if (output / DATA_FILE).exists():  # before, no run was begun
            _refuse_other_options(output, before["options"], options_now)
        names = [*before["variants"], *(name for name in names if name not in before["variants"])]
        count = max(seeds, before["seeds"])
    write_json(path, {"options": options_now, "variants": names, "seeds": count})


def read_plan(output: Path) -> dict[str, Any]:
    """The options, variants and number of seeds of the comparison in a folder.

    Raises:
        InputError: there is none.
    """
    path = output / PLAN_FILE
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        dict(plan["options"]), list(plan["variants"]), int(plan["seeds"])
    except FileNotFoundError:
        raise InputError(f"--output {output}: holds no comparison ({PLAN_FILE})") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged: restore it, or give another --output") from None
    return plan


def read_data(output: Path) -> dict[str, Any] | None:
    """What ``data.prepare_data`` wrote about the images; None before it did.

    Raises:
        InputError: the file is damaged.
    """
    path = output / DATA_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        str(data["fingerprint"]), dict(data["train"]["images"]), dict(data["test"]["images"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged: restore it, or give another --output") from None
    return data


def _refuse_other_options(output: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for name, value in now.items():
        if before.get(name) != value:
            flag = "--set" if name == "fields" else _flag(name)
            raise InputError(
                f"{output}: was started with {flag} {_said(before.get(name))}, now it is "
                f"{_said(value)}: give the same, or another --output"
            )


def _is_ours(folder: Path) -> bool:
    return (folder / PLAN_FILE).exists() or all(i.name == LOCK_FILE for i in folder.iterdir())


def _said(value: Any) -> str:
    """An option's value as on the command line."""
    if isinstance(value, dict):
        value = [f"{name}={item}" for name, item in value.items()]
    if isinstance(value, list):
        value = " ".join(map(str, value))
    return "(not given)" if value in (None, "") else str(value)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@contextlib.contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Hold the folder for this process.

    Raises:
        InputError: it holds anything but a comparison, or another process compares in it.
    """
    if output.exists() and not (output.is_dir() and _is_ours(output)):
        raise InputError(f"--output {output}: not empty and not a comparison: give a new folder")
    output.mkdir(parents=True, exist_ok=True)
    problem = f"--output {output}: another process compares in it: wait for it, or give another"
    with locked(output / LOCK_FILE, problem):
        yield
