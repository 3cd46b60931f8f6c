"""Samplers: which records form a batch, and in which order."""

from geochat.datasets.samplers.image_grouped import ImageGroupedSampler
from geochat.datasets.samplers.length_grouped import LengthGroupedSampler

__all__ = ['ImageGroupedSampler', 'LengthGroupedSampler']
