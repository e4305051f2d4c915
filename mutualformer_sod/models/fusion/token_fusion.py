"""Replace tokens with low scores by those of the other modality (Wang et al., CVPR 2022).

A small net scores every token, s in (0, 1). An L1 penalty pulls the mean score towards 0. The paper
and its released code differ; ``config.score_on`` selects the form:

    "output" (code)   O = proj(MSA(LN X));  Z_m = s_m O_m;
                      Z'_m = Z_m where s_m >= theta, else Z_m';  X_m <- X_m + Z'_m
    "input" (paper)   X_m <- X_m where s_m >= theta, else X_m';  then a block whose attention
                      has the input s_m LN(X_m)

The penalty is a mean. The released code uses a sum, whose weight depends on the image size and the
batch size.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig, register_fusion
from mutualformer_sod.configs.switches import switch
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.drop_path import DRAW_BITS, keyed_draws
from mutualformer_sod.models.fusion.streams import Fusion, Scalars
from mutualformer_sod.models.joint_encoder import BlockCall, JointEncoder, Notes

BLOCKS_PER_NET = 3


@dataclass(frozen=True)
class TokenFusionConfig(FusionConfig):
    """Switches of ``token_fusion``.

    Attributes:
        theta: tokens with a score below theta are exchanged.
        sparsity: weight of the mean score in the loss.
        score_on: apply scores to the "output" (released code) or "input" (paper) of attention.
        per_block: use one score net per block; otherwise three blocks share a net.
        realign: use the paper's residual positional alignment.
        exchange: "scores" exchanges the tokens with low scores. The controls "random" and "full"
            exchange random tokens and all tokens.
        exchange_ratio: ratio of the tokens that "random" exchanges, in [0, 1].
    """

    NEEDS: ClassVar = {"theta": ("exchange", "scores"), "exchange_ratio": ("exchange", "random")}

    theta: float = switch(0.02, "0 or more", lambda v: v >= 0)
    sparsity: float = switch(1.0, "0 or more", lambda v: v >= 0)
    score_on: str = switch("output", choices=("output", "input"))
    per_block: bool = False
    realign: bool = False
    exchange: str = switch("scores", choices=("scores", "random", "full"))
    exchange_ratio: float = switch(0.4, "0 to 1", lambda v: 0 <= v <= 1)


@register_fusion(
    "token_fusion",
    "replaces weak tokens by those of the other modality, in every block",
    TokenFusionConfig,
    in_encoder=True,
    ensemble=True,
)
class TokenFusion(Fusion):
    """Exchange tokens in every block of the shared encoder.

    The control "random" exchanges random tokens. In eval mode, these are the same in all images.
    """

    def __init__(
        self,
        config: TokenFusionConfig,
        channels: list[int],
        strides: list[int],
        joint: JointEncoder,
    ) -> None:
        super().__init__(config, channels, strides)
        if config.realign and not joint.has_position:
            raise InputError(
                "realign=True: this backbone has no position embedding. Fix: leave realign out."
            )
        self.group = 1 if config.per_block else BLOCKS_PER_NET
        nets = -(-joint.depth // self.group)
        self.rgb_scores = nn.ModuleList(score_net(joint.dim) for _ in range(nets))
        self.depth_scores = nn.ModuleList(score_net(joint.dim) for _ in range(nets))
        self.hooks = {"input": self.score}
        if config.score_on == "output":
            self.hooks["projection"] = self.scale_and_exchange
        else:
            self.hooks["norm"] = self.scale

    def score(self, call: BlockCall, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Score the tokens of a block, and exchange tokens if ``score_on`` is "input".

        The tokens are (B, N, C). Store "scores", (2, B, N) float in (0, 1), and "kept", (2, B, N)
        bool, in ``call.notes``, rgb first. "kept" is False for tokens to exchange.
        """
        if self.config.realign and call.layer > 0:
            rgb, depth = rgb + call.position, depth + call.position
        group = call.layer // self.group
        nets = self.rgb_scores[group], self.depth_scores[group]
        precision = nets[0][0].weight.dtype  # autocast would reduce this precision
        with torch.autocast(rgb.device.type, enabled=False):
            streams = rgb.to(precision), depth.to(precision)
            logits = torch.stack([net(s) for net, s in zip(nets, streams, strict=True)])
            scores = logits.softmax(dim=-1)[..., 0]
        call.notes["scores"] = scores
        call.notes["kept"] = self._decide(call, scores.detach())
        if self.config.score_on == "input":
            return self._exchange(call, rgb, depth)
        return rgb, depth

    def scale(self, call: BlockCall, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Weight tokens by their scores; all tokens are (B, N, C)."""
        rgb_score, depth_score = call.notes["scores"].to(rgb.dtype).unsqueeze(-1).unbind(0)
        return rgb * rgb_score, depth * depth_score

    def scale_and_exchange(
        self, call: BlockCall, rgb: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weight the attention's output (B, N, C) by the scores, then exchange tokens."""
        return self._exchange(call, *self.scale(call, rgb, depth))

    def report(self, notes: Sequence[Notes]) -> tuple[Scalars, Scalars]:
        """Return the loss ``sparsity`` (weighted mean score) and the ratio of exchanged tokens."""
        score = torch.stack([noted["scores"].mean() for noted in notes]).mean()
        kept = torch.stack([noted["kept"].float().mean() for noted in notes]).mean()
        return {"sparsity": self.config.sparsity * score}, {"exchange_ratio": 1 - kept}

    def _exchange(self, call: BlockCall, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        rgb_kept, depth_kept = call.notes["kept"].unsqueeze(-1).unbind(0)
        return torch.where(rgb_kept, rgb, depth), torch.where(depth_kept, depth, rgb)

    def _decide(self, call: BlockCall, scores: Tensor) -> Tensor:
        """Return a mask of the tokens that are not exchanged, (2, B, N) bool."""
        if self.config.exchange == "scores":
            return scores >= self.config.theta
        if self.config.exchange == "full":
            return torch.zeros_like(scores, dtype=torch.bool)
        _, batch, count = scores.shape
        if self.training and call.keys is None:
            return torch.rand_like(scores) >= self.config.exchange_ratio
        keys = call.keys if self.training else scores.new_zeros(batch, dtype=torch.int64)
        indices = torch.arange(2 * count, device=scores.device) + (call.layer + 1) * 2**32
        draws = keyed_draws(keys, indices).unflatten(0, (2, count))  # (2, N, B)
        return (draws >= round(self.config.exchange_ratio * 2**DRAW_BITS)).mT


def score_net(dim: int) -> nn.Sequential:
    """Build a net of LayerNorm, GELU and Linear layers (C, C/2, C/4, then 2 logits per token)."""
    widths = (dim, dim, dim // 2, dim // 4)
    layers: list[nn.Module] = [nn.LayerNorm(dim)]
    for width, out in itertools.pairwise(widths):
        layers += [nn.Linear(width, out), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))
