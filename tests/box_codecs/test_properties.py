"""What holds for every box language: writing and reading back, patterns, any text at all, and time."""

import inspect
import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point, box
from shapely.affinity import rotate

from geochat import box_codecs
from geochat.box_codecs import BoxCodec, transcode
from geochat.registry import BOX_CODECS

SETTINGS = {
    'allseeing corners': {'type': 'allseeing', 'corners': True},
    'earthdial as scored': {'type': 'earthdial', 'sense': 'counter_clockwise', 'signed': False},
    'earthgpt end': {'type': 'earthgpt', 'padding': 'end', 'decimals': 3},
    'geochat padded': {'type': 'geochat', 'padding': 'centre'},
    'geochat delim': {'type': 'geochat', 'sense': 'counter_clockwise', 'delim': True},
    'rscovlm_hbb plain': {'type': 'rscovlm_hbb', 'plain': True},
    'rscovlm_obb plain': {'type': 'rscovlm_obb', 'plain': True},
    'rscovlm_quad plain': {'type': 'rscovlm_quad', 'plain': True},
}
SHORT_NAMES = (
    *('geochat', 'minigpt', 'fitrs', 'earthdial', 'vhm', 'teochat', 'lhrs', 'earthgpt', 'allseeing'),
    *('florence_box', 'florence_quad', 'florence_poly', 'qwen2', 'qwen2_5', 'qwen3'),
    *('rscovlm_hbb', 'rscovlm_obb', 'rscovlm_quad', 'wkt', 'geojson'),
)
CODECS = {
    **{name: BOX_CODECS.build({'type': name}) for name in SHORT_NAMES},
    **{name: BOX_CODECS.build(cfg) for name, cfg in SETTINGS.items()},
}
NAMED = (
    *('geochat', 'geochat padded', 'geochat delim', 'earthdial', 'earthdial as scored', 'fitrs'),
    *('rscovlm_obb', 'rscovlm_obb plain'),
)
CORNERS = (
    *('allseeing corners', 'florence_quad', 'florence_poly', 'rscovlm_quad', 'rscovlm_quad plain'),
    *('wkt', 'geojson'),
)
UPRIGHT = tuple(name for name in CODECS if name not in NAMED + CORNERS)
BEYOND_THE_PICTURE = (
    *('geochat', 'geochat padded', 'geochat delim', 'earthdial', 'fitrs', 'rscovlm_obb', 'rscovlm_obb plain'),
)
"""Languages that are tried with boxes across the picture's edge; the others write numbers within the picture only, or
(EarthDial's scorer) do not read a sign."""

LINEAR = [CODECS[name] for name in ('geochat', 'earthdial', 'florence_poly', 'qwen2', 'qwen3', 'wkt', 'geojson')]
LINEAR.append(CODECS['rscovlm_obb plain'])
"""One codec of each way to find boxes."""

every_codec = pytest.mark.parametrize('name', CODECS)

SIDES = st.integers(1, 10_000)
ANGLES = st.one_of(
    st.floats(-4 * math.pi, 4 * math.pi),
    st.integers(-8, 8).flatmap(lambda n: st.floats(-0.02, 0.02).map(lambda hair: n * math.pi / 2 + hair)),
)


@st.composite
def scenes(draw, name):
    """A picture's size and boxes: within it, or anywhere and of any length, as the language can write."""
    width, height = draw(SIDES), draw(SIDES)
    if name in BEYOND_THE_PICTURE:
        centre, side, unit = st.floats(-0.5, 1.5), st.one_of(st.floats(0, 1.5), st.floats(0, 0.02)), max(width, height)
    else:
        # With a centre in the middle half and half a diagonal of at most a quarter a box lies within, however turned.
        centre, side, unit = st.floats(0.25, 0.75), st.floats(0, 0.35), min(width, height)
    row = st.tuples(centre, centre, side, side, ANGLES)
    rows = draw(st.lists(row, min_size=1, max_size=4))
    return (width, height), np.array([[x * width, y * height, w * unit, h * unit, a] for x, y, w, h, a in rows])


def polygon(row):
    cx, cy, w, h, angle = row
    return rotate(box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), angle, origin=(cx, cy), use_radians=True)


def check_named(row, found, size, precision):
    """The edges before turning come back within the precision and the angle within half a degree.

    A rectangle has one name for each quarter turn: the angle grows by 90 degrees and the sides are exchanged.
    """
    x, y, w, h, angle = row
    best = (math.inf, math.inf)
    for quarter in range(4):
        turned = np.rad2deg(angle - found[4]) + 90 * quarter
        angle_error = abs((turned + 180) % 360 - 180)
        w_name, h_name = (w, h) if quarter % 2 == 0 else (h, w)
        edges = [
            x - w_name / 2 - (found[0] - found[2] / 2),
            x + w_name / 2 - (found[0] + found[2] / 2),
            y - h_name / 2 - (found[1] - found[3] / 2),
            y + h_name / 2 - (found[1] + found[3] / 2),
        ]
        best = min(best, (angle_error, max(map(abs, edges))))
    assert best[0] <= 0.5 + 1e-6
    assert best[1] <= precision + 1e-8 * max(size)


