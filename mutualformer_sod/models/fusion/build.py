"""Construction of the configured fusion method."""

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.models.encoder import TwoStreamEncoder
from mutualformer_sod.models.fusion.streams import Fusion


def build_fusion(config: FusionConfig, encoder: TwoStreamEncoder) -> Fusion:
    """Build ``config.fusion``; connect a method inside the encoder to its blocks.

    Raises:
        InputError: the method does not work with this encoder.
    """
    method = config.method
    shape = encoder.channels, encoder.strides
    if not method.in_encoder:
        return method.module(config, *shape)
    joint = encoder.open_seam(config.fusion)
    fusion = method.module(config, *shape, joint)
    joint.check(fusion)
    return fusion
