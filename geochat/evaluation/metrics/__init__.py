"""Metrics of answers, for MMEngine: they hold settings and results, the arithmetic is in ``evaluation.functional``."""

from geochat.evaluation.metrics.absolute_error import AbsoluteError
from geochat.evaluation.metrics.base import AnswerMetric
from geochat.evaluation.metrics.captions import Captions
from geochat.evaluation.metrics.detection import Detection
from geochat.evaluation.metrics.exact_match import ExactMatch
from geochat.evaluation.metrics.honesty import Honesty
from geochat.evaluation.metrics.multiple_choice import MultipleChoice
from geochat.evaluation.metrics.rotated_grounding import RotatedGrounding

__all__ = [
    'AbsoluteError',
    'AnswerMetric',
    'Captions',
    'Detection',
    'ExactMatch',
    'Honesty',
    'MultipleChoice',
    'RotatedGrounding',
]
