"""Box languages of the Qwen-VL family: special tokens in Qwen2-VL, JSON in Qwen2.5-VL and Qwen3-VL."""

import re
from collections.abc import Iterator

from geochat.box_codecs.grids import Grid, ResizedGrid
from geochat.box_codecs.json_objects import JsonBoxCodec
from geochat.box_codecs.numeric import Candidate, NumericBoxCodec
from geochat.box_codecs.policy import is_number
from geochat.box_codecs.shapes import Upright
from geochat.registry import BOX_CODECS

_START = '<|box_start|>'
_END = '<|box_end|>'
_PAIR = re.compile(
    r'(<\|box_start\|>\s*)?\(([^()<]*)\)\s*,\s*\(([^()<]*)\)(\s*<\|box_end\|>)?'
    r'|<\|box_start\|>([^<]*)(<\|box_end\|>)?'
)


@BOX_CODECS.register_module(name=['Qwen2BoxCodec', 'qwen2'])
class Qwen2BoxCodec(NumericBoxCodec):
    """Upright boxes as Qwen2-VL writes them: ``<|box_start|>(x1,y1),(x2,y2)<|box_end|>``, in whole thousandths.

    Labels stand in ``<|object_ref_start|>...<|object_ref_end|>``. The box tokens may be missing when it is read, as
    they are where special tokens were skipped.
    """

    first = f'{_START}('
    between = ','
    last = f'){_END}'
    separator = r'\s*,?\s*'
    phrase_marks = ('<|object_ref_start|>', '<|object_ref_end|>')
    phrase_joint = ''

    def __init__(self):
        super().__init__(Grid(1000, bounded=True), Upright())

    def pieces(self) -> list[str]:
        """Return what is written around and between the numbers of a box."""
        return [self.first, ',', '),(', ',', self.last]

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find pairs of points, and box tokens without."""
        for match in _PAIR.finditer(text):
            if match[2] is None:
                yield Candidate(match.span(), _fields(match[5]), broken='syntax' if match[6] else 'unclosed')
                continue
            points = [_fields(match[2]), _fields(match[3])]
            tagged = match[1] or match[4]
            if not tagged and not all(map(is_number, (*points[0], *points[1]))):
                continue  # parentheses of ordinary text
            uneven = len(points[0]) != 2 and len(points[0] + points[1]) == 4
            yield Candidate(match.span(), points[0] + points[1], broken='syntax' if uneven else None)


def _fields(text: str) -> list[str]:
    return [field.strip() for field in text.split(',')] if text.strip() else []


@BOX_CODECS.register_module(name=['Qwen25BoxCodec', 'qwen2_5'])
class Qwen25BoxCodec(JsonBoxCodec):
    """Upright boxes as Qwen2.5-VL writes them: JSON with pixels of the picture as its processor resizes it.

    Args:
        min_pixels: Least pixels of the resized picture, as the processor is set.
        max_pixels: Most pixels of the resized picture, as the processor is set.
    """

    def __init__(self, min_pixels: int = 3136, max_pixels: int = 12845056):
        super().__init__(ResizedGrid(bounded=True, min_pixels=min_pixels, max_pixels=max_pixels), Upright())


@BOX_CODECS.register_module(name=['Qwen3BoxCodec', 'qwen3'])
class Qwen3BoxCodec(JsonBoxCodec):
    """Upright boxes as Qwen3-VL writes them: JSON with whole thousandths of the picture's sides."""

    def __init__(self):
        super().__init__(Grid(1000, bounded=True), Upright())
