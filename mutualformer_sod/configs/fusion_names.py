"""Names of the fusion methods and of their options, without an import of torch.

``--help`` of the command lines lists them. They are read from the source of ``models/fusion``; a
test compares them with the registry.
"""

import ast
import dataclasses
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
_COMMON = (AttentionConfig, Diffusion)  # bases of the configurations


def fusion_names() -> list[str]:
    """Return the names of all methods, in the order of `fusion_methods`."""
    if _PACKAGE in sys.modules:
        return list(fusion_methods())
    names = {_registered(node) for tree in _sources() for node in ast.walk(tree)} - {None}
    return sorted(names, key=lambda name: (name != DEFAULT_FUSION, name))


def fusion_option_names() -> set[str]:
    """Return the names of the options of all methods."""
    if _PACKAGE in sys.modules:
        return fusion_options()
    names = {item.name for base in _COMMON for item in dataclasses.fields(base)}
    return names | {
        field.target.id
        for tree in _sources()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config")
        for field in node.body
        if isinstance(field, ast.AnnAssign) and not _is_class_variable(field)
    }


def _sources() -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.py"))]


def _registered(node: ast.AST) -> str | None:
    """Return the first argument of a call of ``register_fusion``."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    if not is_call or node.func.id != "register_fusion":
        return None
    name = node.args[0]
    return name.value if isinstance(name, ast.Constant) else DEFAULT_FUSION


def _is_class_variable(field: ast.AnnAssign) -> bool:
    return ast.unparse(field.annotation).startswith("ClassVar")
