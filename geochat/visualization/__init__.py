"""Pictures for people: rotated boxes and phrases drawn on images, and answers whose phrases have their boxes' colours.

:mod:`geochat.visualization.visualizer` gives them to MMEngine; it alone imports torch.
"""

from geochat.visualization.answers import draw_answer
from geochat.visualization.boxes import add_legend, draw_boxes, draw_comparison
from geochat.visualization.colors import PALETTE, PREDICTED_COLOR, TRUE_COLOR, Color, hex_color, ink_on, phrase_colors
from geochat.visualization.text import colored_html, text_pieces

__all__ = [
    'PALETTE',
    'PREDICTED_COLOR',
    'TRUE_COLOR',
    'Color',
    'add_legend',
    'colored_html',
    'draw_answer',
    'draw_boxes',
    'draw_comparison',
    'hex_color',
    'ink_on',
    'phrase_colors',
    'text_pieces',
]
