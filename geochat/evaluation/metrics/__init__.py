"""Metrics of answers, for MMEngine: they hold settings and results, the arithmetic is in ``evaluation.functional``."""

from geochat.evaluation.metrics.base import AnswerMetric
from geochat.evaluation.metrics.exact_match import ExactMatch
from geochat.evaluation.metrics.rotated_grounding import RotatedGrounding

__all__ = ['AnswerMetric', 'ExactMatch', 'RotatedGrounding']
