"""Write the optional TensorBoard log of a run (extra ``tensorboard``)."""

import torch

from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import naming
from mutualformer_sod.training.run import Run
from mutualformer_sod.training.update import Update


class Board:
    """Write losses, rates and gradient norm of each update, and scores and pictures of each epoch.

    Events are written to the subfolder ``tensorboard`` of the run. Entries of an interrupted run
    after the updates so far are hidden.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, run: Run) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "`tensorboard`: TensorBoard is not installed. Fix: pip install -e '.[tensorboard]'"
            ) from error
        self.folder = run.output / "tensorboard"
        with naming(self.folder):
            self.writer = SummaryWriter(str(self.folder), purge_step=run.updates)

    def add_update(self, run: Run, update: Update) -> None:
        """Log losses, gradient norm and learning rates of one update of the weights."""
        rates = {f"lr/{group['name']}": group["lr"] for group in run.optimizer.param_groups}
        losses = {f"train/{name}": value for name, value in update.losses.items()}
        with naming(self.folder):
            for name, value in (losses | {"train/grad_norm": update.grad_norm} | rates).items():
                self.writer.add_scalar(name, value, run.updates)

    def add_epoch(self, run: Run, scores: dict[str, float], images: SodDataset) -> None:
        """Log an epoch's scores, and rgb, depth, gt and saliency of the first four ``images``."""
        first = [images[index] for index in range(min(4, len(images)))]
        batch = torch.utils.data.default_collate(first)
        rgb, depth, has_depth, gt = run.place(batch)
        run.model.eval()
        with torch.inference_mode(), run.averaged():
            saliency = run.model(rgb, depth, has_depth).float().sigmoid()
        columns = [rgb, *(plane.expand(-1, 3, -1, -1) for plane in (depth, gt, saliency))]
        picture = torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
        with naming(self.folder):
            for name, value in scores.items():
                self.writer.add_scalar(f"val/{name}", value, run.updates)
            self.writer.add_image("rgb_depth_gt_map", picture.float().cpu(), run.updates)
            self.writer.flush()
