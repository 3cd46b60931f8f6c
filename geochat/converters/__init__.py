"""Checkpoints of other programs and of this one: what their files mean in this project's parts and names."""

from geochat.converters.original import is_original, original_parts, original_weights
from geochat.converters.sources import WeightSource, find_source, read_parts

__all__ = ['WeightSource', 'find_source', 'is_original', 'original_parts', 'original_weights', 'read_parts']
