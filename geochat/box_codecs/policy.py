"""What is done with malformed boxes, in every box language alike; ``docs/box_codecs.md`` has the table."""

import re
from collections.abc import Sequence

LIMIT = 1e9
"""Largest absolute value that a number of a box text may have; float64 stays exact on the grids up to there."""

LEFT_OUT = {
    'wrong_count': '{} numbers; a box has {}',
    'not_a_number': '{} is not a number',
    'syntax': 'something else than numbers as this box language writes them',
    'too_large': 'a number beyond 1e9',
    'negative_side': 'a side of negative length',
    'unclosed': 'the text ends or another box begins before the box is complete',
}
"""Codes and messages of boxes that cannot be read."""

READ_ALL_THE_SAME = {
    'unclosed_complete': 'all numbers are there, the closing mark is not',
    'no_bar': 'no bar before the angle',
    'reversed': 'a right or bottom edge before the left or top one; they are exchanged',
    'degenerate': 'a side of length 0',
    'angle_range': 'an angle outside the range of this box language; taken as it stands',
}
"""Codes and messages of boxes that are read in spite of what is wrong."""

UNCLOSED_PHRASE = 'a phrase that is not closed'

NUMBER = r'[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)'
"""A number as it is read."""

Finding = tuple[str, str]
"""Code and message of a diagnostic."""

_IS_NUMBER = re.compile(NUMBER)


def is_number(text: str) -> bool:
    """Tell whether a text is a number, with nothing around it."""
    return _IS_NUMBER.fullmatch(text) is not None


def left_out(code: str, *details: object) -> Finding:
    """Return why a box cannot be read."""
    return code, LEFT_OUT[code].format(*details)


def read_numbers(fields: Sequence[str], counts: Sequence[int]) -> tuple[list[float] | None, Finding | None]:
    """Read the numbers of a box.

    Args:
        fields: What stands where numbers should, without white space around it.
        counts: How many numbers a box may have.

    Returns:
        The numbers, or None and why there is no box to read.
    """
    for field in fields:
        if not is_number(field):
            return None, left_out('not_a_number', repr(field[:20]))
    if len(fields) not in counts:
        return None, left_out('wrong_count', len(fields), _choice(counts))
    numbers = [float(field) for field in fields]
    if max(map(abs, numbers)) > LIMIT:
        return None, left_out('too_large')
    return numbers, None


def _choice(counts: Sequence[int]) -> str:
    if isinstance(counts, range):
        return f'{counts.start} or more, two a corner'
    return ' or '.join(map(str, counts))
