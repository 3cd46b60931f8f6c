"""Fonts that are there without a network, and text in them: no characters of a model's answer make drawing fail."""

import importlib.util
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

_IN_DEFAULT_FONT = frozenset(map(chr, range(32, 127))) | set('\u2018\u2019\u201c\u201d\u2026')
"""Characters of the font that comes with Pillow (Aileron): no letters but those of English."""

_FALLBACKS = (
    'DejaVuSans.ttf',  # European languages, Arabic and more
    'NotoSansCJK-Regular.ttc',
    'wqy-zenhei.ttc',
    'msyh.ttc',
    'PingFang.ttc',
    'Arial Unicode.ttf',
)
"""Looked for in the folders of the operating system; the first comes with matplotlib too."""

_NO_CHARACTER = '\U000f0000'
"""For private use, so that fonts draw for it what they draw for characters that they lack."""


def find_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the first font that has all characters of a text.

    Args:
        text: The text, as :func:`printable` returns it.
        size: Height of a line in pixels, roughly.

    Returns:
        Pillow's own font for English, matplotlib's for other European languages and some more, fonts of the operating
        system for the rest. A character that none of them has is drawn as an empty box.
    """
    if _IN_DEFAULT_FONT.issuperset(text):
        return _default_font(size)
    fonts = _fallback_fonts(size)
    return next((font for font in fonts if _has_all(font, text)), fonts[0])


@lru_cache(maxsize=32)
def _default_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=32)
def _fallback_fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    fonts = []
    for name in (_font_of_matplotlib(), *_FALLBACKS):
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return (*fonts, _default_font(size))


def _font_of_matplotlib() -> str:
    package = importlib.util.find_spec('matplotlib')  # found, not imported: that takes a second
    folder = package.submodule_search_locations[0] if package else ''
    return str(Path(folder, 'mpl-data', 'fonts', 'ttf', 'DejaVuSans.ttf'))


def _has_all(font: ImageFont.FreeTypeFont, text: str) -> bool:
    lacking = bytes(font.getmask(_NO_CHARACTER))
    return all(bytes(font.getmask(character)) != lacking for character in set(text))


def printable(text: str) -> str:
    """Return a text whose characters can all be drawn in one line.

    White space becomes single blanks; control characters, marks of direction and halves of surrogate pairs, at which
    the layout of text fails, become U+FFFD.
    """
    return ''.join(c if c.isprintable() else '\ufffd' for c in ' '.join(text.split()))


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
        lines[-1] += ' …'
    return '\n'.join(_shorten(line, font, width) for line in lines)


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    while len(line) > 1 and font.getlength(line + '…') > width:
        line = line[:-1]
    return line + '…'
