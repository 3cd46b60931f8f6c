"""Average precision and F1 of detections: boxes with a class and, where there is one, a confidence.

COCO's matching is pycocotools', with our overlap put in for that of upright boxes. DOTA's, which is PASCAL
VOC's (Everingham et al. 2010, section 4.2), is worked out here.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from geochat.evaluation.functional.matching import TOLERANCE, match_boxes, reaches

COCO_THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10))

COCO_LEVELS = np.linspace(0, 1, 101)
"""Recalls at which COCO reads the precision."""

VOC07_LEVELS = np.arange(11) / 10 - TOLERANCE
"""Recalls at which VOC 2007 and DOTA's development kit read the precision; 3 of 10 objects reach 0.3."""

_ENTRIES = 2**21
"""Most detections of resamples that are worked on at a time: some hundred MB."""


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What was found on one picture (or by one question), and what is there.

    Attributes:
        iou: (N, M): overlaps of N detections with M objects.
        labels: (N,) integers: the classes of the detections, from 0; -1 is none of the benchmark's.
        scores: (N,): their confidences.
        true_labels: (M,) integers: the classes of the objects.
        difficult: (M,) bool: objects that need not be found; who finds one gains and loses nothing.
    """

    iou: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    true_labels: np.ndarray
    difficult: np.ndarray

    @cached_property
    def by_class(self) -> dict[int, 'ImageDetections']:
        """The detections and objects of each class that has one or the other."""
        return {int(label): self._of_class(label) for label in np.unique([*self.labels, *self.true_labels])}

    def _of_class(self, label: int) -> 'ImageDetections':
        mine, true = self.labels == label, self.true_labels == label
        return ImageDetections(
            self.iou[np.ix_(mine, true)],
            self.labels[mine],
            self.scores[mine],
            self.true_labels[true],
            self.difficult[true],
        )


# --- precision, recall, F1 -------------------------------------------------------------------------------------------


def count_detections(image: ImageDetections, threshold: float, num_classes: int) -> np.ndarray:
    """Count what detections reach under one-to-one matching within each class.

    Args:
        image: Detections and objects.
        threshold: Overlap that counts as right.
        num_classes: Number of classes C.

    Returns:
        int64 array (C + 1, 3): by class, and last for labels that are none, the pairs of the largest matching, the
        detections and the objects. Difficult objects, and detections that find nothing but one, are not counted.
    """
    counts = np.zeros((num_classes + 1, 3), dtype=np.int64)
    counts[-1, 1] = (image.labels == -1).sum()
    for label, here in image.by_class.items():
        if label == -1:
            continue
        must = ~here.difficult
        matched = match_boxes(here.iou[:, must], threshold)[:, 0]
        on_difficult = reaches(here.iou[:, here.difficult], threshold).any(axis=1)
        on_difficult[matched] = False
        counts[label] = len(matched), len(here.labels) - on_difficult.sum(), must.sum()
    return counts


def confusion_counts(image: ImageDetections, threshold: float, num_classes: int) -> np.ndarray:
    """Count what detections reach as LMMRotate's confusion matrix has it, where many may find one object.

    Every pair of a detection and an object that reach the threshold is one entry of the matrix, so that a detection may
    have several; one that reaches none is on background, an object that none of its class reaches is missed.

    Args:
        image: Detections and objects; difficult objects are left out.
        threshold: Overlap that counts as right.
        num_classes: Number of classes C.

    Returns:
        int64 array (C + 1, 3): by class, and last for the background, the diagonal of the matrix, and the sums of its
        column (of detections) and of its row (of objects).
    """
    must = ~image.difficult
    good, true = reaches(image.iou[:, must], threshold), image.true_labels[must]
    counts = np.zeros((num_classes + 1, 3), dtype=np.int64)
    same = good & (image.labels[:, None] == true)
    missed = ~same.any(axis=0)
    np.add.at(counts[:, 0], true, same.sum(axis=0))
    np.add.at(counts[:, 1], image.labels, np.maximum(good.sum(axis=1), 1))
    np.add.at(counts[:, 2], true, good.sum(axis=0) + missed)
    counts[-1, 1] += missed.sum()
    counts[-1, 2] += (~good.any(axis=1)).sum()
    return counts


# --- average precision -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ranking:
    """The detections of one class at one threshold, surest first; those on difficult objects are left out.

    Attributes:
        image: (D,) integers: on which of I pictures each is.
        hit: (D,) bool: whether it finds an object.
        scores: (D,): confidences, descending.
        objects: (I,): objects on each picture that must be found.
    """

    image: np.ndarray
    hit: np.ndarray
    scores: np.ndarray
    objects: np.ndarray


def average_precision(
    ranking: Ranking, levels: np.ndarray | None = None, weights: np.ndarray | None = None, tied_together: bool = True
) -> np.ndarray:
    """Return the average precision of one class.

    Args:
        ranking: Its detections.
        levels: Recalls at which the precision is read and then averaged; None takes the area under the curve. In either
            case the precision at a recall is the best at that recall or more.
        weights: (R, I): how often each of R resamples has each picture; None takes each once.
        tied_together: Detections of one confidence come all together, so that their order does not matter; False takes
            them in the order of the ranking.

    Returns:
        float64 array (R,); NaN where there are no objects.
    """
    weights = np.ones((1, len(ranking.objects))) if weights is None else weights
    rows = max(1, _ENTRIES // max(len(ranking.hit), 1))
    parts = [weights[start : start + rows] for start in range(0, len(weights), rows)]
    return np.concatenate([_average_precision(ranking, levels, part, tied_together) for part in parts])


def _average_precision(
    ranking: Ranking, levels: np.ndarray | None, weights: np.ndarray, tied_together: bool
) -> np.ndarray:
    hits = np.cumsum(ranking.hit)
    ends = np.arange(len(hits))
    if tied_together and len(hits):
        ends = np.append(np.nonzero(np.diff(ranking.scores))[0], len(hits) - 1)
    ends = ends[np.diff(hits[ends], prepend=0) > 0]  # what finds nothing adds nothing to the curve's upper edge
    named = np.cumsum(weights[:, ranking.image], axis=1)[:, ends]
    found = np.cumsum(weights[:, ranking.image[ranking.hit]], axis=1)[:, hits[ends] - 1]
    objects = weights @ ranking.objects
    recall = np.divide(found, objects[:, None], out=np.zeros_like(found), where=objects[:, None] > 0)
    precision = np.divide(found, named, out=np.zeros_like(found), where=named > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    if levels is None:
        values = (np.diff(recall, axis=1, prepend=0) * best).sum(axis=1)
    else:
        best = np.hstack([best, np.zeros((len(best), 1))])
        values = np.array([row[np.searchsorted(r, levels)].mean() for r, row in zip(recall, best, strict=True)])
    return np.where(objects > 0, values, np.nan)


def dota_ranking(images: Sequence[ImageDetections], label: int, threshold: float) -> Ranking:
    """Rank the detections of a class as PASCAL VOC and DOTA do.

    Each detection, surest first, is held against the object that it overlaps most: it hits that one if it reaches the
    threshold and is the first to do so; where that object is difficult it is left out.

    Args:
        images: Detections and objects of each of one or more pictures.
        label: The class.
        threshold: Overlap that counts as right.
    """
    found = [_voc_hits(image.by_class[label], threshold) if label in image.by_class else _NOTHING for image in images]
    hits, kept, scores, objects = zip(*found, strict=True)
    return _ranked(hits, kept, scores, np.array(objects, dtype=np.int64))


_NOTHING = (np.zeros(0, dtype=bool), np.zeros(0, dtype=bool), np.zeros(0), 0)


def _voc_hits(image: ImageDetections, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return which detections hit, which count, their confidences, and how many objects must be found."""
    hits, kept = np.zeros(len(image.scores), dtype=bool), np.ones(len(image.scores), dtype=bool)
    if image.iou.size:
        best = image.iou.argmax(axis=1)
        good = reaches(image.iou.max(axis=1), threshold)
        kept = ~(good & image.difficult[best])
        order = np.argsort(-image.scores, kind='stable')
        candidates = order[(good & kept)[order]]
        hits[candidates[np.unique(best[candidates], return_index=True)[1]]] = True
    return hits, kept, image.scores, int((~image.difficult).sum())


