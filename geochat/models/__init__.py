"""The model and its three trained parts: vision encoders, projectors and LLMs."""

from geochat.models.geochat import GeoChat
from geochat.models.llms import HFCausalLM
from geochat.models.projectors import IdentityProjector, LinearProjector, MLPProjector
from geochat.models.vision_encoders import ClipVisionEncoder, VisionEncoder

__all__ = [
    'ClipVisionEncoder',
    'GeoChat',
    'HFCausalLM',
    'IdentityProjector',
    'LinearProjector',
    'MLPProjector',
    'VisionEncoder',
]
