"""Checkpoints of other programs: what their files mean in this project's parts and names."""

from geochat.converters.original import is_original, original_parts, original_weights

__all__ = ['is_original', 'original_parts', 'original_weights']
