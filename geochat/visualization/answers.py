"""A model's answer to a question of a benchmark on its picture, beside the truth."""

from PIL import Image

from geochat.structures import Answer
from geochat.visualization.boxes import draw_comparison


def draw_answer(image: Image.Image, answer: Answer, with_truth: bool = True, with_answer: bool = True) -> Image.Image:
    """Draw predicted over true boxes, with the question, the answer and the truth in words below the picture.

    Args:
        image: The question's picture, RGB; it is not changed.
        answer: The answer; one without boxes has its words alone.
        with_truth: False leaves the truth out.
        with_answer: False leaves the answer out.
    """
    truth, parsed = answer.question.truth, answer.parsed
    has_boxes = with_answer and parsed.boxes is not None
    caption = [f'Question: {answer.prompt}']
    if with_answer:
        caption.append(f'Answer: {answer.text}')
    if with_truth and 'text' in truth:
        texts = truth['text']
        caption.append(f'Truth: {texts if isinstance(texts, str) else " / ".join(texts)}')
    return draw_comparison(
        image,
        predicted=parsed.boxes if has_boxes else (),
        truth=truth.get('boxes', ()) if with_truth else (),
        labels=parsed.box_labels if has_boxes else (),
        caption=caption,
    )
