"""The report's plots, as SVG that takes its ink from the page: legible on light and dark ground, and in print."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from geochat.evaluation.functional import OTHER
from geochat.visualization.report.statistics import THRESHOLDS, Confusion
from geochat.visualization.report.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ('#4a7fe0', '#dd7a2b', '#2f9e62')
"""Blue, orange and green of middling lightness: they stand out from white and from near black."""

_INK = '#010203'
"""Stands for the page's colour of text until the SVG is written."""

_SETTINGS = {
    'svg.fonttype': 'none',  # words stay words: they can be searched, and take little room
    'svg.hashsalt': 'geochat',  # the same plot is the same text
    'text.parse_math': False,  # a class name may have dollar signs in it
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    **dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), _INK),
}

_PIXELS_PER_POINT = 1.3
"""How large the plots stand in the page: their words are then about as large as its small print."""

LONGEST_NAME = 24
"""Characters of a name on an axis."""


def group_bars(title: str, scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> str:
    """Draw a bar for each group of questions.

    Args:
        title: What the plot shows.
        scores: Score in [0, 1] by group.
        intervals: Lower and upper bound by group, for any of them.

    Returns:
        An ``<svg>`` element.
    """

    def draw(axes: 'Axes') -> None:
        values, rows = list(scores.values()), range(len(scores))
        axes.barh(rows, values, color=COLORS[0], height=0.6)
        for row, (group, value) in enumerate(scores.items()):
            low, high = intervals.get(group, (value, value))
            if high > low:
                axes.plot((low, high), (row, row), color=_INK, linewidth=1.2, marker='|')
            axes.text(1.02, row, f'{value:.3f}', va='center')
        axes.set_yticks(rows, [_short(group) for group in scores])
        axes.set(xlim=(0, 1), ylim=(len(scores) - 0.4, -0.6))

    return _svg(title, draw, size=(4.4, 0.7 + 0.3 * len(scores)))


def overlap_histogram(overlaps: np.ndarray) -> str:
    """Draw how well true boxes are covered.

    Args:
        overlaps: (N,) overlap of each true box with its partner; 0 without one.
    """

    def draw(axes: 'Axes') -> None:
        edges = np.linspace(0, 1, 21)
        heights, _ = np.histogram(overlaps[overlaps > 0], edges)
        axes.bar(edges[:-1] + 0.025, heights, width=0.045, color=COLORS[0])
        axes.bar(-0.06, int((overlaps == 0).sum()), width=0.045, color=COLORS[1])
        axes.axvline(0.5, color=_INK, linewidth=0.8, linestyle=':')
        axes.set_xticks([-0.06, 0.25, 0.5, 0.75, 1], ['none', '0.25', '0.5', '0.75', '1'])
        axes.set(xlabel='overlap (rotated IoU) of a true box', ylabel='true boxes', xlim=(-0.11, 1.01))

    return _svg('Overlap of true boxes with their partners', draw, size=(4.4, 2.8))


def threshold_curves(curves: Mapping[str, np.ndarray]) -> str:
    """Draw scores over the overlap that counts as right.

    Args:
        curves: Values at each of :data:`~geochat.visualization.report.statistics.THRESHOLDS`, by name.
    """

    def draw(axes: 'Axes') -> None:
        for (name, values), color, style in zip(curves.items(), COLORS, ('-', '--', ':'), strict=False):
            axes.plot(THRESHOLDS, values, color=color, linestyle=style, linewidth=2, label=name)
        axes.grid(alpha=0.2, color=_INK)
        axes.set(xlabel='overlap (rotated IoU) that counts', xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False)

    return _svg('Precision and recall', draw, size=(4.4, 2.8))


def confusion_matrix(table: Confusion) -> str:
    """Draw which classes are taken for which, each row as shares of its true class."""
    most = max(1, int(table.counts.sum(axis=1).max()))
    shares = table.counts / np.maximum(table.counts.sum(axis=1, keepdims=True), 1)
    rows, columns = shares.shape
    if not table.counts[:, -1].any():
        columns -= 1  # every answer is a class

    def draw(axes: 'Axes') -> None:
        colored = np.empty((rows, columns, 4))
        colored[..., :3] = [int(COLORS[0][start : start + 2], 16) / 255 for start in (1, 3, 5)]
        colored[..., 3] = shares[:, :columns] ** 0.7  # rare slips are to be seen
        axes.imshow(colored, interpolation='none', aspect='equal')
        names = [_short(name) for name in (*table.classes, f'({OTHER})')]
        axes.set_xticks(range(columns), names[:columns], rotation=90)
        axes.set_yticks(range(rows), names[:rows])
        axes.set(xlabel='answer', ylabel='truth')
        axes.tick_params(length=0)
        axes.spines[:].set(visible=True, alpha=0.3)
        if rows <= 20 and most < 10_000:
            for row, column in zip(*table.counts[:, :columns].nonzero(), strict=True):
                axes.text(column, row, str(table.counts[row, column]), ha='center', va='center', fontsize=7)

    side = 1.6 + 0.27 * rows
    return _svg('Classes and answers', draw, size=(side + 0.27 * (columns - rows), side))


def _short(name: str) -> str:
    name = plain(name)
    return name if len(name) <= LONGEST_NAME else f'{name[: LONGEST_NAME - 1]}\u2026'


def _svg(title: str, draw: Callable[['Axes'], None], size: tuple[float, float]) -> str:
    """Draw on the axes of a new figure and return it as an element whose ids are unique in the page."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(['default', _SETTINGS]), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing')  # the browser has other fonts
        figure = Figure(figsize=size, layout='constrained')
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format='svg', transparent=True, metadata={'Date': None})
    return _inline(file.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    """Fit a whole SVG file into a page of HTML."""
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    prefix = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf'\g<1>p{prefix}-', svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    head = f'<svg role="img" aria-label="{escape(title)}" style="width: {width * _PIXELS_PER_POINT:.0f}px"'
    svg = re.sub(r'<svg\b', head, svg, count=1)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', '', svg, count=2)
    return svg.replace(_INK, 'currentColor')
