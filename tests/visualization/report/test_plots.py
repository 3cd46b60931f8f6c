"""Plots are well-formed SVG that needs nothing else, whatever the classes are called."""

import re
import xml.etree.ElementTree as ET

import numpy as np

from geochat.visualization.report import plots
from geochat.visualization.report.statistics import THRESHOLDS, Confusion


def words(svg):
    return [text for element in ET.fromstring(svg).iter() for text in element.itertext() if text.strip()]


def ids(svg):
    return set(re.findall(r'\bid="([^"]+)"', svg))


def drawn():
    counts = np.array([[3, 1, 0], [0, 2, 2]])
    return [
        plots.group_bars('accuracy by size', {'small': 0.25, 'large': 1.0}, {'small': (0.1, 0.4)}),
        plots.overlap_histogram(np.array([0, 0, 0.4, 0.9, 1.0])),
        plots.overlap_histogram(np.zeros(0)),
        plots.threshold_curves({'precision': np.array(THRESHOLDS), 'recall': np.array(THRESHOLDS)[::-1]}),
        plots.confusion_matrix(Confusion(('a', 'b'), counts)),
    ]


def test_they_are_whole_take_the_pages_ink_and_do_not_meet():
    svgs = drawn()
    for number, svg in enumerate(svgs):
        assert 'currentColor' in svg
        assert '#010203' not in svg
        places = re.findall(r'href="([^"]{5})', svg)
        assert all(place.startswith('#') or place == 'data:' for place in places)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= ids(svg)
        assert ET.fromstring(svg).get('role') == 'img'
        for other in svgs[:number]:
            assert not ids(svg) & ids(other)


def test_the_same_numbers_are_the_same_plot():
    assert drawn() == drawn()


def test_values_stand_beside_their_bars():
    svg = plots.group_bars('accuracy by size', {'small': 0.25, 'large': 1.0}, {})
    assert {'small', 'large', '0.250', '1.000', 'accuracy by size'} <= set(words(svg))


def test_names_are_words_whatever_they_hold():
    names = ('$x^2$', '<b>x</b>', 'half \ud800 a pair', 'x' * 100, '\u6a4b', '_')
    table = Confusion(names, np.eye(6, 7, dtype=np.int64))
    svg = plots.confusion_matrix(table)
    found = set(words(svg))
    assert {'$x^2$', '<b>x</b>', 'half \ufffd a pair', '\u6a4b'} <= found
    assert 'x' * 30 not in svg
    svg.encode('utf-8')


def test_a_large_matrix_stays_small():
    table = Confusion(tuple(map(str, range(64))), np.ones((64, 65), dtype=np.int64))
    assert len(plots.confusion_matrix(table)) < 200_000
