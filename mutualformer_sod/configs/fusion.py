"""Configuration and registry of the fusion methods.

Each method is one file of ``models/fusion``. The file declares a module and a configuration with
the method's switches; ``register_fusion`` adds both to the registry.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from mutualformer_sod.configs.switches import Switches, check, switch
from mutualformer_sod.errors import InputError

DEFAULT_FUSION = "mutualformer"
HEADS = ("auto", "merge", "ensemble")


@dataclass(frozen=True)
class FusionConfig(Switches):
    """Options of every fusion method, to which the subclass of a method adds switches.

    Attributes:
        fusion: name of the method in the registry.
        head: "merge" decodes one fused map, "ensemble" decodes each stream; "auto" is the head of
            the method's paper.
        dim: width of the projected tokens and of the fused stream.
        fine_width: width of the levels that convolutions fuse: all finer than the coarsest stride.
        NEEDS: option -> (other option, value): the option has an effect only with this value
            of the other option.
    """

    NEEDS: ClassVar[Mapping[str, tuple[str, str]]] = {}

    fusion: str
    head: str = switch("auto", choices=HEADS)
    dim: int = switch(256, "1 or more", lambda v: v >= 1)
    fine_width: int = switch(64, "a positive multiple of 8", lambda v: v >= 8 and v % 8 == 0)

    @property
    def method(self) -> "Method":
        """Registry entry of the method."""
        return find_fusion(self.fusion)

    @property
    def is_ensemble(self) -> bool:
        """Whether each stream is decoded and the logits are averaged."""
        return self.method.ensemble if self.head == "auto" else self.head == "ensemble"


@dataclass(frozen=True)
class AttentionConfig(FusionConfig):
    """Options of the methods that stack attention blocks on the encoder's features."""

    num_heads: int = switch(8, "1 or more", lambda v: v >= 1)
    blocks_per_level: int = switch(1, "1 or more", lambda v: v >= 1)
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        heads = self.num_heads
        check(self.dim % heads == 0, "dim", self.dim, f"a positive multiple of num_heads={heads}")


@dataclass(frozen=True)
class Method:
    """Registry entry of a fusion method.

    Attributes:
        name: value of ``--fusion``.
        description: one line, for tables.
        config: class of the method's configuration.
        module: subclass of ``models.fusion.streams.Fusion``.
        in_encoder: whether the method acts inside the encoder's blocks instead of on features.
        ensemble: whether head "auto" is "ensemble".
        undecayed: names of the module's parameters without weight decay, besides all vectors.
    """

    name: str
    description: str
    config: type[FusionConfig]
    module: type
    in_encoder: bool = False
    ensemble: bool = False
    undecayed: tuple[str, ...] = ()

    @property
    def switches(self) -> dict[str, dataclasses.Field]:
        """Options of the method by name, including the options that all methods have."""
        return {item.name: item for item in dataclasses.fields(self.config)}

    def why_unused(self, name: str, options: Mapping[str, Any]) -> str | None:
        """Return the reason why an option of a fusion has no effect with ``options``, or None."""
        own = self.switches
        if name not in own:
            users = [other.name for other in fusion_methods().values() if name in other.switches]
            reason = f"fusion={self.name} does not use it; it is used by {', '.join(users)}"
            return reason if users else None
        other, value = self.config.NEEDS.get(name, (name, None))
        if value is not None and options.get(other, own[other].default) != value:
            return f"it needs {other}={value}"
        return None


_METHODS: dict[str, Method] = {}
Module = TypeVar("Module", bound=type)


def register_fusion(
    name: str, description: str, config: type[FusionConfig] = FusionConfig, **traits: Any
) -> Callable[[Module], Module]:
    """Add the decorated module to the registry, with fields of ``Method`` as arguments.

    Raises:
        ValueError: a method of this name is registered already.
    """

    def register(module: Module) -> Module:
        if name in _METHODS:
            raise ValueError(f"fusion {name!r} is registered already. Fix: choose another name.")
        _METHODS[name] = Method(name, description, config, module, **traits)
        return module

    return register


def unregister_fusion(name: str) -> None:
    """Remove a method from the registry."""
    del _METHODS[name]


def fusion_methods() -> dict[str, Method]:
    """Return the registered methods by name, the default first, then in alphabetical order."""
    # Imported here: the files of the methods import torch and this module.
    importlib.import_module("mutualformer_sod.models.fusion")
    names = sorted(_METHODS, key=lambda name: (name != DEFAULT_FUSION, name))
    return {name: _METHODS[name] for name in names}


def find_fusion(name: str) -> Method:
    """Return the registry entry of a method; raise InputError for an unknown name."""
    check(isinstance(name, str), "fusion", name, "a string")
    methods = fusion_methods()
    check(name in methods, "fusion", name, f"one of {', '.join(methods)}")
    return methods[name]


def fusion_options() -> set[str]:
    """Return the names of the options of all registered methods."""
    return {name for method in fusion_methods().values() for name in method.switches}


def make_fusion_config(fusion: str = DEFAULT_FUSION, **options: Any) -> FusionConfig:
    """Build the configuration of a method.

    Raises:
        InputError: a name, option or value is illegal.
    """
    method = find_fusion(fusion)
    for name in options:
        if name not in method.switches:
            reason = method.why_unused(name, options) or "no fusion has it"
            raise InputError(f"{name} has no effect: {reason}. Fix: leave {name} out.")
    return method.config(fusion=fusion, **options)


def restrict_to_method(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``options`` without the switches that only other methods have.

    Presets and weights files of older versions contain options of every method.
    """
    method = find_fusion(options.get("fusion", DEFAULT_FUSION))
    foreign = fusion_options() - set(method.switches)
    return {name: value for name, value in options.items() if name not in foreign}


def combine(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``own``, the options of a network, with the ``common`` options that affect it.

    ``own`` contains the fusion, and replaces common options.
    """
    options, method = {**common, **own}, find_fusion(own["fusion"])
    return {n: common[n] for n in common if not method.why_unused(n, options)} | dict(own)


def refuse_unused(common: Mapping[str, Any], networks: Iterable[Mapping[str, Any]]) -> None:
    """Raise InputError for a common option that affects none of the networks."""
    used = {name for own in networks for name in combine(common, own)}
    for name in common:
        if name not in used:
            raise InputError(
                f"`fields` {name} has no effect: no compared fusion uses it. Fix: leave {name} out."
            )
