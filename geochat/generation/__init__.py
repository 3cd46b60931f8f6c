"""Answers from a model: batched decoding, choice among given answers, and how sure it was of the boxes in them."""

from geochat.generation.confidence import box_scores, token_ends
from geochat.generation.greedy import Generated, generate
from geochat.generation.likelihood import option_log_probs

__all__ = ['Generated', 'box_scores', 'generate', 'option_log_probs', 'token_ends']
