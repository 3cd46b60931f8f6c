"""What is shown of a dialogue: its answers with their boxes in the colours of their phrases, drawn on the picture."""

from dataclasses import dataclass

from PIL import Image

from geochat.apis import Prediction
from geochat.serving.demo.sessions import Session
from geochat.visualization import Color, draw_boxes, phrase_colors

VIEW_SIDE = 1600
"""Pixels of the longer side of what the page shows; what is downloaded has all pixels."""


@dataclass(frozen=True)
class Shown:
    """What was said, with the boxes that are drawn and their colours.

    Attributes:
        answers: The answers in their order.
        colors: The colour of each phrase, the same through the whole dialogue.
        number: Which of the answers is on the picture; None if there are none.
    """

    answers: tuple[Prediction, ...]
    colors: dict[str, Color]
    number: int | None

    def draw(self, number: int, most: int | None = None) -> Image.Image:
        """Draw an answer's boxes.

        Args:
            number: Which answer.
            most: Most pixels of the longer side of the picture before boxes are drawn on it; None leaves it as it is.
        """
        answer = self.answers[number]
        image, scale = fit(answer.image, most)
        boxes = answer.boxes * [scale, scale, scale, scale, 1]
        return draw_boxes(image, boxes, answer.labels, [self.colors[label] for label in answer.labels])


def shown(session: Session) -> Shown:
    """Return what is shown of a session's dialogue."""
    if session.history is None:
        return Shown((), {}, None)
    answers = tuple(session.history.predictions)
    colors = phrase_colors([label for answer in answers for label in answer.labels])
    return Shown(answers, colors, len(answers) - 1 if session.chosen is None else session.chosen)


def fit(image: Image.Image, most: int | None) -> tuple[Image.Image, float]:
    """Make a picture smaller if its longer side has more pixels than given; return by what it was multiplied, too."""
    scale = 1.0 if most is None else min(1.0, most / max(image.size))
    if scale == 1:
        return image, scale
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS), scale