def check_upright(row, found, size, precision):
    """The edges of the upright rectangle around the box come back within the precision; the angle is lost."""
    assert found[4] == 0
    edges = np.array([*(found[:2] - found[2:4] / 2), *(found[:2] + found[2:4] / 2)])
    np.testing.assert_allclose(edges, polygon(row).bounds, rtol=0, atol=precision + 1e-8 * max(size))


def check_corners(row, found, size, precision):
    """The least rectangle around corners that have each moved a little.

    It holds the moved corners, so no true corner is farther from it than they moved; and it is no larger than the box
    that has grown by as much on all sides.
    """
    moved = math.sqrt(2) * precision + 1e-6 * max(size)
    rectangle = polygon(found)
    assert max(rectangle.distance(Point(corner)) for corner in polygon(row).exterior.coords) <= moved
    assert found[2] * found[3] <= (row[2] + 2 * moved) * (row[3] + 2 * moved)


def some_of(name, count):
    """Settings of a property: more examples for GeoChat's own language."""
    return settings(max_examples=3 * count if name == 'geochat' else count, deadline=None)


@every_codec
def test_any_box_comes_back_within_the_precision(name):
    codec = CODECS[name]
    check = check_named if name in NAMED else check_corners if name in CORNERS else check_upright
    # The picture of rscovlm_obb is stretched to another shape, where an angle and the shorter side are not exact: see
    # test_a_rotated_box_on_a_stretched_picture. Multiples of its patches are not stretched.
    patch = 28 if name.startswith('rscovlm_obb') else 1

    @given(scenes(name))
    @some_of(name, 40)
    def comes_back(scene):
        size, rows = scene
        if patch > 1:
            size = tuple(min(patch * side, 3584) for side in size)
        grounded = codec.decode(codec.encode(rows, size), size)
        assert len(grounded.boxes) == len(rows)
        assert {d.code for d in grounded.diagnostics} <= {'degenerate'}
        for row, found in zip(rows, grounded.boxes, strict=True):
            check(row, found, size, codec.precision(size))

    comes_back()


@every_codec
def test_text_written_once_stays_the_same(name):
    if name in CORNERS:
        pytest.skip('the least rectangle around rounded corners has other corners')
    codec = CODECS[name]

    @given(scenes(name))
    @some_of(name, 25)
    def stays(scene):
        size, rows = scene
        text = codec.encode(rows, size)
        assert codec.encode(codec.decode(text, size).boxes, size) == text

    stays()


@every_codec
def test_a_box_written_is_of_the_pattern_and_parts_are_of_the_separator(name):
    codec = CODECS[name]

    @given(scenes(name))
    @some_of(name, 20)
    def is_of_the_pattern(scene):
        size, rows = scene
        for row in rows:
            (match,) = re.finditer(codec.pattern, codec.encode(row[None], size))
            assert len(codec.decode(match[0], size).boxes) == 1
        text = codec.encode(rows, size)
        spans = codec.decode(text, size).spans
        for (_, end), (start, _) in pairwise(spans):
            assert re.fullmatch(codec.separator, text[end:start])
        assert re.fullmatch(codec.opening, text[: spans[0, 0]])
        assert re.fullmatch(codec.closing, text[spans[-1, 1] :])

    is_of_the_pattern()


@every_codec
def test_every_text_of_the_pattern_is_one_well_written_box(name):
    codec = CODECS[name]
    assert not re.search(r'\(\?[=!<]|\\[1-9]', codec.pattern)  # a grammar knows no look-around and no back references

    @given(st.from_regex(re.compile(codec.pattern, re.ASCII), fullmatch=True))
    @some_of(name, 25)
    def is_a_box(text):
        grounded = codec.decode(text, (640, 480))
        codes = {d.code for d in grounded.diagnostics}
        assert codes <= {'degenerate', 'reversed', 'too_large', *(('syntax',) if name == 'earthdial as scored' else ())}
        assert len(grounded.boxes) == (0 if codes & {'too_large', 'syntax'} else 1)

    is_a_box()


