"""Rotated boxes and their phrases drawn on pictures, legible at any picture size, without a display."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geochat.structures.polygons import box_corners

Color = tuple[int, int, int]

PREDICTED_COLOR: Color = (255, 64, 160)
TRUE_COLOR: Color = (0, 229, 255)
"""RGB. Magenta and cyan are rare in overhead pictures and differ for every kind of colour vision."""

MIN_SIDE = 512
"""A picture whose longer side has fewer pixels is enlarged before anything is drawn on it."""

_SHIFT = 4
"""Binary digits after the point in the coordinates given to OpenCV."""


def draw_boxes(
    image: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[str] = (),
    colors: Color | Sequence[Color] = PREDICTED_COLOR,
    line_width: int | None = None,
) -> Image.Image:
    """Draw rotated boxes with labels beside them.

    Args:
        image: RGB picture of any size; it is not changed.
        boxes: (N, 5): cx, cy, w, h in pixels of the picture, angle in radians, clockwise on screen.
        labels: One text a box, empty for none; no labels at all if there are none.
        colors: One RGB colour for all boxes, or one a box; :data:`TRUE_COLOR` has a wider line.
        line_width: Width of the outlines in pixels of the drawing; None fits it to the drawing's size.

    Returns:
        The picture with the boxes, enlarged by a whole number if it is small.

    Raises:
        ValueError: If the numbers of boxes, labels and colours differ.
    """
    corners = box_corners(np.reshape(boxes, (-1, 5)))
    colors = [colors] * len(corners) if isinstance(colors[0] if len(colors) else 0, int) else list(colors)
    if len(colors) != len(corners) or len(labels) not in (0, len(corners)):
        raise ValueError(f'{len(corners)} boxes were given with {len(colors)} colours and {len(labels)} labels')
    scale = max(1, -(-MIN_SIDE // max(image.size)))
    canvas = image.convert('RGB').resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    canvas = Image.fromarray(_draw_outlines(np.array(canvas), corners * scale, colors, line_width))
    if labels:
        _draw_labels(canvas, corners * scale, labels, colors)
    return canvas


def _line_width(size: tuple[int, int]) -> int:
    return max(2, round(max(size) / 350))


def _font(size: tuple[int, int]) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(13, round(max(size) / 48)))


def _draw_outlines(
    pixels: np.ndarray, corners: np.ndarray, colors: Sequence[Color], line_width: int | None
) -> np.ndarray:
    """Draw each outline with a dark rim, so that it stands out from light and dark ground alike."""
    width = line_width or _line_width(pixels.shape[1::-1])
    # Where a predicted and a true box coincide, the true one shows on both sides of the predicted one.
    widths = [round(2.5 * width) if color == TRUE_COLOR else width for color in colors]
    # Pillow's and OpenCV's pixels have their centres half a pixel apart from the edge that coordinates count from.
    points = np.round((corners - 0.5) * 2**_SHIFT).clip(-(2**28), 2**28).astype(np.int32)
    for polygon, own in zip(points, widths, strict=True):
        cv2.polylines(pixels, [polygon], True, (0, 0, 0), own + 2 * max(1, width // 2), cv2.LINE_AA, _SHIFT)
    for polygon, own, color in zip(points, widths, colors, strict=True):
        cv2.polylines(pixels, [polygon], True, color, own, cv2.LINE_AA, _SHIFT)
    return pixels


def _draw_labels(canvas: Image.Image, corners: np.ndarray, labels: Sequence[str], colors: Sequence[Color]) -> None:
    draw, font = ImageDraw.Draw(canvas), _font(canvas.size)
    taken: list[tuple[float, float, float, float]] = []
    for polygon, label, color in zip(corners, labels, colors, strict=True):
        if not label:
            continue
        text = wrap(label, font, canvas.width * 0.45, max_lines=3)
        padding = max(2, round(font.size / 5))
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font, spacing=padding)
        size = (right - left + 2 * padding, bottom - top + 2 * padding)
        place = _label_place(polygon, size, canvas.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=color, outline=(0, 0, 0))
        ink = (0, 0, 0) if np.dot(color, (0.299, 0.587, 0.114)) > 128 else (255, 255, 255)
        draw.multiline_text((place[0] + padding - left, place[1] + padding - top), text, ink, font, spacing=padding)


def _label_place(
    polygon: np.ndarray,
    size: tuple[float, float],
    canvas: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Find a place for a label: above, below, right of, left of or inside its box, where it hides the fewest labels."""
    (x0, y0), (x1, y1) = polygon.min(0), polygon.max(0)
    (width, height), gap = size, _line_width(canvas)
    middle = ((x0 + x1 - width) / 2, (y0 + y1 - height) / 2)
    wishes = [
        (middle[0], y0 - height - gap),
        (middle[0], y1 + gap),
        (x1 + gap, middle[1]),
        (x0 - width - gap, middle[1]),
        middle,
    ]
    most = np.maximum(0, np.subtract(canvas, size))
    places = []
    for wish in wishes:
        left, top = (float(v) for v in np.clip(wish, 0, most))
        place = (left, top, left + width, top + height)
        shift = abs(left - wish[0]) + abs(top - wish[1])
        places.append((sum(_overlap(place, other) for other in taken), shift, place))
    return min(places, key=lambda entry: entry[:2])[2]


