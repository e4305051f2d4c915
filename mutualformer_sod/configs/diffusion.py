"""Options of cross-diffusion attention (MutualFormer, IJCV 2024, Sec. 3.2)."""

import dataclasses
from dataclasses import dataclass

from mutualformer_sod.configs.switches import Switches, switch

ATTENTIONS = ("auto", "dense", "tiled")


@dataclass(frozen=True)
class Recurrence(Switches):
    """Recurrence S(t+1) = eps L S(t) R + (1 - eps) A, for any S(0).

    Attributes:
        form: L S R for rgb: "released" (the published code, W_r^T S W_d) or "paper"
            (W_r S W_d^T).
        epsilon: weight of the diffused term, in (0, 1).
        steps: number of iterations; the published code has one iteration.
        affinity: A = W_r + W_d ("sum", as published) or half of this sum ("mean").
    """

    form: str = switch("released", choices=("released", "paper"))
    epsilon: float = switch(0.6, "a number strictly between 0 and 1", lambda v: 0 < v < 1)
    steps: int = switch(1, "a whole number, 1 or more", lambda v: v >= 1)
    affinity: str = switch("sum", choices=("sum", "mean"))


@dataclass(frozen=True)
class Diffusion(Recurrence):
    """Cross-diffusion of two self-affinities W_r and W_d.

    Attributes:
        initial: S(0), the identity matrix ("identity") or A ("affinity").
    """

    initial: str = switch("identity", choices=("identity", "affinity"))

    @classmethod
    def of(cls, config: Recurrence) -> "Diffusion":
        """Return the diffusion options of a configuration that also has other options."""
        names = [item.name for item in dataclasses.fields(cls) if hasattr(config, item.name)]
        return cls(**{name: getattr(config, name) for name in names})
