"""The arithmetic of the metrics: pure functions on arrays and texts."""

from geochat.evaluation.functional.bootstrap import (
    RESAMPLES,
    Resamples,
    percentile_interval,
    resampled_ratios,
)
from geochat.evaluation.functional.grounding import (
    BoxCounts,
    answer_overlap,
    count_boxes,
    grounding_ratios,
    grounding_scores,
    intersection_and_union,
)
from geochat.evaluation.functional.grounding_protocols import (
    GROUNDING_PROTOCOLS,
    GroundingProtocol,
    as_upright_boxes,
    change_boxes,
)
from geochat.evaluation.functional.matching import match_boxes
from geochat.evaluation.functional.ratios import Ratios, quotients, share
from geochat.evaluation.functional.rotated_iou import (
    Overlaps,
    box_corners,
    enclosing_boxes,
    have_area,
    overlap_tables,
    pairwise_rotated_iou,
    rotated_iou,
)
from geochat.evaluation.functional.text import NORMALIZATIONS, exact_match, normalize_text

__all__ = [
    'GROUNDING_PROTOCOLS',
    'NORMALIZATIONS',
    'RESAMPLES',
    'BoxCounts',
    'GroundingProtocol',
    'Overlaps',
    'Ratios',
    'Resamples',
    'answer_overlap',
    'as_upright_boxes',
    'box_corners',
    'change_boxes',
    'count_boxes',
    'enclosing_boxes',
    'exact_match',
    'grounding_ratios',
    'grounding_scores',
    'have_area',
    'intersection_and_union',
    'match_boxes',
    'normalize_text',
    'overlap_tables',
    'pairwise_rotated_iou',
    'percentile_interval',
    'quotients',
    'resampled_ratios',
    'rotated_iou',
    'share',
]
