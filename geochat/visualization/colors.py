"""A colour for each phrase, the same on the picture and in the text."""

import colorsys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

PREDICTED_COLOR: Color = (255, 64, 160)
TRUE_COLOR: Color = (0, 229, 255)
"""Magenta and cyan are rare in overhead pictures and differ for every kind of colour vision."""

PALETTE: tuple[Color, ...] = (
    PREDICTED_COLOR,
    (255, 214, 10),
    (70, 150, 255),
    (255, 130, 0),
    (120, 255, 60),
    (180, 110, 255),
    (255, 255, 255),
    (255, 60, 45),
    (0, 205, 160),
    (255, 170, 200),
)
"""The colours of the first phrases: far apart, and without :data:`TRUE_COLOR`."""

_GOLDEN_RATIO = (5**0.5 - 1) / 2


def phrase_key(phrase: str) -> str:
    """Return what phrases have in common that are the same: case and white space do not count."""
    return ' '.join(phrase.casefold().split())


def phrase_colors(phrases: Iterable[str], known: Mapping[str, Color] | None = None) -> dict[str, Color]:
    """Give every phrase a colour; the same phrase has the same, whatever its case.

    Args:
        phrases: Phrases in the order in which they are to get the colours of :data:`PALETTE`, and more after these.
        known: Colours that phrases have already, as in earlier turns of a dialogue.

    Returns:
        The colour of each phrase, and those that were known.
    """
    colors = dict(known or {})
    by_key = {phrase_key(phrase): color for phrase, color in colors.items()}
    new_colors = (color for color in _all_colors() if color not in by_key.values())
    for phrase in phrases:
        key = phrase_key(phrase)
        if key not in by_key:
            by_key[key] = next(new_colors)
        colors[phrase] = by_key[key]
    return colors


def _all_colors() -> Iterator[Color]:
    """Yield the palette, then colours whose hues divide the circle ever more finely; they never end."""
    turned = (_bright(place * _GOLDEN_RATIO % 1, (0.75, 0.45)[place % 2]) for place in count())
    return chain(PALETTE, turned)


def _bright(hue: float, saturation: float) -> Color:
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, saturation, 1.0))
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Return black or white, whichever has more contrast to a colour (Web Content Accessibility Guidelines 2.2)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in color)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast is the ratio of two luminances, 0.05 added to each: here black and white have the same.
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 0.05 * 1.05 else (255, 255, 255)


def hex_color(color: Color) -> str:
    """Return a colour as web pages write it, such as ``'#ff40a0'``."""
    return '#{:02x}{:02x}{:02x}'.format(*color)
