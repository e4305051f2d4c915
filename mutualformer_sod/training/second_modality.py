"""Determine the second modality of a training run, and check the options that depend on it."""

from typing import Any

from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.modality import DEPTH, Modality, find_modality
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.weights import read_metadata
from mutualformer_sod.training.distillation import Teacher

_OF_DISTANCES = ("paste", "invent_depth")  # options that place objects by distance


def settle_modality(
    config: TrainConfig, found: Modality | None, state: dict[str, Any] | None
) -> Modality:
    """Return the second modality of a training run.

    The maps of the sets determine the modality. Without maps (``found`` None), the checkpoint or
    the weights of ``finetune`` determine the modality; the default is depth.

    Raises:
        InputError: an option needs distances, but the maps have no distances; the sets do not have
            the visible modality; or a modality is not registered.
    """
    modality = found or DEPTH
    if found is None and state is not None:
        modality = find_modality(state.get("second_modality", DEPTH.name))
    elif found is None and config.finetune:
        modality = find_modality(read_metadata(config.finetune)[0].second_modality)
    if config.modality not in ("both", "rgb", DEPTH.name, modality.name):
        raise InputError(
            f"`modality` {config.modality}: the second modality of this run is {modality.name}."
            f" Fix: pass {modality.name}, rgb or both."
        )
    if config.modality not in ("both", "rgb") and found is None and not config.invent_depth:
        raise InputError(
            f"`modality` {config.modality}: no set has {modality.maps}. Fix: pass sets with "
            f"{modality.maps}, or `modality` rgb."
        )
    given = [name for name in _OF_DISTANCES if getattr(config, name)]
    if given and not modality.has_polarity and config.modality != "rgb":
        flags = ", ".join(f"`{name}`" for name in given)
        off = " ".join(f"`{name}` 0" for name in given)
        raise InputError(
            f"{flags}: no effect on {modality.maps}, which have no distances. Fix: pass {off}."
        )
    return modality


def check_teacher(teacher: Teacher, config: TrainConfig, found: Modality | None) -> None:
    """Refuse a teacher whose second modality differs from that of the maps of this run.

    ``found`` is the modality of the maps of the sets, or None if the sets have no maps.
    """
    modality = found or (DEPTH if config.invent_depth else None)
    if modality is None or config.modality == "rgb":
        return
    if teacher.second_modality != modality.name:
        raise InputError(
            f"`teacher` {config.teacher}: was trained on {teacher.second_modality} maps, but"
            f" this run has {modality.maps}. Fix: pass a teacher of the same modality."
        )


def describe_other_modality(path: str, modality: Modality) -> str:
    """Describe initial weights with another second modality, or return an empty string."""
    stored = read_metadata(path)[0].second_modality
    if stored == modality.name:
        return ""
    return f"{path}: trained on {stored} maps; this run continues with {modality.maps}"
