"""GeoChat's box language: facts of the format, the policy table, and properties of any box and any text."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geochat.box_codecs import GeoChatBoxCodec
from geochat.box_codecs.policy import LEFT_OUT, READ_ALL_THE_SAME
from geochat.datasets.transforms import PadResizeNormalize
from geochat.registry import BOX_CODECS

SQUARE = (100, 100)
WIDE = (400, 100)
CODEC = GeoChatBoxCodec()
DEGREES = 180 / math.pi


def boxes(*rows):
    """Boxes from rows cx, cy, w, h in pixels and an angle in degrees."""
    array = np.array(rows, dtype=np.float64).reshape(-1, 5)
    array[:, 4] = np.deg2rad(array[:, 4])
    return array


def read(text, size=SQUARE, codec=CODEC):
    """The boxes of a text, angles in degrees."""
    found = codec.decode(text, size).boxes
    return np.column_stack([found[:, :4], np.rad2deg(found[:, 4])])


# --- the format ------------------------------------------------------------------------------------------------------


def test_a_box_is_the_rectangle_before_turning_in_per_cent():
    # 80 x 40 px about (200, 300) in 800 x 600: x 160..240 = 20..30 %, y 280..320 = 46.67..53.33 %.
    assert CODEC.encode(boxes([200, 300, 80, 40, 30]), (800, 600)) == '{<20><47><30><53>|<30>}'
    np.testing.assert_allclose(read('{<20><47><30><53>|<30>}', (800, 600)), [[200, 300, 80, 36, 30]])


def test_a_box_is_turned_in_pixels_and_not_in_per_cent():
    # 20 % of the width is 80 px, 20 % of the height is 20 px: after a quarter turn still 80 x 20 px.
    np.testing.assert_allclose(read('{<40><40><60><60>|<90>}', WIDE), [[200, 50, 80, 20, 90]])


def test_on_a_picture_padded_to_a_square_per_cent_are_of_the_square():
    # 400 x 100 in the middle of 400 x 400: the square's 40 to 60 % are 160..240 px, down the picture 10..90 px.
    centred = GeoChatBoxCodec(padding='centre')
    np.testing.assert_allclose(read('{<40><40><60><60>|<90>}', WIDE, centred), [[200, 50, 80, 80, 90]])
    assert centred.encode(boxes([200, 50, 80, 80, 90]), WIDE) == '{<40><40><60><60>|<90>}'
    np.testing.assert_allclose(
        read('{<40><0><60><20>|<0>}', WIDE, GeoChatBoxCodec(padding='end')), [[200, 40, 80, 80, 0]]
    )
    with pytest.raises(ValueError, match="padding is 'centre' or 'end', not 'middle'"):
        GeoChatBoxCodec(padding='middle')


@pytest.mark.parametrize('size', [(400, 100), (93, 250), (128, 128)])
def test_padded_per_cent_are_those_of_the_picture_that_the_model_sees(size):
    transform = PadResizeNormalize(size=100, mean=(0.5,) * 3, std=(0.5,) * 3)
    geometry = transform(Image.new('RGB', size))[1]
    box = boxes([size[0] * 0.3, size[1] * 0.6, size[0] * 0.5, size[1] * 0.2, 0])
    ((cx, cy, w, h, _),) = geometry.to_model(box)
    seen = read(GeoChatBoxCodec(padding='centre').encode(box, size), (100, 100))
    np.testing.assert_allclose(seen, [[cx, cy, w, h, 0]], atol=1.5)  # whole per cent; half a pixel of padding


def test_the_original_s_published_answer_turns_clockwise():
    """The ground truth of GeoChat's issue 41 has its first box's long side along 58 degrees clockwise, y down."""
    box = CODEC.decode('{<89><47><97><55>|<58>}', SQUARE).boxes[0]
    end = box[:2] + box[2] / 2 * np.array([math.cos(box[4]), math.sin(box[4])])
    assert end[0] > box[0] and end[1] > box[1]  # right and down on screen
    counter = GeoChatBoxCodec(sense='counter_clockwise').decode('{<89><47><97><55>|<58>}', SQUARE).boxes[0]
    assert counter[4] == pytest.approx(-box[4])


def test_numbers_outside_the_picture_are_kept():
    np.testing.assert_allclose(read('{<-20><90><40><130>|<45>}'), [[10, 110, 60, 40, 45]])
    assert CODEC.decode('{<-20><90><40><130>|<45>}', SQUARE).diagnostics == ()
    assert CODEC.encode(boxes([10, 110, 60, 40, 45]), SQUARE) == '{<-20><90><40><130>|<45>}'


@pytest.mark.parametrize(
    ('box', 'size', 'text'),
    [
        ([50, 50, 40, 20, 0], SQUARE, '{<30><40><70><60>|<0>}'),
        ([50, 50, 40, 20, 90], SQUARE, '{<30><40><70><60>|<90>}'),
        ([50, 50, 40, 20, 120], SQUARE, '{<40><30><60><70>|<30>}'),
        ([50, 50, 40, 20, -60], SQUARE, '{<40><30><60><70>|<30>}'),
        ([50, 50, 40, 20, 180], SQUARE, '{<30><40><70><60>|<0>}'),
        ([50, 50, 40, 20, -150], SQUARE, '{<30><40><70><60>|<30>}'),
        ([50, 50, 40, 20, 89.7], SQUARE, '{<30><40><70><60>|<90>}'),
        ([50, 50, 40, 20, -0.3], SQUARE, '{<30><40><70><60>|<0>}'),
        ([50, 50, 40, 20, 90.4], SQUARE, '{<30><40><70><60>|<90>}'),
        # 100 x 20 px turned by 120 degrees is 20 x 100 px turned by 30: 5 % of the width, 100 % of the height.
        ([200, 50, 100, 20, 120], WIDE, '{<48><0><53><100>|<30>}'),
    ],
)
def test_angles_are_folded_to_a_quarter_turn_and_sides_exchanged_in_pixels(box, size, text):
    assert CODEC.encode(boxes(box), size) == text


def test_counter_clockwise_writes_the_mirrored_angle():
    codec = GeoChatBoxCodec(sense='counter_clockwise')
    assert codec.encode(boxes([50, 50, 40, 20, -30]), SQUARE) == '{<30><40><70><60>|<30>}'
    assert codec.encode(boxes([50, 50, 40, 20, 30]), SQUARE) == '{<40><30><60><70>|<60>}'
    np.testing.assert_allclose(read('{<30><40><70><60>|<30>}', codec=codec), [[50, 50, 40, 20, -30]])


def test_several_boxes_with_and_without_delim():
    pair = boxes([20, 20, 20, 20, 0], [70, 70, 20, 20, 45])
    joined, parted = (
        '{<10><10><30><30>|<0>}{<60><60><80><80>|<45>}',
        '{<10><10><30><30>|<0>}<delim>{<60><60><80><80>|<45>}',
    )
    assert CODEC.encode(pair, SQUARE) == joined
    assert GeoChatBoxCodec(delim=True).encode(pair, SQUARE) == parted
    for text in (joined, parted, joined.replace('}{', '} \n{')):
        grounded = CODEC.decode(text, SQUARE)
        np.testing.assert_allclose(grounded.boxes, pair)
        assert grounded.diagnostics == ()
    assert CODEC.encode(np.zeros((0, 5)), SQUARE) == ''


def test_the_four_number_form_has_angle_zero():
    np.testing.assert_allclose(read('[identify] {<8><26><22><37>}'), [[15, 31.5, 14, 11, 0]])


@pytest.mark.parametrize(
    'text',
    [
        '{ <10> <20> <30> <40> | <50> }',
        '{\n<10><20>\t<30><40>|<50>}',
        '{< 10 >< 20 ><30><40>|< 50 >}',
        '{<+10><20.0><30><40>|<50.0>}',
        '{<010><20><30><40>|<50>}',
    ],
)
def test_white_space_and_ways_to_write_a_number_are_tolerated(text):
    grounded = CODEC.decode(text, SQUARE)
    np.testing.assert_allclose(read(text), [[20, 30, 20, 20, 50]])
    assert grounded.diagnostics == ()
    assert grounded.spans.tolist() == [[0, len(text)]]


def test_each_phrase_has_the_boxes_up_to_the_next_one():
    text = (
        'There are <p>2 planes</p> {<1><2><3><4>|<5>}<delim>{<5><6><7><8>|<9>} by <p> 1 ship </p>{<9><9><12><12>|<0>}.'
    )
    grounded = CODEC.decode(text, SQUARE)
    assert [(phrase.text, phrase.box_indices) for phrase in grounded.phrases] == [
        ('2 planes', (0, 1)),
        ('1 ship', (2,)),
    ]
    assert [text[slice(*phrase.span)] for phrase in grounded.phrases] == ['2 planes', '1 ship']
    no_boxes = CODEC.decode('<p>a<b </p> and <p></p>', SQUARE)
    assert [(phrase.text, phrase.box_indices) for phrase in no_boxes.phrases] == [('a<b', ()), ('', ())]


@pytest.mark.parametrize(
    'text', ['', 'yes', 'a {set} of {1, 2, 3, 4}', 'x < y > {z}', '}{', '{}', '{{}}', '<12>', '<delim>']
)
def test_ordinary_text_has_no_boxes_and_nothing_to_complain_of(text):
    grounded = CODEC.decode(text, SQUARE)
    assert grounded.boxes.shape == (0, 5) and grounded.spans.shape == (0, 2)
    assert grounded.diagnostics == () and grounded.text == text


# --- the policy table ------------------------------------------------------------------------------------------------

POLICY_CASES = {
    'wrong_count': [
        ('{<1><2><3>}', None),
        ('{<1>}', None),
        ('{<1><2><3><4>|<5><6>}', None),
        ('{<1><2><3><4><5><6>}', None),
    ],
    'not_a_number': [
        ('{<x1><y1><x2><y2>|<theta>}', None),
        ('{<nan><2><3><4>|<5>}', None),
        ('{<inf><2><3><4>|<5>}', None),
        ('{<1><><3><4>|<5>}', None),
        ('{<1><2><3><4>|<1e3>}', None),
        ('{<1><2><3><٤>|<5>}', None),
    ],
    'syntax': [
        ('{<1><2>|<3><4><5>}', None),
        ('{<1>,<2>,<3>,<4>|<5>}', None),
        ('{<1><2><3><4>|}', None),
        ('{1><1><2><3><4>|<5>}', None),
        ('{<1<2><3><4>|<5>}', None),
    ],
    'too_large': [
        ('{<1><2><3><99999999999>|<5>}', None),
        ('{<1><2><3><4>|<-99999999999>}', None),
        ('{<1><2><' + '9' * 5000 + '><4>|<5>}', None),
    ],
    'unclosed': [
        ('{<1><2><3><4>|<5', None),
        ('{<1><2><3><4>', None),
        ('{<1', None),
        ('{<1><2><3><4>|<5><6>', None),
        ('{<1><2> and so on', None),
    ],
    'unclosed_complete': [
        ('{<10><20><30><40>|<50>', [20, 30, 20, 20, 50]),
        ('{<10><20><30><40>|<50> it', [20, 30, 20, 20, 50]),
    ],
    'no_bar': [('{<10><20><30><40><50>}', [20, 30, 20, 20, 50])],
    'reversed': [
        ('{<30><20><10><40>|<50>}', [20, 30, 20, 20, 50]),
        ('{<10><40><30><20>|<50>}', [20, 30, 20, 20, 50]),
    ],
    'degenerate': [('{<10><20><10><40>|<50>}', [10, 30, 0, 20, 50]), ('{<10><20><30><20>}', [20, 20, 20, 0, 0])],
    'angle_range': [
        ('{<10><20><30><40>|<91>}', [20, 30, 20, 20, 91]),
        ('{<10><20><30><40>|<-30>}', [20, 30, 20, 20, -30]),
    ],
}


@pytest.mark.parametrize('code', POLICY_CASES)
def test_each_row_of_the_policy_table(code):
    for text, expected in POLICY_CASES[code]:
        grounded = CODEC.decode(f'It is {text}', SQUARE)
        assert [(d.code, d.left_out) for d in grounded.diagnostics] == [(code, expected is None)], text
        start, end = grounded.diagnostics[0].span
        assert start == len('It is ') and grounded.text[start] == '{'
        found = read(f'It is {text}')
        np.testing.assert_allclose(found, [expected] if expected else np.zeros((0, 5)), err_msg=text)
        if expected:
            assert grounded.spans.tolist() == [[start, end]]


def test_the_policy_table_of_the_docs_is_the_code_s():
    table = (Path(__file__).parents[2] / 'docs' / 'box_codecs.md').read_text(encoding='utf-8')
    table = table.partition('What happens to malformed boxes')[2]
    documented = set(re.findall(r'^\| `(\w+)` \|', table, re.MULTILINE))
    assert documented == {*LEFT_OUT, *READ_ALL_THE_SAME, 'unclosed_phrase'}
    assert set(POLICY_CASES) == {*LEFT_OUT, *READ_ALL_THE_SAME} - {'negative_side'}  # GeoChat's boxes have no sides


def test_a_phrase_left_open_is_told_and_costs_no_box():
    grounded = CODEC.decode('<p>ship {<10><20><30><40>|<50>} <p>dock</p>', SQUARE)
    assert [d.code for d in grounded.diagnostics] == ['unclosed_phrase']
    assert len(grounded.boxes) == 1 and [phrase.text for phrase in grounded.phrases] == ['dock']


def test_one_malformed_box_does_not_cost_the_others():
    text = '{<1><2><3>}{<10><20><30><40>|<50>}{<x>}{<60><60><80><80>|<0>}{<1'
    grounded = CODEC.decode(text, SQUARE)
    assert len(grounded.boxes) == 2
    assert [d.code for d in grounded.diagnostics] == ['wrong_count', 'not_a_number', 'unclosed']


def test_a_box_of_a_person_or_a_file_that_cannot_be_read_is_an_error():
    assert len(CODEC.decode_strict('[identify] {<30><20><10><40>|<50>}', SQUARE).boxes) == 1
    with pytest.raises(ValueError, match=r"cannot read the box '\{<1><2><3>\}' \(character 11\): 3 numbers"):
        CODEC.decode_strict('[identify] {<1><2><3>}', SQUARE)
    with pytest.raises(ValueError, match='6 numbers'):
        CODEC.decode_strict('{<1><2><3><4><5><6>}', SQUARE)


# --- wrong calls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', [None, (0, 10), (10, -1), (10,), (float('nan'), 10)])
def test_a_picture_without_size_is_an_error(size):
    with pytest.raises(ValueError, match='size'):
        CODEC.decode('{<1><2><3><4>}', size)
    with pytest.raises(ValueError, match='size'):
        CODEC.encode(boxes([1, 2, 3, 4, 5]), size)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([[0, 0, 1, 1, 0], [0, 0, np.nan, 1, 0]], 'box 1 is not finite'),
        ([[0, 0, -1, 1, 0]], 'negative side'),
        ([[0, 0, 1, 1]], r'\(1, 4\)'),
        ([[1e12, 0, 1, 1, 0]], 'box 0 is too far away'),
    ],
)
def test_boxes_that_cannot_be_written_are_an_error(rows, message):
    with pytest.raises(ValueError, match=message):
        CODEC.encode(np.array(rows), SQUARE)


def test_the_sense_is_one_of_two():
    with pytest.raises(ValueError, match='anticlockwise'):
        GeoChatBoxCodec(sense='anticlockwise')


@pytest.mark.parametrize('name', ['geochat', 'GeoChatBoxCodec'])
def test_both_names_are_registered(name):
    codec = BOX_CODECS.build({'type': name, 'sense': 'counter_clockwise', 'delim': True})
    assert isinstance(codec, GeoChatBoxCodec)