def _overlap(first: Sequence[float], second: Sequence[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float, max_lines: int) -> str:
    """Break a text into lines of at most ``width`` pixels; what does not fit ends in an ellipsis."""
    lines, words = [], text.split()
    while words and len(lines) < max_lines:
        count = 1
        while count < len(words) and font.getlength(' '.join(words[: count + 1])) <= width:
            count += 1
        lines.append(' '.join(words[:count]))
        words = words[count:]
    if words:
        lines[-1] += ' \u2026'
    return '\n'.join(_shorten(line, font, width) for line in lines)


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    while len(line) > 1 and font.getlength(line + '\u2026') > width:
        line = line[:-1]
    return line + '\u2026'


def draw_comparison(
    image: Image.Image,
    predicted: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[str] = (),
    caption: Sequence[str] = (),
) -> Image.Image:
    """Draw predicted boxes over true ones, with a legend and lines of text below the picture.

    Args:
        image: RGB picture of any size; it is not changed.
        predicted: (N, 5) predicted boxes, as :func:`draw_boxes` takes them.
        truth: (M, 5) true boxes.
        labels: One text a predicted box, or none at all.
        caption: Lines below the picture, such as the question and the answer.
    """
    truth, predicted = np.reshape(truth, (-1, 5)), np.reshape(predicted, (-1, 5))
    colors = [TRUE_COLOR] * len(truth) + [PREDICTED_COLOR] * len(predicted)
    all_labels = [''] * len(truth) + list(labels) if len(labels) else ()
    return _add_caption(draw_boxes(image, np.concatenate([truth, predicted]), all_labels, colors), caption)


def _add_caption(picture: Image.Image, caption: Sequence[str]) -> Image.Image:
    font = _font(picture.size)
    margin, line_height = font.size // 2, round(font.size * 1.35)
    texts = [wrap(line, font, picture.width - 2 * margin, max_lines=3) for line in caption]
    lines = [line for text in texts for line in text.split('\n')]
    height = picture.height + line_height * (len(lines) + 1) + 2 * margin
    page = Image.new('RGB', (picture.width, height), (255, 255, 255))
    page.paste(picture)
    draw, x, y = ImageDraw.Draw(page), margin, picture.height + margin
    for name, color in (('truth', TRUE_COLOR), ('predicted', PREDICTED_COLOR)):
        draw.rectangle((x, y + 2, x + font.size, y + font.size), fill=color, outline=(0, 0, 0))
        draw.text((x + 1.4 * font.size, y), name, (0, 0, 0), font)
        x += round(2.4 * font.size + font.getlength(name))
    for line in lines:
        y += line_height
        draw.text((margin, y), line, (0, 0, 0), font)
    return page
