"""Manage the map folder of one method, with the settings and the list of missing maps."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mutualformer_sod.configs.model import ModelConfig
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.output_folder import OutputFolder, changed

RUN_FILE = "run.json"


class MapOutput:
    """Map folder of a method, with ``<set>/<stem>.png`` for each image and the record ``run.json``.

    The constructor creates the folder. Existing maps with equal settings are not replaced, so that
    an interrupted run can continue.

    Args:
        settings: all settings that the maps depend on, including "near", the polarity by set.
        overwrite: replace the existing maps, also maps with other settings.

    Raises:
        InputError: without ``overwrite``, maps with other settings or of unknown origin.
    """

    def __init__(self, path: Path, settings: dict[str, Any], overwrite: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.overwrite = path, overwrite
        self._output = OutputFolder(path, RUN_FILE, "maps")
        maps = {file.relative_to(path).as_posix() for file in path.rglob("[!.]*.png")}
        before = self._known(settings, has_maps=bool(maps))
        self._old_maps = maps & set(before.get("to_replace", [])) if before else maps
        self._record = settings | {"near": before.get("near", {}) | settings["near"]}
        self._record["sets"] = before.get("sets", {})

    def _known(self, settings: dict[str, Any], has_maps: bool) -> dict[str, Any]:
        """Return the record of existing maps with equal settings; {} if no such maps exist."""
        remedy = "Fix: pass another `output`, or `overwrite` to replace the maps."
        before = self._output.read(near=dict)
        # The baselines of earlier versions recorded neither "sets" nor "to_replace".
        kinds = {"sets": dict, "to_replace": list}
        if before and not all(isinstance(before.get(n, kind()), kind) for n, kind in kinds.items()):
            before = None
        if before is None:
            if self.overwrite or not has_maps:
                return {}
            why = f"{'unreadable' if self._output.is_begun else 'no'} {RUN_FILE}"
            raise InputError(f"{self.path}: has maps of unknown origin ({why}). {remedy}")
        before["config"] = _in_present_form(before.get("config"))
        shared_near = {k: v for k, v in before["near"].items() if k in settings["near"]}
        differing = changed(before | {"near": settings["near"] | shared_near}, settings)
        if differing and not self.overwrite:
            names = ", ".join("`near`" if name == "near" else name for name in differing)
            raise InputError(f"{self.path}: has maps made with other values of {names}. {remedy}")
        return {} if differing else before

    def missing(self, sod_set: SodSet) -> SodSet:
        """Return the set with only the images whose maps must be written."""
        if self.overwrite:
            return sod_set
        todo = []
        for item in sod_set.samples:
            name = f"{sod_set.name}/{item.stem}.png"
            if name in self._old_maps or not (self.path / name).exists():
                todo.append(item)
        return dataclasses.replace(sod_set, samples=tuple(todo))

    def begin(self, **facts: Any) -> None:
        """Write the record with the settings and further facts, before the first map."""
        self._record |= facts
        self._write()

    def finish(self, sod_set: SodSet) -> None:
        """Record that all maps of a set are written."""
        self._old_maps -= {f"{sod_set.name}/{item.stem}.png" for item in sod_set.samples}
        facts = {"images": len(sod_set.samples), "has_depth": sod_set.has_depth}
        self._record["sets"][sod_set.name] = facts
        self._write()

    def _write(self) -> None:
        # A continued run with `overwrite` replaces the old maps that remain.
        self._output.write(self._record | {"to_replace": sorted(self._old_maps)})


def _in_present_form(config: Any) -> Any:
    """Convert a model configuration of an older version; return unusable data unchanged."""
    try:
        return json.loads(json.dumps(ModelConfig.from_dict(config).to_dict()))
    except (InputError, KeyError, TypeError):
        return config
