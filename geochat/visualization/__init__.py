"""Pictures for people: rotated boxes and phrases drawn on images."""

from geochat.visualization.boxes import PREDICTED_COLOR, TRUE_COLOR, draw_boxes, draw_comparison

__all__ = ['PREDICTED_COLOR', 'TRUE_COLOR', 'draw_boxes', 'draw_comparison']
