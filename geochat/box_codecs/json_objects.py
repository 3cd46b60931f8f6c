"""Box languages of JSON objects with a box and a label each."""

import json
import re
from collections.abc import Iterator, Sequence

from geochat.box_codecs.grids import Grid
from geochat.box_codecs.numeric import Candidate, NumericBoxCodec, escape_pattern
from geochat.box_codecs.shapes import Shape

STRING = r'"((?:[^"\\\n]|\\.)*)"'
"""A JSON string; its group is what stands between the quotes."""


def unescape(written: str) -> str:
    """Return what the characters between the quotes of a JSON string stand for; as they are, if they are not JSON's."""
    try:
        return json.loads(f'"{written}"', strict=False)
    except ValueError:
        return written


def escape(text: str) -> str:
    """Return a text as a JSON string, quotes included."""
    return json.dumps(text, ensure_ascii=False)


class JsonBoxCodec(NumericBoxCodec):
    """A box language of JSON objects, ``{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}``, in a fenced list.

    Reading takes single objects and bare lists, single quotes, other keys beside these two, and lists that break off.

    Args:
        grid: How the numbers lie on the picture.
        shape: Which numbers a box has.
        key: The key of a box's numbers.
    """

    between = ', '
    last = ']}'
    joint = ',\n\t'
    list_marks = ('```json\n[\n\t', '\n]\n```')
    separator = r'\s*,?\s*'
    opening = r'(```(json)?\s*)?(\[\s*)?'
    closing = r'(\s*\])?(\s*```)?'

    def __init__(self, grid: Grid, shape: Shape, key: str = 'bbox_2d'):
        self.first = f'{{"{key}": ['
        super().__init__(grid, shape)
        self.pattern = self.pattern.removesuffix(escape_pattern(self.last)) + rf'\](, "label": {STRING})?\}}'
        label = rf'["\']label["\']\s*:\s*(?:{STRING}|\'((?:[^\'\\\n]|\\.)*)\')'
        other_keys = r'[^{}\[\]]{0,200}?'
        self._object = re.compile(
            rf'(?:\{{\s*(?:{label}\s*,\s*)?)?["\']{re.escape(key)}["\']\s*:\s*\[([^\[\]{{}}]*)(\])?'
            rf'(?:{other_keys}{label})?(?:{other_keys}(\}}))?'
        )

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find the key with its list, and the label and braces around them."""
        for match in self._object.finditer(text):
            label = next((match.span(group) for group in (1, 2, 5, 6) if match[group] is not None), None)
            if not match[4]:
                yield Candidate((match.start(), match.end(3)), (), broken='unclosed')
            else:
                fields = [field.strip() for field in match[3].split(',')]
                yield Candidate(match.span(), fields, odd=() if match[7] else ('unclosed_complete',), label=label)

    def label_text(self, written: str) -> str:
        """Return a label without JSON's escapes."""
        return unescape(written)

    def write_labelled(self, boxes: Sequence[str], labels: Sequence[str]) -> str:
        """Write each label into its box's object."""
        pairs = zip(boxes, labels, strict=True)
        return self.write_list([f'{box[:-1]}, "label": {escape(label)}}}' for box, label in pairs])
