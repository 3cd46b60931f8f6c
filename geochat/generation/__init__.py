"""Answers from a model: batched decoding, and how sure the model was of the boxes in them."""

from geochat.generation.confidence import box_scores, token_ends
from geochat.generation.greedy import Generated, generate

__all__ = ['Generated', 'box_scores', 'generate', 'token_ends']
