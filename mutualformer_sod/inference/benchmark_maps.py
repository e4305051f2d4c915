"""Write the saliency maps of benchmark sets in a run that can be resumed."""

import contextlib
import dataclasses
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

import mutualformer_sod
from mutualformer_sod.configs.model import ModelConfig
from mutualformer_sod.data.audit.file_check import check_images
from mutualformer_sod.data.depth.polarity import encodings_by_name
from mutualformer_sod.data.discovery.sets import SodSet, refuse_other_modality
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.loader import make_loader
from mutualformer_sod.distributed import all_reduce, is_main, rank, wait_for_all, world_size
from mutualformer_sod.errors import counted
from mutualformer_sod.files import file_sha256
from mutualformer_sod.imaging.io import write_map
from mutualformer_sod.inference.map_output import MapOutput
from mutualformer_sod.inference.predictor import Predictor, native_saliency
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.signals import ctrl_c_deferred, ended_by_sigterm

QUEUE_SIZE = 32
"""Maximum number of maps in the queue; at 384 x 384, the logits of a full queue need 19 MB."""


class _Timing(NamedTuple):
    """Number of images of one process, and the times of the process in seconds."""

    images: int = 0
    start_up: float = 0.0  # until the first batch was loaded
    running: float = 0.0  # from the first batch until the last map was written
    model: float = 0.0  # part of ``running`` in the network


def method_name(config: ModelConfig, modality: str) -> str:
    """Return the name of the map folder of a network, FUSION_PRESET or FUSION_PRESET_MODALITY."""
    hidden = {"both": "", "rgb": "_rgb", "depth": f"_{config.second_modality}"}
    return f"{config.fusion.fusion}_{Path(config.preset).name}{hidden[modality]}"


