"""Layouts of data sets: how the folders of a set are recognised and how its files are paired."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mutualformer_sod.data.discovery.benchmarks import Split
from mutualformer_sod.data.modality import MODALITIES, modality_of
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging import image_files


@dataclass(frozen=True)
class Part:
    """The folders of one set, or of one split of a set."""

    split: Split | None  # split named by the folders; None if they name no split
    # Folders of "rgb", "depth" (maps of any second modality) and "gt". More than one folder of a
    # role is an error.
    roles: dict[str, tuple[Path, ...]]


class Layout:
    """One arrangement of the files of a set on disk, registered with `register_layout`."""

    name: ClassVar[str]

    def find(self, folder: Path, folders: Sequence[str], files: Sequence[str]) -> list[Part]:
        """Find the sets directly in a folder.

        Args:
            folder: any folder below a root.
            folders: sorted names of the subfolders that are not hidden. Subfolders that belong to
                a returned part are not searched further.
            files: sorted names of all other entries, including broken links but not hidden entries.

        Raises:
            InputError: the folder is a damaged set of this layout.
        """
        raise NotImplementedError

    def stem(self, role: str, path: Path) -> str | None:
        """Return the stem by which a file is paired, or None for a file of another role."""
        return path.stem

    def images(self, role: str, folder: Path) -> list[Path]:
        """List the images of a role before pairing, sorted, without hidden files."""
        return [path for path in image_files(folder) if self.stem(role, path) is not None]


LAYOUTS: dict[str, Layout] = {}
"""The registered layouts by name, in the order in which they are tried."""


def register_layout(layout: type[Layout]) -> type[Layout]:
    """Register a layout class under its ``name``; raise ValueError if the name is registered."""
    if layout.name in LAYOUTS:
        raise ValueError(f"layout {layout.name!r} is registered already. Fix: choose another name.")
    LAYOUTS[layout.name] = layout()
    return layout


class FolderLayout(Layout):
    """Layout with one folder per role, recognised by the folder's lower-case name."""

    roles: ClassVar[dict[str, tuple[Split | None, str]]]
    """Split and role of a folder by its lower-case name."""

    def role_of(self, name: str) -> tuple[Split | None, str]:
        """Return the split and the role of a folder; (None, "") for any other folder."""
        return self.roles.get(name.casefold(), (None, ""))

    def find(self, folder: Path, folders: Sequence[str], files: Sequence[str]) -> list[Part]:
        """Find the sets in a folder; refuse a file or broken link with a role folder's name."""
        found: dict[Split | None, dict[str, tuple[Path, ...]]] = {}
        for name in folders:
            split, role = self.role_of(name)
            if role:
                own = found.setdefault(split, {})
                own[role] = (*own.get(role, ()), folder / name)
        for name in files:  # a broken link to the depth maps would give a set without depth
            split, role = self.role_of(name)
            if role and split in found and role not in found[split]:
                label = modality_of([name], "").name if role == "depth" else role
                problem = f"the {label} folder of the set is a file or a broken link"
                remedy = "Fix: replace it by the folder, or remove it"
                raise InputError(f"{folder / name}: {problem}. {remedy}")
        return [Part(split, roles) for split, roles in found.items()]


@register_layout
class RoleFolders(FolderLayout):
    """Layout ``<set>/RGB``, ``<set>/depth``, ``<set>/GT``, with these or other usual names."""

    name = "role folders"
    roles = dict.fromkeys(("rgb", "images", "image", "img", "imgs", "imgs_right"), (None, "rgb"))
    roles |= dict.fromkeys(
        ("gt", "masks", "mask", "ground_truth", "groundtruth", "gt_right"), (None, "gt")
    )

    def role_of(self, name: str) -> tuple[Split | None, str]:
        """Return the split and the role; the folder of any modality has the role "depth"."""
        if any(name.casefold() in modality.folders for modality in MODALITIES.values()):
            return None, "depth"
        return super().role_of(name)


@register_layout
class SplitFolders(FolderLayout):
    """Layout of DUT-RGBD, with both splits in one folder, such as ``<set>/train_images``.

    Names such as "train_rgb" are not recognised, because they often name a folder of sets.
    """

    name = "split folders"
    roles: ClassVar = {
        f"{split}_{kind}": (split, role)
        for split in ("train", "test")
        for kind, role in (("images", "rgb"), ("depth", "depth"), ("masks", "gt"))
    }