@every_codec
def test_labels_come_back_with_their_boxes(name):
    codec = CODECS[name]
    rows = np.array([[30, 40, 20, 10, 0.3], [70, 60, 20, 12, 0.0], [50, 50, 10, 20, -0.2]])
    labels = ['ship', 'ship', 'storage "tank" é']
    text = codec.encode(rows, (120, 100), labels)
    grounded = codec.decode(text, (120, 100))
    assert len(grounded.boxes) == 3 and not grounded.diagnostics
    np.testing.assert_array_equal(grounded.boxes, codec.decode(codec.encode(rows, (120, 100)), (120, 100)).boxes)
    assert all(label.split()[0] in text for label in labels)
    if name in ('vhm', 'teochat', 'lhrs', 'wkt') or name.startswith('earthgpt'):
        assert grounded.phrases == ()  # languages without marks: a label is just words
    else:
        found = {row: phrase.text for phrase in grounded.phrases for row in phrase.box_indices}
        assert [found[row] for row in range(3)] == labels
    with pytest.raises(ValueError, match='1 labels were given with 3 boxes'):
        codec.encode(rows, (120, 100), labels[:1])


@every_codec
def test_no_boxes_are_no_text(name):
    assert CODECS[name].encode(np.zeros((0, 5)), (10, 10)) == ''


@every_codec
@pytest.mark.parametrize('size', [None, (0, 10), (10, -1), (float('nan'), 10)])
def test_a_picture_without_size_is_an_error(name, size):
    codec = CODECS[name]
    for call in (lambda: codec.decode('', size), lambda: codec.encode([[1, 2, 3, 4, 5]], size)):
        with pytest.raises(ValueError, match='size'):
            call()
    with pytest.raises(ValueError, match='size'):
        codec.precision(size)


@every_codec
@pytest.mark.parametrize('row', [[0, 0, np.nan, 1, 0], [0, 0, -1, 1, 0], [0, 0, 1, 1], [np.inf, 0, 1, 1, 0]])
def test_boxes_that_cannot_be_written_are_an_error(name, row):
    with pytest.raises(ValueError, match='box'):
        CODECS[name].encode(np.array([row]), (100, 100))


def test_every_codec_of_the_package_is_tried_here():
    members = {member for _, member in inspect.getmembers(box_codecs, inspect.isclass)} - {BoxCodec}
    assert members == {type(codec) for codec in CODECS.values()}
    for member in members:
        assert isinstance(BOX_CODECS.build({'type': member.__name__}), member)


# --- from one language to another ------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', [name for name in CODECS if 'plain' not in name])
def test_boxes_go_to_another_language_and_back(name):
    """Upright boxes on the per cent of a picture of 2800 x 2800 are exact in every language but Florence's."""
    codec, geochat, size = CODECS[name], CODECS['geochat'], (2800, 2800)
    text = 'With <p>2 ships</p> {<10><20><30><40>|<0>}{<50><60><70><80>|<0>} near <p>a dock</p> {<1><2><3><4>|<0>}.'
    there = transcode(text, geochat, codec, size)
    assert codec.decode(there, size).diagnostics == ()
    before, after = codec.phrase_marks or geochat.phrase_marks
    boxes = [codec.encode(geochat.decode(text, size).boxes[rows], size) for rows in (slice(0, 2), slice(2, 3))]
    assert there == f'With {before}2 ships{after} {boxes[0]} near {before}a dock{after} {boxes[1]}.'
    tolerance = 1.5 if name.startswith('florence') else 1e-6  # a language may name a box by a quarter turn
    for found, true in zip(codec.decode(there, size).boxes, geochat.decode(text, size).boxes, strict=True):
        np.testing.assert_allclose(polygon(found).bounds, polygon(true).bounds, atol=tolerance)
    back = transcode(there, codec, geochat, size)
    assert re.sub(r'\d+', '0', back) == re.sub(r'\d+', '0', text)
    if not name.startswith('florence') and name not in NAMED + CORNERS:
        assert back == text


@pytest.mark.parametrize(
    'source', ['florence_box', 'florence_poly', 'qwen3', 'rscovlm_obb', 'geojson', 'rscovlm_hbb plain']
)
def test_a_label_in_a_box_s_own_characters_becomes_a_phrase(source):
    rows = np.array([[560, 280, 280, 140, 0], [1120, 280, 280, 140, 0], [560, 1400, 280, 140, 0]])
    labels, size = ['ship', 'ship', 'dock'], (2800, 2800)
    text = CODECS[source].encode(rows, size, labels)
    there = transcode(text, CODECS[source], CODECS['geochat'], size)
    expected = '<p>ship</p> {<15><8><25><13>|<0>}{<35><8><45><13>|<0>} <p>dock</p> {<15><48><25><53>|<0>}'
    if source.startswith('florence'):  # the label is not among the box's characters, so the words stay where they were
        expected = expected.replace('<p>', '').replace('</p> ', '').replace('} d', '}d')
    assert re.sub(r'\|<90>', '|<0>', there) == expected


# --- any text --------------------------------------------------------------------------------------------------------


