"""Answers from a model: batched decoding."""

from geochat.generation.greedy import generate

__all__ = ['generate']
