"""The arithmetic of the metrics: pure functions on arrays and texts."""

from geochat.evaluation.functional.bootstrap import (
    RESAMPLES,
    Resamples,
    percentile_interval,
    resampled_ratios,
)
from geochat.evaluation.functional.grounding import (
    BoxCounts,
    count_boxes,
    grounding_ratios,
    grounding_scores,
    share,
)
from geochat.evaluation.functional.matching import match_boxes
from geochat.evaluation.functional.rotated_iou import box_corners, pairwise_rotated_iou, rotated_iou
from geochat.evaluation.functional.text import NORMALIZATIONS, exact_match, normalize_text

__all__ = [
    'NORMALIZATIONS',
    'RESAMPLES',
    'BoxCounts',
    'Resamples',
    'box_corners',
    'count_boxes',
    'exact_match',
    'grounding_ratios',
    'grounding_scores',
    'match_boxes',
    'normalize_text',
    'pairwise_rotated_iou',
    'percentile_interval',
    'resampled_ratios',
    'rotated_iou',
    'share',
]