def provenance_of(weights: Path, config: ModelConfig, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the checksum, configuration and training record of a network for `map_sets`."""
    checksum = file_sha256(weights)
    return {"weights_sha256": checksum, "config": config.to_dict(), "protocol": protocol}


def map_sets(
    predictor: Predictor,
    sets: Sequence[SodSet],
    output: Path,
    provenance: dict[str, Any],
    *,
    batch_size: int = 1,
    workers: int = 0,
    writers: int = 0,
    overwrite: bool = False,
) -> None:
    """Write a saliency map of every image to ``output/<set>/<stem>.png``.

    The maps have 8 bits and the native size. Existing maps with equal settings are not replaced, so
    that an interrupted run can continue. Under torchrun each process predicts the maps of a part of
    the images. Loading, prediction and writing overlap. Ctrl-C and SIGTERM leave no partial file.

    Args:
        predictor, sets, output: the network, its inputs, and its map folder.
        provenance: result of `provenance_of`, which is recorded in ``output/run.json``.
        batch_size: number of images in a batch, which does not change the maps on a CPU.
        workers: processes that load images; 0 loads in the main thread.
        writers: threads that write maps; 0 writes in the main thread.
        overwrite: replace the existing maps, also maps with other settings.

    Raises:
        InputError: images are unreadable, the folder has maps with other settings, a set has maps
            of another modality than the network, or an output of the network is not finite. All
            unreadable images are reported at once.
        OSError: a map could not be written.
        Stopped: SIGTERM arrived; the same call continues the run.
    """
    if predictor.modality != "rgb":
        refuse_other_modality(sets, predictor.second.name, "the network")
    noun = predictor.second.name
    near = {s.name: s.encoding.side if s.has_depth else f"no {noun}" for s in sets}
    folder = MapOutput(output, provenance | predictor.settings | {"near": near}, overwrite)
    missing = [folder.missing(sod_set) for sod_set in sets]
    if is_main():
        check_images(missing)
    wait_for_all()  # before the first write, all processes have read the folder
    if is_main():
        encodings = {n: dataclasses.asdict(e) for n, e in encodings_by_name(sets).items()}
        versions = {library.__name__: library.__version__ for library in (mutualformer_sod, torch)}
        versions["python"] = platform.python_version()
        folder.begin(**{noun: encodings}, versions=versions, device=str(predictor.device))
    timings = []
    for sod_set, todo in zip(sets, missing, strict=True):
        mine = dataclasses.replace(todo, samples=todo.samples[rank() :: world_size()])
        with ended_by_sigterm(f"maps are in {output}; the same command continues the run"):
            spent = _map_set(predictor, mine, output, batch_size, workers, writers)
        timings.append(spent)
        wait_for_all()
        if not is_main():
            continue
        folder.finish(sod_set)
        speed = f"in {spent.start_up + spent.running:.1f} s" if todo.samples else "(all existed)"
        without = ", RGB only" if predictor.modality == "rgb" else f", no {noun}: RGB only"
        depth = "" if sod_set.has_depth else without
        made_now = f"{len(todo.samples)} written now {speed}"
        print(f"{sod_set.name}: {counted(len(sod_set.samples), 'map')}, {made_now}{depth}")
    _print_speed(timings, predictor.device)


@contextlib.contextmanager
def map_writers(threads: int) -> Iterator[Callable[[Path, Tensor, tuple[int, int]], None]]:
    """Yield a function that writes maps while the network computes the next maps.

    The yielded function has the arguments file, logits (1, 1, h, w) float32 of one image on the
    CPU, and size (H, W) of the map. The function waits while the queue is full, so that memory is
    bounded. The end of the context waits for the queue; after an error the queue is dropped, and no
    half-written file is left. With 0 ``threads`` the caller's thread writes the maps. Threads run
    in parallel, because torch and cv2 release Python's global lock.

    Raises:
        OSError: a map could not be written; raised by a later call or at the end.
    """
    if not threads:
        yield _write
        return
    queue: deque[Future[None]] = deque()
    pool = ThreadPoolExecutor(threads)

    def write(path: Path, logits: Tensor, native_size: tuple[int, int]) -> None:
        if len(queue) == QUEUE_SIZE:
            queue.popleft().result()
        queue.append(pool.submit(_write, path, logits, native_size))

    try:
        yield write
        for written in queue:
            written.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write(path: Path, logits: Tensor, native_size: tuple[int, int]) -> None:
    write_map(path, native_saliency(logits, native_size))


def _print_speed(timings: Sequence[_Timing], device: torch.device) -> None:
    totals = [float(sum(part)) for part in zip(_Timing(), *timings, strict=True)]
    images, start_up, running, model = all_reduce(totals, device, "SUM")
    if is_main() and images:
        processes = world_size()
        print(
            f"speed: {images * processes / running:.2f} images/s without the start-up of "
            f"{start_up / processes:.1f} s; {model / running:.1%} of the time in the network"
        )


def _map_set(
    predictor: Predictor, sod_set: SodSet, output: Path, batch_size: int, workers: int, writers: int
) -> _Timing:
    if not sod_set.samples:
        return _Timing()
    dataset = SodDataset(
        [sod_set], predictor.size, depth_rule=predictor.model.config.depth_rule, with_gt=False
    )
    order = range(len(dataset))
    batches = [order[start : start + batch_size] for start in order[::batch_size]]
    loader = make_loader(dataset, batches, workers, predictor.device.type == "cuda")
    start_up = in_model = 0.0
    started = time.perf_counter()
    with ctrl_c_deferred():
        loading = iter(loader)  # loader processes are forked: start them before any thread
    bar = tqdm(total=len(dataset), desc=sod_set.name, unit="map", leave=False, disable=None)
    with map_writers(writers) as write, ticking(bar):
        for batch in loading:
            begun = time.perf_counter()
            start_up = start_up or begun - started
            logits = predictor.logits(batch["rgb"], batch["depth"], batch["has_depth"])
            in_model += time.perf_counter() - begun
            predictor.check_finite(logits, ", ".join(batch["name"]))
            sizes = torch.stack(batch["native_size"], dim=1).tolist()
            for name, one, native_size in zip(batch["name"], logits.split(1), sizes, strict=True):
                write(output / f"{name}.png", one, tuple(native_size))
            bar.update(len(logits))
    return _Timing(len(dataset), start_up, time.perf_counter() - started - start_up, in_model)
