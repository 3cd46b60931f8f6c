"""The words of an answer with their phrases in the colours of the boxes."""

from collections.abc import Mapping
from html import escape

from geochat.structures import GroundedText
from geochat.visualization.colors import Color, hex_color, ink_on


def text_pieces(grounded: GroundedText) -> list[tuple[str, str | None]]:
    """Cut the words of an answer, without boxes and marks, at the ends of its phrases.

    Gradio's ``HighlightedText`` takes these pieces as they are, with ``hex_color`` of each phrase's colour as its
    ``color_map``.

    Args:
        grounded: The answer, as a box codec read it.

    Returns:
        Each piece with the phrase that it is, None for the words between phrases. A language whose phrases stand inside
        of its boxes leaves no words: then the phrases are the pieces, with commas between them.
    """
    pieces = [(text, phrase.text if phrase else None) for text, phrase in grounded.pieces]
    if any(text.strip() for text, _ in pieces) or not grounded.phrases:
        return pieces
    listed = [piece for phrase in grounded.phrases for piece in ((', ', None), (phrase.text, phrase.text))]
    return listed[1:]


def colored_html(grounded: GroundedText, colors: Mapping[str, Color]) -> str:
    """Return the words of an answer as HTML, with the phrases in their colours.

    Args:
        grounded: The answer, as a box codec read it.
        colors: The colour of each phrase, as :func:`~geochat.visualization.phrase_colors` gives them; a phrase that has
            none is left as it is.

    Returns:
        Text that is escaped, and a ``<mark>`` with its own style for each phrase, legible on light and dark pages.
    """
    return ''.join(
        escape(text) if phrase not in colors else _mark(text, colors[phrase]) for text, phrase in text_pieces(grounded)
    )


def _mark(text: str, color: Color) -> str:
    return f'<mark style="background:{hex_color(color)};color:{hex_color(ink_on(color))}">{escape(text)}</mark>'
