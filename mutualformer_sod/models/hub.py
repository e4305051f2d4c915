"""Share weights as folders or repositories of the Hugging Face hub, with a model card."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin

from mutualformer_sod.configs.released import HUB_FILE, released_weights
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import write_json
from mutualformer_sod.models.hub_download import download

_PAIRS = {"depth": "RGB-D", "thermal": "RGB-T"}  # name of the pair of RGB and each second modality
_TAG = "rgb-d"  # replaced in the cards of other pairs
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_DOWNLOAD_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")
_FILES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_CARD = """\
# {name}

{pair} salient object detection with MutualFormer: preset `{preset}`, fusion `{fusion}`,
{parameters:.2f} M parameters, {size} x {size} pixels. The network predicts a saliency map from a
colour image, with or without its {second} map.

## Use

    from mutualformer_sod import Predictor
    saliency = Predictor.from_weights("FOLDER").predict(rgb, {second})

## Scores

{scores}

## Training

Training images: {images}. The weights file has the following record of the run:

```json
{protocol}
```
"""


class HubModel(
    ModelHubMixin,
    library_name="mutualformer_sod",
    pipeline_tag="image-segmentation",
    tags=["salient-object-detection", _TAG, "mutualformer"],
):
    """A network with ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    ``save_pretrained`` writes model.safetensors, which `Predictor` and ``--weights`` read;
    config.json, a readable copy of the configuration and the protocol; and README.md, the model
    card. An existing card is not overwritten.

    Attributes:
        protocol: record of the training, as in the weights file; empty for a new network.

    Example:
        >>> scores = {"ECSSD": {"S": 0.929, "MAE": 0.034}}
        >>> model.save_pretrained("shared", model_card_kwargs={"scores": scores})
        >>> model = SaliencyDetector.from_pretrained("shared")
    """

    protocol: Mapping[str, Any] = {}

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write weights, configuration and model card to a folder, which is created if missing.

        ``options`` are arguments of `ModelHubMixin.save_pretrained`.

        Raises:
            InputError: the folder contains weights or a configuration of another project.
        """
        from mutualformer_sod.models.weights import read_metadata

        folder = Path(save_directory)
        if any((folder / name).exists() for name in (HUB_FILE, "config.json")):
            try:
                read_metadata(folder / HUB_FILE)
            except InputError as error:
                raise InputError(
                    f"{folder}: contains files of another project. Fix: pass another folder."
                ) from error
        return super().save_pretrained(save_directory, **options)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **options: Any
    ) -> "HubModel":
        """Load a network, in float32 and eval mode.

        Args:
            pretrained_model_name_or_path: a folder that ``save_pretrained`` wrote, a weights file,
                the name of released weights, or USER/NAME of a repository on the hub.
            options: any of revision, cache_dir, force_download, local_files_only and token.

        Raises:
            InputError: an option is unknown, no weights are found, or there is no connection.
        """
        from mutualformer_sod.models.weights import load_weights

        if unknown := sorted(options.keys() - set(_DOWNLOAD_OPTIONS)):
            raise InputError(
                f"{unknown[0]}= is unknown. Fix: pass options of {', '.join(_DOWNLOAD_OPTIONS)}."
            )
        given = str(pretrained_model_name_or_path)
        if not _is_repository(given):
            return load_weights(given)[0]
        try:
            path = download(given, HUB_FILE, **options)  # this file has the configuration
        except Exception as error:  # the hub client raises errors of a dozen types
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{given}: not a folder, and not available on the Hugging Face hub ({first})."
                " Fix: check the name and the connection, or pass a folder of save_pretrained."
            ) from error
        return load_weights(path)[0]

    def _save_pretrained(self, save_directory: Path) -> None:
        from mutualformer_sod.models.weights import save_weights  # that module imports the detector

        save_weights(self, save_directory / HUB_FILE, dict(self.protocol))
        stored = {"model": self.config.to_dict(), "protocol": dict(self.protocol)}
        write_json(save_directory / "config.json", stored)

    def generate_model_card(
        self,
        scores: Mapping[str, Mapping[str, float]] | None = None,
        name: str = "MutualFormer",
        licence: str = "other",
    ) -> ModelCard:
        """Return the model card.

        Args:
            scores: metrics in [0, 1] by test set and by name of the metric.
            name: title of the card.
            licence: identifier of the weights' licence on the hub.
        """
        second = self.config.second_modality
        pair = _PAIRS.get(second, f"RGB-{second}")
        data = self._hub_mixin_info.model_card_data.to_dict() | {"license": licence}
        data["tags"] = [pair.lower() if tag == _TAG else tag for tag in data["tags"]]
        header = "\n".join(f"{key}: {json.dumps(value)}" for key, value in data.items())
        images = self.protocol.get("train_images", {})
        text = _CARD.format(
            name=name,
            pair=pair,
            second=second,
            preset=self.config.preset,
            fusion=self.config.fusion.fusion,
            parameters=sum(p.numel() for p in self.parameters()) / 1e6,
            size=self.config.image_size,
            scores=_table(scores or {}),
            images=", ".join(f"{key} ({count})" for key, count in images.items()) or "not recorded",
            protocol=json.dumps(dict(self.protocol), indent=1),
        )
        return ModelCard(f"---\n{header}\n---\n\n{text}")


def _is_repository(given: str) -> bool:
    """Return whether a name is USER/NAME and neither a file, a folder nor released weights."""
    is_local = Path(given).exists() or Path(given).suffix in _FILES or given in released_weights()
    return not is_local and _REPOSITORY.fullmatch(given) is not None


def _table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Return a Markdown table of the scores with a row for each test set."""
    if not scores:
        return "Not measured."
    metrics = list(dict.fromkeys(name for row in scores.values() for name in row))
    lines = [["set", *metrics], ["---"] * (len(metrics) + 1)]
    for name, row in scores.items():
        lines.append([name, *(f"{row[m]:.3f}" if m in row else "" for m in metrics)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
