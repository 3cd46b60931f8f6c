"""Rotated boxes and their phrases drawn on pictures, legible at any picture size, without a display."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

from geochat.structures.polygons import box_corners
from geochat.visualization.colors import PREDICTED_COLOR, TRUE_COLOR, Color, ink_on, phrase_colors
from geochat.visualization.fonts import find_font, printable, wrap
from geochat.visualization.labels import Place, place_labels

MIN_SIDE = 512
"""A picture whose longer side has fewer pixels is enlarged before anything is drawn on it."""

_SHIFT = 4
"""Binary digits after the point in the coordinates given to OpenCV."""

_FARTHEST = 1e12
"""Pixels; the arithmetic of boxes with corners farther away fails."""

_BLACK = (0, 0, 0)


def draw_boxes(
    image: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[str] = (),
    colors: Color | Sequence[Color] | None = None,
    line_width: int | None = None,
) -> Image.Image:
    """Draw rotated boxes with labels beside them.

    Labels do not cover each other, and boxes only where there is no other room. Where boxes are crowded, not every box
    of a phrase has a label; the colour says which it is.

    Args:
        image: RGB picture of any size; it is not changed.
        boxes: (N, 5): cx, cy, w, h in pixels of the picture, angle in radians, clockwise on screen. Boxes that are not
            finite, or have corners beyond all measure, are left out.
        labels: One text a box, empty for none; no labels at all if there are none.
        colors: One RGB colour for all boxes, or one a box; :data:`TRUE_COLOR` has a wider line. None gives each phrase
            of the labels its own, that of :func:`~geochat.visualization.phrase_colors`.
        line_width: Width of the outlines in pixels of the drawing; None fits it to the drawing's size.

    Returns:
        The picture with the boxes, enlarged by a whole number if it is small.

    Raises:
        ValueError: If the numbers of boxes, labels and colours differ.
    """
    boxes = np.reshape(np.asarray(boxes, dtype=np.float64), (-1, 5))
    colors = _color_of_each(len(boxes), labels, colors)
    if len(colors) != len(boxes) or len(labels) not in (0, len(boxes)):
        raise ValueError(f'{len(boxes)} boxes were given with {len(colors)} colours and {len(labels)} labels')
    scale = max(1, -(-MIN_SIDE // max(image.size)))
    with np.errstate(over='ignore', invalid='ignore'):
        corners = box_corners(boxes) * scale
    drawable = np.flatnonzero((np.abs(corners) < _FARTHEST).all(axis=(1, 2)))
    corners = corners[drawable]
    colors = [colors[number] for number in drawable]
    labels = [labels[number] for number in drawable] if len(labels) else []
    canvas = image.convert('RGB').resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    canvas = Image.fromarray(_draw_outlines(np.array(canvas), corners, colors, line_width))
    if labels:
        _draw_labels(canvas, corners, labels, colors)
    return canvas


def _color_of_each(count: int, labels: Sequence[str], colors: Color | Sequence[Color] | None) -> list[Color]:
    if colors is None:
        by_phrase = phrase_colors(labels or [''])
        return [by_phrase[label] for label in labels or [''] * count]
    return [colors] * count if len(colors) and isinstance(colors[0], int) else list(colors)


def _font_size(size: tuple[int, int]) -> int:
    """Return the height of letters that suits a picture: a part of its longer side, unless it is a narrow strip."""
    return max(13, round(min(max(size) / 48, min(size) / 12)))


def _line_width(size: tuple[int, int]) -> int:
    return max(2, round(_font_size(size) / 7.5))


def _draw_outlines(
    pixels: np.ndarray, corners: np.ndarray, colors: Sequence[Color], line_width: int | None
) -> np.ndarray:
    """Draw each outline with a dark rim, so that it stands out from light and dark ground alike."""
    width = line_width or _line_width(pixels.shape[1::-1])
    shorter = np.linalg.norm(corners[:, [1, 2]] - corners[:, [0, 1]], axis=-1).min(1, initial=np.inf)
    # Lines of full width would fill a small box.
    widths = np.clip(shorter // 6, 2, width).astype(int)
    # Where a predicted and a true box coincide, the true one shows on both sides of the predicted one.
    factors = [2.5 if color == TRUE_COLOR else 1 for color in colors]
    lines = [_visible_lines(polygon, pixels.shape[1::-1], margin=8 * width) for polygon in corners]
    for parts, own, factor in zip(lines, widths, factors, strict=True):
        rim = round(factor * own) + 2 * max(1, int(own) // 2)
        cv2.polylines(pixels, parts, False, _BLACK, rim, cv2.LINE_AA, _SHIFT)
    for parts, own, factor, color in zip(lines, widths, factors, colors, strict=True):
        cv2.polylines(pixels, parts, False, color, round(factor * own), cv2.LINE_AA, _SHIFT)
    return pixels


def _visible_lines(polygon: np.ndarray, size: tuple[int, int], margin: int) -> list[np.ndarray]:
    """Return the parts of an outline in and around the picture: OpenCV takes seconds for one that reaches far."""
    ring = np.concatenate([polygon, polygon[:1]])
    parts = [ring]
    if (ring < -margin).any() or (ring > np.add(size, margin)).any():
        clipped = shapely.clip_by_rect(shapely.LineString(ring), -margin, -margin, *np.add(size, margin))
        parts = [shapely.get_coordinates(part) for part in shapely.get_parts(clipped)]
    # Pillow's and OpenCV's pixels have their centres half a pixel apart from the edge that coordinates count from.
    return [np.round((part - 0.5) * 2**_SHIFT).astype(np.int32) for part in parts if len(part)]


def _draw_labels(canvas: Image.Image, corners: np.ndarray, labels: Sequence[str], colors: Sequence[Color]) -> None:
    draw, size, gap = ImageDraw.Draw(canvas), _font_size(canvas.size), 1.5 * _line_width(canvas.size)
    made = {label: _Label(label, size, canvas.width) for label in set(labels)}
    sizes = [made[label].size for label in labels]
    places = place_labels(corners, sizes, labels, canvas.size, gap)
    placed = [entry for entry in zip(places, corners, labels, colors, strict=True) if entry[0] is not None]
    for place, polygon, _, color in placed:
        if place.distance > size:
            _draw_leader(draw, place, polygon, color, max(1, round(0.6 * _line_width(canvas.size))))
    for place, _, label, color in placed:
        made[label].draw(draw, place, color)


class _Label:
    """The text of a label, broken into lines.

    Args:
        text: What it says.
        font_size: Height of a line in pixels, roughly.
        canvas_width: Width of the picture in pixels; a label takes less than half of it, unless that is little.
    """

    def __init__(self, text: str, font_size: int, canvas_width: int):
        text = printable(text)
        self.font = find_font(text, font_size)
        self.padding = max(2, round(font_size / 5))
        widest = min(max(0.45 * canvas_width, 10 * font_size), canvas_width - 2 * self.padding)
        self.text = wrap(text, self.font, widest, max_lines=3)
        box = _measure().multiline_textbbox((0, 0), self.text, self.font, spacing=self.padding)
        self.left, self.top = box[:2]
        self.size = (box[2] - box[0] + 2 * self.padding, box[3] - box[1] + 2 * self.padding)

    def draw(self, draw: ImageDraw.ImageDraw, place: Place, color: Color) -> None:
        """Draw the label."""
        # The rectangle's last pixels belong to it: one less, or neighbours would share a row.
        draw.rectangle((place.left, place.top, place.right - 1, place.bottom - 1), fill=color, outline=_BLACK)
        start = (place.left + self.padding - self.left, place.top + self.padding - self.top)
        draw.multiline_text(start, self.text, ink_on(color), self.font, spacing=self.padding)


def _measure() -> ImageDraw.ImageDraw:
    return ImageDraw.Draw(Image.new('RGB', (1, 1)))


def _draw_leader(draw: ImageDraw.ImageDraw, place: Place, polygon: np.ndarray, color: Color, width: int) -> None:
    """Draw a line from a label that stands apart to its box, or to the picture's edge if the box is outside."""
    line = shapely.shortest_line(shapely.box(*place[:4]), shapely.LinearRing(polygon))
    visible = shapely.clip_by_rect(line, 0, 0, *draw.im.size)
    points = [tuple(point) for point in shapely.get_coordinates(visible)]
    draw.line(points, _BLACK, width + 2)
    draw.line(points, color, width)


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
    drawing = draw_boxes(image, np.concatenate([truth, predicted]), all_labels, colors)
    return add_legend(drawing, {'truth': TRUE_COLOR, 'predicted': PREDICTED_COLOR}, caption)