def check_answer(codec, text, size):
    grounded = codec.decode(text, size)
    assert grounded.text == text
    assert grounded.boxes.shape == (len(grounded.spans), 5)
    assert np.isfinite(grounded.boxes).all() and (grounded.boxes[:, 2:4] >= 0).all()
    last = 0
    for (start, end), found in zip(grounded.spans.tolist(), grounded.boxes, strict=True):
        assert last <= start < end <= len(text)
        last = end
        assert np.array_equal(codec.decode(text[start:end], size).boxes, found[None])
    for diagnostic in grounded.diagnostics:
        start, end = diagnostic.span
        assert 0 <= start < end <= len(text)
    for phrase in grounded.phrases:
        written = text[slice(*phrase.span)]
        assert written == phrase.text or '\\' in written
        assert all(0 <= row < len(grounded.boxes) for row in phrase.box_indices)
    return len(grounded.boxes)


PIECES = [
    *('{', '}', '<', '>', '|', '[', ']', '(', ')', ',', '"', "'", ':', '-', '+', '.', ' ', '\n', '\\'),
    *('<p>', '</p>', '<ref>', '</ref>', '<box>', '</box>', '<rbox>', '</rbox>', '<delim>', '<poly>', '</poly>'),
    *('<sep>', '<loc_5>', '<loc_', '<|box_start|>', '<|box_end|>', '<|object_ref_start|>', '<|object_ref_end|>'),
    *('```json', '"bbox_2d"', '"oriented bbox"', '"label"', '"coordinates"', '"type"', 'POLYGON', '((', '))'),
    *('nan', 'inf', '1e9', '٣', '\x00', '１', '0', '57', '7, 8, 9, 10', '0.5', '999999999999'),  # noqa: RUF001
]
LABELLED = np.array([[200, 300, 80, 40, 0.5], [400, 100, 60, 20, -1.2], [100, 100, 30, 30, 0]])


def mutated(text, rng, cuts):
    """The text with so many cuts, doublings and insertions."""
    for kind, at, piece in rng.integers(0, 1 << 30, (cuts, 3)):
        at %= len(text) + 1
        inserted = ('', PIECES[piece % len(PIECES)], text[at : at + 9] * 2)[kind % 3]
        text = text[:at] + inserted + text[at + kind % 2 :]
    return text


@every_codec
def test_random_and_mutated_answers_are_read_without_raising(name):
    """Half are answers with up to five cuts, doublings and insertions; half are strings of the formats' pieces."""
    codec, rng, size = CODECS[name], np.random.default_rng(0), (640, 480)
    answers = [
        codec.encode(LABELLED[:1], size),
        codec.encode(LABELLED, size),
        codec.encode(LABELLED, size, ['ship', 'ship', 'a "dock"']),
        f'I see {codec.encode(LABELLED[:2], size)} in the north.',
    ]
    with_boxes, trials = 0, 5_000 if name == 'geochat' else 600
    for index in range(trials):
        if index % 2:
            text = ''.join(PIECES[i] for i in rng.integers(0, len(PIECES), rng.integers(0, 24)))
        else:
            text = mutated(answers[index // 2 % len(answers)], rng, index % 5 + 1)
        with_boxes += check_answer(codec, text, size) > 0
    assert 0.1 * trials < with_boxes < 0.9 * trials


@every_codec
def test_no_text_makes_decode_raise(name):
    codec = CODECS[name]

    @given(
        st.text(alphabet=st.one_of(st.sampled_from('{}<>|[](),"0123456789-+. \n/p_:'), st.characters()), max_size=80)
    )
    @some_of(name, 40)
    def is_read(text):
        check_answer(codec, text, (640, 480))

    is_read()


LONG = 10_000


@pytest.mark.parametrize(
    'piece',
    [
        *('{', '{<', '{<1>', '<1>', '1', '1.', '1,', '1, ', '[', '[1, ', '(', '(1,1)', '(1,1),', ' ', '<p>', '<ref>'),
        *('<loc_', '<loc_5>', '<loc_5> ', '<|box_start|>', '<|object_ref_start|>', '{"', '"bbox_2d": [', '{"label": "'),
        *('"bbox_2d": [1, 2, 3, 4] ', '{"bbox_2d": [1, 2, 3, 4], "label": "', '\\"', '1,1,1,1 ', '1,1,1 a', '((1 1,'),
        *('POLYGON ((', '"coordinates": [', '"coordinates": [[[1, 2]', '{"type": "Feature", "properties": {'),
    ],
)
@pytest.mark.parametrize('start', ['', '{<1><1><1><1>|<', '"coordinates": [[[', '1,1,1,1 a'])
def test_reading_takes_time_in_proportion_to_the_text(start, piece):
    """Texts of which a part could be read again for every other part: they would take minutes then."""
    for codec in LINEAR:
        codec.decode(start + piece * (LONG // len(piece)), (640, 480))
