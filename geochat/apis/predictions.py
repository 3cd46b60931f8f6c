"""What a model answered to a user, read as its task reads it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from geochat.structures import GroundedText
from geochat.structures.polygons import box_corners


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's answer to one question.

    Attributes:
        task: The task that put the question into words and read the answer.
        prompt: The user's words as the model saw them.
        answer: The model's words.
        text: What the task read of them: a class, a word, a description without boxes.
        image: The picture that boxes lie on, the first of the question's; None without one.
        boxes: float64 array (N, 5): cx, cy, w, h in pixels of that picture as it was given, angle in radians, clockwise
            on screen. Of an answer that names what is in boxes those of the question.
        labels: The phrase, class or name that each box belongs to; empty for a box without one.
        box_scores: How likely each box is, in [0, 1]: the product of the probabilities of the tokens it was read from.
            None if the back end does not tell them. Of a box of the question, how likely its name is.
        box_confidences: Their geometric mean, in [0, 1], which does not fall with the number of tokens; or None.
        grounded: The box codec's reading; None for tasks whose answers have no boxes.
        malformed: True if the answer is not of the form that the task asks for.
        tokens: How many tokens the model wrote; None if the back end does not tell.
        log_prob: Sum of their natural log-probabilities; None if the back end does not tell them.
        finish: Why the answer ended; see :class:`geochat.generation.Generated`.
    """

    task: str
    prompt: str
    answer: str
    text: str
    image: Image.Image | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)))
    labels: tuple[str, ...] = ()
    box_scores: tuple[float, ...] | None = ()
    box_confidences: tuple[float, ...] | None = ()
    grounded: GroundedText | None = None
    malformed: bool = False
    tokens: int | None = 0
    log_prob: float | None = 0.0
    finish: str = 'end'

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the probabilities of the answer's tokens, in [0, 1]; 0 if there are none.

        None if the back end does not tell the probabilities.
        """
        if self.log_prob is None or self.tokens is None:
            return None
        return math.exp(self.log_prob / self.tokens) if self.tokens else 0.0

    @property
    def polygons(self) -> np.ndarray:
        """The boxes' corners (N, 4, 2) in pixels, clockwise on screen."""
        return box_corners(self.boxes)

    def draw(self) -> Image.Image:
        """Draw the boxes and what they belong to.

        Returns:
            A new picture, enlarged by a whole number if the question's is small.

        Raises:
            ValueError: If the question had no picture.
        """
        from geochat.visualization import draw_boxes

        if self.image is None:
            raise ValueError('there is nothing to draw on: the question had no picture')
        return draw_boxes(self.image, self.boxes, self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, named as in ``predictions.jsonl``; boxes only where it is about any."""
        content = {
            'task': self.task,
            'prompt': self.prompt,
            'answer': self.answer,
            'text': self.text,
            'image_size': None if self.image is None else list(self.image.size),
            'malformed': self.malformed,
            'tokens': self.tokens,
            'log_prob': _rounded(self.log_prob, 4),
            'confidence': _rounded(self.confidence, 6),
            'finish': self.finish,
        }
        if self.grounded is not None or len(self.boxes):
            content |= {
                'boxes': self.boxes.round(4).tolist(),
                'polygons': self.polygons.round(3).tolist(),
                'labels': list(self.labels),
                'box_scores': _rounded_each(self.box_scores),
                'box_confidences': _rounded_each(self.box_confidences),
            }
        if self.grounded is not None:
            content['diagnostics'] = [diagnostic.code for diagnostic in self.grounded.diagnostics]
        return content

    def to_geojson(self) -> dict[str, Any]:
        """Return the boxes as a GeoJSON feature collection: a polygon of its corners for each.

        The coordinates are pixels of the picture, x to the right and y down, and no longitudes and latitudes; the
        collection says so. A feature has its ``phrase``, its ``score`` and ``confidence`` in [0, 1] (see
        :attr:`box_scores`) or None, and its ``angle`` in degrees, clockwise on screen.

        Raises:
            ValueError: If the question had no picture.
        """
        if self.image is None:
            raise ValueError('there are no pixels to place boxes in: the question had no picture')
        corners = self.polygons.round(3)
        closed = np.concatenate([corners, corners[:, :1]], axis=1)  # a ring ends where it begins
        unknown = [None] * len(self.boxes)
        scores, confidences = self.box_scores or unknown, self.box_confidences or unknown
        rows = zip(closed.tolist(), self.labels, scores, confidences, self.boxes[:, 4], strict=True)
        return {
            'type': 'FeatureCollection',
            'coordinate_system': {'unit': 'pixel', 'origin': 'top left', 'x': 'right', 'y': 'down'},
            'image_size': list(self.image.size),
            'features': [
                {
                    'type': 'Feature',
                    'geometry': {'type': 'Polygon', 'coordinates': [ring]},
                    'properties': {
                        'phrase': phrase,
                        'score': _rounded(score, 6),
                        'confidence': _rounded(confidence, 6),
                        'angle': round(math.degrees(angle), 3),
                    },
                }
                for ring, phrase, score, confidence, angle in rows
            ],
        }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _rounded_each(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else [round(value, 6) for value in values]
