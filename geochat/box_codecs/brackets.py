"""Box languages of numbers in square brackets: EarthDial's, VHM's, LHRS-Bot's, EarthGPT's, TEOChat's, All-Seeing's."""

import re
from collections.abc import Iterator

from geochat.box_codecs.geochat import sense_sign
from geochat.box_codecs.grids import Grid, SquareGrid
from geochat.box_codecs.numeric import Candidate, NumericBoxCodec
from geochat.box_codecs.policy import is_number
from geochat.box_codecs.shapes import Corners, TurnedEdges, Upright
from geochat.registry import BOX_CODECS

_LIST = re.compile(r'\[([^\[\]]*)(\]?)')
_NUMBERS = re.compile(r'[\s,0-9+\-.]*')
_DIGIT = re.compile(r'[0-9]')


class BracketBoxCodec(NumericBoxCodec):
    """A box language of lists of numbers, ``[x1, y1, x2, y2]``. A list within lists is a box like any other."""

    first = '['
    between = ', '
    last = ']'
    joint = ', '
    separator = r'[\s,;\[\]]*'
    opening = r'\[*'
    closing = r'\]*'

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find innermost lists of two numbers and more, or of as many fields as a box has."""
        for group in _LIST.finditer(text):
            if group[2]:
                fields = [field.strip() for field in group[1].split(',')]
                all_numbers = len(fields) > 1 and all(map(is_number, fields))
                if all_numbers or (len(fields) in self.shape.counts and _DIGIT.search(group[1])):
                    yield Candidate(group.span(), fields)
            else:
                numbers = _NUMBERS.match(group[1])[0].rstrip()
                if _DIGIT.search(numbers):
                    yield Candidate((group.start(), group.start() + 1 + len(numbers)), (), broken='unclosed')


@BOX_CODECS.register_module(name=['EarthDialBoxCodec', 'earthdial'])
class EarthDialBoxCodec(BracketBoxCodec):
    """Rotated boxes as EarthDial writes them: ``[[x1, y1, x2, y2, angle]]``, several as ``[[...]][[...]]``.

    The numbers are GeoChat's: the edges before turning in whole per cent and whole degrees from 0 to 90; four numbers
    are an upright box. Labels are written ``<ref>ship</ref> <box>[[[...]][[...]]]</box>`` in its data.

    Args:
        sense: Which way a positive angle in the text turns on screen. The data are clockwise; EarthDial's scorer turns
            counter-clockwise.
        signed: Whether numbers with a sign or decimals are read. EarthDial's scorer looks for digits only, so that it
            leaves out every box that reaches over the left or top edge; its published scores are reproduced with False.

    Raises:
        ValueError: If ``sense`` is none of the two.
    """

    first = '[['
    last = ']]'
    joint = ''
    opening = r'(<box>\s*)?\[*'
    closing = r'\]*(\s*</box>)?'
    phrase_marks = ('<ref>', '</ref>')

    def __init__(self, sense: str = 'clockwise', signed: bool = True):
        super().__init__(Grid(100), TurnedEdges(sense_sign(sense)))
        self.signed = signed

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find lists; without ``signed`` only those of digits can be read."""
        for candidate in super().candidates(text):
            if self.signed or candidate.broken or all(field.isdecimal() for field in candidate.fields):
                yield candidate
            else:
                yield Candidate(candidate.span, candidate.fields, broken='syntax')


@BOX_CODECS.register_module(name=['VHMBoxCodec', 'vhm'])
class VHMBoxCodec(BracketBoxCodec):
    """Upright boxes as VHM (H2RSVLM) writes them, ``[x1, y1, x2, y2]``, in whole thousandths of the picture's sides."""

    def __init__(self):
        super().__init__(Grid(1000, bounded=True), Upright())


@BOX_CODECS.register_module(name=['TEOChatBoxCodec', 'teochat'])
class TEOChatBoxCodec(BracketBoxCodec):
    """Upright boxes as TEOChat writes them, ``[x1, y1, x2, y2]``, in whole per cent of the picture's sides."""

    def __init__(self):
        super().__init__(Grid(100, bounded=True), Upright())


@BOX_CODECS.register_module(name=['LHRSBoxCodec', 'lhrs'])
class LHRSBoxCodec(BracketBoxCodec):
    """Upright boxes as LHRS-Bot writes them, ``[x1,y1,x2,y2]``, in shares of the picture's sides from 0 to 1.

    Args:
        decimals: Digits after the point that are written; any number of them is read. LHRS-Bot's files do not say how
            many it uses.
    """

    between = ','

    def __init__(self, decimals: int = 2):
        super().__init__(Grid(1, decimals=_checked_decimals(decimals), bounded=True), Upright())


@BOX_CODECS.register_module(name=['EarthGPTBoxCodec', 'earthgpt'])
class EarthGPTBoxCodec(BracketBoxCodec):
    """Upright boxes as EarthGPT's data (MMRS-1M) have them, ``[x1,y1,x2,y2]``, on the picture padded to a square.

    The numbers are shares of the square's side from 0 to 1.

    Args:
        decimals: Digits after the point that are written; any number of them is read. EarthGPT's files do not say how
            many it uses.
        padding: Where the picture stands in the square, see :class:`~geochat.box_codecs.grids.SquareGrid`; EarthGPT's
            files do not say.

    Raises:
        ValueError: If there is no such padding.
    """

    between = ','

    def __init__(self, decimals: int = 2, padding: str = 'centre'):
        grid = SquareGrid(1, decimals=_checked_decimals(decimals), bounded=True, padding=padding)
        super().__init__(grid, Upright())


@BOX_CODECS.register_module(name=['AllSeeingBoxCodec', 'allseeing'])
class AllSeeingBoxCodec(BracketBoxCodec):
    """Boxes as All-Seeing v2 and InternVL write them: ``<box>[[x1, y1, x2, y2], ...]</box>``, in thousandths.

    Args:
        corners: Whether a box is its four corners, eight numbers, as LMMRotate has rotated boxes in this language; else
            it is upright.
    """

    list_marks = ('<box>[', ']</box>')
    opening = r'(<box>\s*)?\[*'
    closing = r'\]*(\s*</box>)?'
    phrase_marks = ('<ref>', '</ref>')
    phrase_joint = ''

    def __init__(self, corners: bool = False):
        super().__init__(Grid(1000, bounded=True), Corners() if corners else Upright())


def _checked_decimals(decimals: int) -> int:
    if not 1 <= decimals <= 9:
        raise ValueError(f'a share of a side is written with 1 to 9 decimals, not {decimals!r}')
    return decimals
