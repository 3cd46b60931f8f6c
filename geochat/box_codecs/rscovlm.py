"""RSCoVLM's box languages: upright, rotated and by corners, in pixels of the picture as its processor resizes it."""

import re
from collections.abc import Iterator, Sequence

from geochat.box_codecs.grids import ResizedGrid
from geochat.box_codecs.json_objects import JsonBoxCodec
from geochat.box_codecs.numeric import Candidate
from geochat.box_codecs.policy import NUMBER
from geochat.box_codecs.shapes import CentreSides, Corners, Shape, Upright
from geochat.registry import BOX_CODECS

_NEXT_BOX = r'[ \t][+\-0-9.]{1,12}[ \t]*,[ \t]*[+\-0-9.]{1,12}[ \t]*,'
_LINE = re.compile(
    rf'(?<![\w.,+-])({NUMBER}(?:[ \t]*,[ \t]*{NUMBER}){{2,}})(?:[ \t]+([^\s\d](?:(?!{_NEXT_BOX})[^\n])*))?'
)


class RSCoVLMCodec(JsonBoxCodec):
    """A box language of RSCoVLM: JSON as Qwen2.5-VL's with a key of its own, or lines ``x1,y1,x2,y2 ship``.

    RSCoVLM is trained on both and its prompt says which is wanted. Only that one is read.

    Args:
        shape: Which numbers a box has.
        key: The key of a box's numbers in JSON.
        bounded: Whether numbers beyond the picture cannot be written.
        plain: Whether boxes are lines, not JSON.
        min_pixels: Least pixels of the resized picture, as the processor is set.
        max_pixels: Most pixels of the resized picture, as the processor is set.
    """

    def __init__(self, shape: Shape, key: str, bounded: bool, plain: bool, min_pixels: int, max_pixels: int):
        self.plain = plain
        super().__init__(ResizedGrid(bounded=bounded, min_pixels=min_pixels, max_pixels=max_pixels), shape, key)
        if plain:
            self.pattern = ','.join(shape.pattern(self.grid)) + r'( [A-Za-z][^\n]*)?'
            self.joint, self.list_marks = '\n', ('', '')
            self.separator, self.opening, self.closing = r'\s*', '', ''

    def pieces(self) -> list[str]:
        """Return what is written around and between the numbers of a box."""
        return ['', *[','] * (self.shape.written - 1), ''] if self.plain else super().pieces()

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Find objects, or three and more numbers with commas between, each with the rest of its line as label."""
        if not self.plain:
            yield from super().candidates(text)
            return
        for match in _LINE.finditer(text):
            label = (match.start(2), match.start(2) + len(match[2].rstrip())) if match[2] else None
            end = label[1] if label else match.end()
            yield Candidate((match.start(), end), [field.strip() for field in match[1].split(',')], label=label)

    def label_text(self, written: str) -> str:
        """Return a label from the characters that stand for it."""
        return written if self.plain else super().label_text(written)

    def write_labelled(self, boxes: Sequence[str], labels: Sequence[str]) -> str:
        """Write each label into its box's object, or after its box."""
        if not self.plain:
            return super().write_labelled(boxes, labels)
        return self.write_list([f'{box} {label}' for box, label in zip(boxes, labels, strict=True)])


@BOX_CODECS.register_module(name=['RSCoVLMUprightCodec', 'rscovlm_hbb'])
class RSCoVLMUprightCodec(RSCoVLMCodec):
    """Upright boxes x1, y1, x2, y2 under ``bbox_2d``; see :class:`RSCoVLMCodec` for the settings."""

    def __init__(self, plain: bool = False, min_pixels: int = 3136, max_pixels: int = 12845056):
        super().__init__(Upright(), 'bbox_2d', True, plain, min_pixels, max_pixels)


@BOX_CODECS.register_module(name=['RSCoVLMRotatedCodec', 'rscovlm_obb'])
class RSCoVLMRotatedCodec(RSCoVLMCodec):
    """Rotated boxes cx, cy, w, h, angle under ``oriented bbox``; see :class:`RSCoVLMCodec` for the settings.

    w is the longer side, the angle is in whole degrees from -90 to 89, clockwise on screen. A box is a rectangle on the
    resized picture; where that has another shape than the original, it is stretched so that w and the area are right.
    """

    def __init__(self, plain: bool = False, min_pixels: int = 3136, max_pixels: int = 12845056):
        shape = CentreSides(long_side=True, turned_in_pixels=False)
        super().__init__(shape, 'oriented bbox', False, plain, min_pixels, max_pixels)


@BOX_CODECS.register_module(name=['RSCoVLMQuadCodec', 'rscovlm_quad'])
class RSCoVLMQuadCodec(RSCoVLMCodec):
    """Rotated boxes by their corners under ``quadrant bbox``; see :class:`RSCoVLMCodec` for the settings.

    Corners are written clockwise on screen from the topmost one, as in RSCoVLM's detection data and prompts; those of
    its referring data run the other way. Either is read.
    """

    def __init__(self, plain: bool = False, min_pixels: int = 3136, max_pixels: int = 12845056):
        super().__init__(Corners(), 'quadrant bbox', True, plain, min_pixels, max_pixels)