def _ranked(
    hits: Sequence[np.ndarray], kept: Sequence[np.ndarray], scores: Sequence[np.ndarray], objects: np.ndarray
) -> Ranking:
    lengths = [len(part) for part in scores]
    keep = np.concatenate([*kept, np.zeros(0, dtype=bool)])
    image = np.repeat(np.arange(len(lengths)), lengths)[keep]
    hit = np.concatenate([*hits, np.zeros(0, dtype=bool)])[keep]
    values = np.concatenate([*scores, np.zeros(0)])[keep]
    order = np.argsort(-values, kind='stable')
    return Ranking(image[order], hit[order], values[order], objects)


def coco_rankings(
    images: Sequence[ImageDetections], num_classes: int, thresholds: Sequence[float] = COCO_THRESHOLDS
) -> list[list[Ranking]]:
    """Rank detections as pycocotools' COCOeval matches them, by our overlaps and without a limit on their number.

    Their :func:`average_precision` at :data:`COCO_LEVELS` with ``tied_together=False`` is what COCOeval itself sums up.

    Args:
        images: Detections and objects of each of one or more pictures; difficult objects are COCO's crowds.
        num_classes: Number of classes C.
        thresholds: Overlaps that count as right.

    Returns:
        Rankings by threshold and class.

    Raises:
        ImportError: If pycocotools is missing.
    """
    evaluation = coco_evaluation(images, num_classes, thresholds)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        evaluation.evaluate()
    count = len(images)
    by_class = [evaluation.evalImgs[label * count : (label + 1) * count] for label in range(num_classes)]
    return [[_coco_ranking(pictures, row) for pictures in by_class] for row in range(len(thresholds))]


