"""Names of the fusion methods and of their options, without an import of torch.

``--help`` of the commands lists the names, which are read from the source files in
``models/fusion``. A test compares the names with the registry.
"""

import ast
import dataclasses
import re
import sys
from pathlib import Path

from mutualformer_sod.configs.diffusion import Diffusion
from mutualformer_sod.configs.fusion import (
    DEFAULT_FUSION,
    AttentionConfig,
    fusion_methods,
    fusion_options,
)

_PACKAGE = "mutualformer_sod.models.fusion"
_FOLDER = Path(__file__).resolve().parents[1] / "models" / "fusion"
_COMMON = (AttentionConfig, Diffusion)  # base classes of the configurations
_REGISTERED = re.compile(r"""^@register_fusion\(\s*(?:["']([^"']+)["']|DEFAULT_FUSION)""", re.M)


def fusion_names() -> list[str]:
    """Return the names of all methods, in the order of `fusion_methods`."""
    if _PACKAGE in sys.modules:
        return list(fusion_methods())
    names = {name or DEFAULT_FUSION for text in _sources() for name in _REGISTERED.findall(text)}
    return sorted(names, key=lambda name: (name != DEFAULT_FUSION, name))


def fusion_option_names() -> set[str]:
    """Return the names of the options of all methods."""
    if _PACKAGE in sys.modules:
        return fusion_options()
    names = {item.name for base in _COMMON for item in dataclasses.fields(base)}
    return names | {
        field.target.id
        for text in _sources()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config")
        for field in node.body
        if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation)
    }


def _sources() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("*.py"))]
