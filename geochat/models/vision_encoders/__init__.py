"""Vision encoders: pictures to rows of features."""

from geochat.models.vision_encoders.base import VisionEncoder
from geochat.models.vision_encoders.clip import ClipVisionEncoder

__all__ = ['ClipVisionEncoder', 'VisionEncoder']