def coco_evaluation(images: Sequence[ImageDetections], num_classes: int, thresholds: Sequence[float]) -> Any:
    """Return a COCOeval of pycocotools with our overlaps; arguments as :func:`coco_rankings` takes them."""
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):
        def computeIoU(self, imgId: int, catId: int) -> np.ndarray:  # noqa: N802, N803 -- pycocotools' names
            here = images[imgId].by_class.get(catId)
            return np.zeros((0, 0)) if here is None else here.iou[np.argsort(-here.scores, kind='mergesort')]

    numbers = range(len(images)), range(num_classes)
    truth, found = [], []
    for place, image in enumerate(images):
        truth += [(place, *row, 0.0) for row in zip(image.true_labels, image.difficult, strict=True)]
        found += [(place, label, False, score) for label, score in zip(image.labels, image.scores, strict=True)]
    evaluation = Evaluation(_Annotations(truth, *numbers), _Annotations(found, *numbers), 'bbox')
    parameters = evaluation.params
    parameters.iouThrs = np.array(thresholds) - TOLERANCE
    parameters.areaRng, parameters.areaRngLbl = [[0, 1e10]], ['all']
    parameters.maxDets = [max((len(image.labels) for image in images), default=1)]
    return evaluation


class _Annotations:
    """What COCOeval asks of pycocotools' COCO, without its files; rows are picture, class, crowd and confidence."""

    def __init__(self, rows: Sequence[tuple[int, int, bool, float]], images: Sequence[int], classes: Sequence[int]):
        self.images, self.classes = images, classes
        self.annotations = [
            {
                'id': number,
                'image_id': image,
                'category_id': int(label),
                'iscrowd': int(crowd),
                'score': float(score),
                'area': 1.0,
            }
            for number, (image, label, crowd, score) in enumerate(rows, start=1)
        ]

    def getImgIds(self) -> Sequence[int]:  # noqa: N802
        return self.images

    def getCatIds(self) -> Sequence[int]:  # noqa: N802
        return self.classes

    def getAnnIds(self, imgIds: Sequence[int], catIds: Sequence[int]) -> list[int]:  # noqa: N802, N803
        return [row['id'] for row in self.annotations if row['category_id'] in self.classes]

    def loadAnns(self, ids: Sequence[int]) -> list[dict[str, Any]]:  # noqa: N802
        return [self.annotations[number - 1] for number in ids]


def _coco_ranking(pictures: Sequence[dict[str, Any] | None], row: int) -> Ranking:
    """Rank the detections of a class as COCOeval matched them at one threshold; None is a picture without the class."""
    none = np.zeros(0, dtype=bool)
    hits = [none if picture is None else picture['dtMatches'][row] > 0 for picture in pictures]
    kept = [none if picture is None else ~picture['dtIgnore'][row].astype(bool) for picture in pictures]
    scores = [np.zeros(0) if picture is None else np.array(picture['dtScores'], dtype=float) for picture in pictures]
    objects = [0 if picture is None else int((np.asarray(picture['gtIgnore']) == 0).sum()) for picture in pictures]
    return _ranked(hits, kept, scores, np.array(objects, dtype=np.int64))