def add_legend(picture: Image.Image, colors: Mapping[str, Color], caption: Sequence[str] = ()) -> Image.Image:
    """Add what colours mean, and lines of text, below a picture.

    Args:
        picture: RGB picture, as :func:`draw_boxes` returns it; it is not changed.
        colors: Colours by what they mean, such as those of :func:`~geochat.visualization.phrase_colors`.
        caption: Lines of text; a long one is broken, and cut after three lines.
    """
    size = _font_size(picture.size)
    margin, line_height = size // 2, round(size * 1.35)
    inner = picture.width - 2 * margin
    entries = _legend_rows(colors, size, inner)
    lines = []
    for text in map(printable, caption):
        font = find_font(text, size)
        lines += [(line, font) for line in wrap(text, font, inner, max_lines=3).split('\n')]
    rows = len(entries) + len(lines)
    page = Image.new('RGB', (picture.width, picture.height + line_height * rows + 2 * margin), (255, 255, 255))
    page.paste(picture)
    draw, y = ImageDraw.Draw(page), picture.height + margin
    for row in entries:
        for x, name, font, color in row:
            draw.rectangle((margin + x, y + 2, margin + x + size, y + size), fill=color, outline=_BLACK)
            draw.text((margin + x + 1.4 * size, y), name, _BLACK, font)
        y += line_height
    for line, font in lines:
        draw.text((margin, y), line, _BLACK, font)
        y += line_height
    return page


def _legend_rows(
    colors: Mapping[str, Color], size: int, width: float
) -> list[list[tuple[float, str, ImageFont.FreeTypeFont, Color]]]:
    """Return the entries of a legend, with where each begins, in as many rows as it takes."""
    rows: list[list] = []
    x = np.inf
    for meaning, color in colors.items():
        text = printable(meaning)
        font = find_font(text, size)
        name = wrap(text, font, width - 1.4 * size, max_lines=1)
        needed = 1.4 * size + font.getlength(name)
        if x + needed > width:
            rows.append([])
            x = 0
        rows[-1].append((x, name, font, color))
        x += needed + size
    return rows
