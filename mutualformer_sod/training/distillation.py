"""Blend a teacher's maps into the ground truth (knowledge distillation, Hinton et al., 2015)."""

import torch
from torch import Tensor

from mutualformer_sod.models.encoder import resize
from mutualformer_sod.models.weights import content_sha256, load_weights, unique_state


class Teacher:
    """A trained network in eval mode.

    Args:
        path: a ``.safetensors`` file, or the name of released weights.
        ratio: weight of the teacher's map in the ground truth, in [0, 1].

    Attributes:
        sha256: checksum of the teacher's tensors, to detect another teacher in a resumed run.
        second_modality: name of the modality on which the teacher was trained besides colour.

    Raises:
        InputError: the file is unreadable or damaged.
    """

    def __init__(self, path: str, ratio: float, device: torch.device) -> None:
        model, _ = load_weights(path)
        self.sha256 = content_sha256({}, unique_state(model))
        self.second_modality = model.config.second_modality
        self._model, self._ratio = model.to(device), ratio
        self._stride = max(model.encoder.strides)

    @torch.no_grad()
    def blend(self, rgb: Tensor, depth: Tensor, has_depth: Tensor, gt: Tensor) -> Tensor:
        """Return (1 - ratio) gt + ratio sigmoid(teacher's logits), (B, 1, H, W) float in [0, 1].

        The BCE with a blend as target is the blend of the BCEs. The teacher's input is the training
        images, resized to the next multiple of the teacher's stride.

        Args:
            rgb: (B, 3, H, W) float in [0, 1], augmented.
            depth: (B, 1, H, W) float in [0, 1], near = 1.
            has_depth: (B,) bool.
            gt: (B, 1, H, W) float in [0, 1].
        """
        size = tuple(-(-side // self._stride) * self._stride for side in gt.shape[-2:])
        logits = self._model(resize(rgb, size), resize(depth, size), has_depth)
        saliency = resize(logits.float(), gt.shape[-2:]).sigmoid()
        return torch.lerp(gt, saliency, self._ratio)
