"""Choice of the fusion method."""

from __future__ import annotations

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.models.encoder import TwoStreamEncoder
from mutualformer_sod.models.fusion.channel_exchange import ChannelExchangeFusion
from mutualformer_sod.models.fusion.concat import ConcatFusion
from mutualformer_sod.models.fusion.cross_attention import CrossAttentionFusion
from mutualformer_sod.models.fusion.gemini_fusion import GeminiFusion
from mutualformer_sod.models.fusion.mutualformer import MutualFormerFusion
from mutualformer_sod.models.fusion.streams import Fusion
from mutualformer_sod.models.fusion.token_fusion import TokenFusion

_AT_TAPS = {
    "mutualformer": MutualFormerFusion,
    "cross_attention": CrossAttentionFusion,
    "cross_attention_cda": CrossAttentionFusion,
    "sum": Fusion,  # no fusion but the head's addition
}
_IN_ENCODER = {
    "concat": ConcatFusion,
    "token_fusion": TokenFusion,
    "gemini_fusion": GeminiFusion,
    "channel_exchange": ChannelExchangeFusion,
}


def build_fusion(config: FusionConfig, encoder: TwoStreamEncoder) -> Fusion:
    """Build ``config.fusion``; a method that acts inside the encoder steps in there.

    Raises:
        InputError: the method does not go with this encoder.
    """
    shape = encoder.channels, encoder.strides
    if not config.in_encoder:
        return _AT_TAPS[config.fusion](config, *shape)
    seam = encoder.open_seam(config.fusion)
    fusion = _IN_ENCODER[config.fusion](config, *shape, seam)
    seam.connect(fusion.hooks, fusion.joint_attention)
    return fusion
