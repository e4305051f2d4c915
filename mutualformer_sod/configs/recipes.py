"""Named recipes of training: each sets several fields of ``TrainConfig`` at once."""

from __future__ import annotations

from typing import Any

_MUTUALFORMER = {
    "preset": "small",
    "pretrained": "imagenet",
    "epochs": 80,
    "batch_size": 8,
    "global_batch_size": 8,
    "lr": 1e-4,
    "encoder_lr_scale": 0.1,
    "warmup_epochs": 2.0,
    "ema_decay": 0.999,
    "workers": 4,
}

_REAL_SETS = (
    "train_rgb/DUTS_TR",
    *(f"train_rgbd/{name}" for name in ("HOTS", "gqcnn", "UW", "tracebot", "pothole", "pipe")),
)
_REAL_REPEATS = (
    *("train_rgbd/HOTS=4", "train_rgbd/gqcnn=8", "train_rgbd/UW=8"),
    *("train_rgbd/tracebot=6", "train_rgbd/pothole=3", "train_rgbd/pipe=3"),
)

_DINOV2 = {  # pretrained ViT, photographs and RGB-D pictures: hours on two CPU cores
    "train_sets": _REAL_SETS,
    "repeat": _REAL_REPEATS,
    "holdout": 0.05,
    "holdout_by": "auto",
    "cache": "ram",
    "preset": "small-dinov2",
    "pretrained": "auto",
    "multi_scale": False,
    "progressive": 0.75,
    "invent_depth": 0.25,
    "depth_dropout": 0.15,
    "wrong_depth": 0.2,
    "paste": 0.3,
    "epochs": 3,
    "batch_size": 16,
    "global_batch_size": 16,
    "lr": 5e-4,
    "encoder_lr_scale": 0.15,
    "layer_decay": 0.8,
    "freeze_layers": 5,
    "weight_decay": 0.05,
    "warmup_epochs": 0.1,
    "ema_decay": 0.998,
    "workers": 0,
    "weights_dtype": "float16",
}

RECIPES: dict[str, dict[str, Any]] = {
    "samples": {  # generated scenes, half an hour on one core
        "train_sets": ("SAMPLES",),
        "preset": "tiny-scratch",
        "size": 128,
        "epochs": 6,
        "batch_size": 16,
        "lr": 1e-3,
        "depth_dropout": 0.1,
        "multi_scale": False,
        "workers": 1,
        "weights_dtype": "float16",
    },
    "tiny": _DINOV2  # the same and generated scenes: an hour on one CPU core with bf16
    | {"train_sets": (*_REAL_SETS, "SAMPLES"), "preset": "tiny", "epochs": 4, "lr": 1e-3}
    | {"encoder_lr_scale": 0.5, "layer_decay": None, "freeze_layers": 0},
    "small-dinov2": _DINOV2,
    "mutualformer-2185": _MUTUALFORMER | {"protocol": "2185"},
    "mutualformer-2985": _MUTUALFORMER | {"protocol": "2985"},
    "mutualformer-dut800": _MUTUALFORMER | {"protocol": "dut800"},
    "f3net-2185": {  # the optimisation F3Net published, for the network the authors probably used
        "protocol": "2185",
        "preset": "resnet50",
        "pretrained": "imagenet",
        "epochs": 32,
        "batch_size": 32,
        "global_batch_size": 32,
        "optimizer": "sgd",
        "lr": 0.05,
        "encoder_lr_scale": 0.1,
        "weight_decay": 5e-4,
        "schedule": "triangular",
        "warmup_epochs": 0.0,
        "workers": 4,
    },
}
