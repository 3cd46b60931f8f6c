"""Each box language as its own project writes it: facts of the format, worked out by hand, and broken answers."""

import json

import numpy as np
import pytest
import shapely

from geochat.registry import BOX_CODECS

WIDE = (400, 200)
# 100 x 40 px about (200, 100), upright; and 100 x 50 px about (100, 100) turned by atan(3 / 4): with (80, 60) along
# the side w and (-30, 40) along h its corners are (75, 50), (155, 110), (125, 150) and (45, 90).
FLAT = [200, 100, 100, 40, 0]
TURNED = [100, 100, 100, 50, np.arctan2(3, 4)]

WRITTEN = [
    ('geochat', FLAT, WIDE, '{<38><40><63><60>|<0>}'),  # 150 / 400 = 37.5 %, halves upwards
    ('geochat', TURNED, WIDE, '{<13><38><38><63>|<37>}'),
    ('minigpt', FLAT, WIDE, '{<38><40><63><60>}'),
    ('minigpt', TURNED, WIDE, '{<11><25><39><75>}'),  # x 45 to 155 of 400, y 50 to 150 of 200
    ('fitrs', FLAT, WIDE, '<rbox>({<50.00><50.00><25.00><20.00>|<0>})</rbox>'),
    ('fitrs', TURNED, WIDE, '<rbox>({<25.00><50.00><25.00><25.00>|<37>})</rbox>'),
    ('earthdial', TURNED, WIDE, '[[13, 38, 38, 63, 37]]'),
    ('vhm', TURNED, WIDE, '[113, 250, 388, 750]'),
    ('teochat', TURNED, WIDE, '[11, 25, 39, 75]'),
    ('lhrs', TURNED, WIDE, '[0.11,0.25,0.39,0.75]'),
    # Of the square of 400 the picture takes the rows 100 to 300: y from 150 to 250.
    ('earthgpt', TURNED, WIDE, '[0.11,0.38,0.39,0.63]'),
    ({'type': 'earthgpt', 'padding': 'end', 'decimals': 3}, TURNED, WIDE, '[0.113,0.125,0.388,0.375]'),
    ('allseeing', TURNED, WIDE, '<box>[[113, 250, 388, 750]]</box>'),
    (
        {'type': 'allseeing', 'corners': True},
        TURNED,
        WIDE,
        '<box>[[188, 250, 388, 550, 313, 750, 113, 450]]</box>',
    ),
    # Rounded down, to the cell: 45 / 0.4 = 112.5, 155 / 0.4 = 387.5.
    ('florence_box', TURNED, WIDE, '<loc_112><loc_250><loc_387><loc_750>'),
    ('florence_box', [200, 100, 400, 200, 0], WIDE, '<loc_0><loc_0><loc_999><loc_999>'),
    ('florence_quad', TURNED, WIDE, '<loc_187><loc_250><loc_387><loc_550><loc_312><loc_750><loc_112><loc_450>'),
    (
        'florence_poly',
        TURNED,
        WIDE,
        '<poly><loc_187><loc_250><loc_387><loc_550><loc_312><loc_750><loc_112><loc_450></poly>',
    ),
    ('qwen2', TURNED, WIDE, '<|box_start|>(113,250),(388,750)<|box_end|>'),
    ('qwen3', TURNED, WIDE, '```json\n[\n\t{"bbox_2d": [113, 250, 388, 750]}\n]\n```'),
    # 400 x 200 is resized to 392 x 196: 14 and 7 patches of 28. 45 * 0.98 = 44.1, 155 * 0.98 = 151.9.
    ('qwen2_5', TURNED, WIDE, '```json\n[\n\t{"bbox_2d": [44, 49, 152, 147]}\n]\n```'),
    ('rscovlm_hbb', TURNED, WIDE, '```json\n[\n\t{"bbox_2d": [44, 49, 152, 147]}\n]\n```'),
    ('rscovlm_obb', TURNED, WIDE, '```json\n[\n\t{"oriented bbox": [98, 98, 98, 49, 37]}\n]\n```'),
    # w is the longer side: 40 x 100 px at 30 degrees are 100 x 40 px at 120, which is -60.
    ({'type': 'rscovlm_obb', 'plain': True}, [100, 100, 40, 100, np.pi / 6], (280, 280), '100,100,100,40,-60'),
    ({'type': 'rscovlm_obb', 'plain': True}, TURNED, WIDE, '98,98,98,49,37'),
    # 3 x 3 pixels become 56 x 56, where float64 makes the one side longer by its last digit.
    ({'type': 'rscovlm_obb', 'plain': True}, [0, 0, 3, 3, 0], (3, 3), '0,0,56,56,0'),
    (
        'rscovlm_quad',
        TURNED,
        WIDE,
        '```json\n[\n\t{"quadrant bbox": [74, 49, 152, 108, 123, 147, 44, 88]}\n]\n```',
    ),
    ('wkt', TURNED, WIDE, 'POLYGON ((75.0 50.0, 155.0 110.0, 125.0 150.0, 45.0 90.0, 75.0 50.0))'),
    (
        'geojson',
        TURNED,
        WIDE,
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": {"type": '
        '"Polygon", "coordinates": [[[75.0, 50.0], [155.0, 110.0], [125.0, 150.0], [45.0, 90.0], [75.0, 50.0]]]}}]}',
    ),
]


def build(codec):
    return BOX_CODECS.build(codec if isinstance(codec, dict) else {'type': codec})


@pytest.mark.parametrize(('codec', 'box', 'size', 'text'), WRITTEN)
def test_a_box_is_written_as_its_project_writes_it(codec, box, size, text):
    assert build(codec).encode(np.array([box], dtype=float), size) == text


def test_several_boxes_in_each_language():
    boxes = np.array([[20, 20, 20, 20, 0], [70, 70, 20, 20, 0]], dtype=float)
    names = ('earthdial', 'fitrs', 'allseeing', 'vhm', 'wkt')
    written = {name: build(name).encode(boxes, (100, 100)) for name in names}
    assert written == {
        'earthdial': '[[10, 10, 30, 30, 0]][[60, 60, 80, 80, 0]]',
        'fitrs': '<rbox>({<20.00><20.00><20.00><20.00>|<0>}, {<70.00><70.00><20.00><20.00>|<0>})</rbox>',
        'allseeing': '<box>[[100, 100, 300, 300], [600, 600, 800, 800]]</box>',
        'vhm': '[100, 100, 300, 300], [600, 600, 800, 800]',
        'wkt': 'POLYGON ((10.0 10.0, 30.0 10.0, 30.0 30.0, 10.0 30.0, 10.0 10.0)), '
        'POLYGON ((60.0 60.0, 80.0 60.0, 80.0 80.0, 60.0 80.0, 60.0 60.0))',
    }
    labelled = build('qwen3').encode(boxes, (100, 100), ['ship', 'dock'])
    assert labelled == (
        '```json\n[\n\t{"bbox_2d": [100, 100, 300, 300], "label": "ship"},\n'
        '\t{"bbox_2d": [600, 600, 800, 800], "label": "dock"}\n]\n```'
    )
    plain = build({'type': 'rscovlm_hbb', 'plain': True}).encode(boxes, (280, 280), ['ship', 'dock'])
    assert plain == '10,10,30,30 ship\n60,60,80,80 dock'
    assert build('allseeing').encode(boxes, (100, 100), ['ship', 'dock']) == (
        '<ref>ship</ref><box>[[100, 100, 300, 300]]</box><ref>dock</ref><box>[[600, 600, 800, 800]]</box>'
    )


def test_other_programs_read_what_is_written():
    boxes, labels = np.array([TURNED, FLAT], dtype=float), ['a "ship"', 'dock']
    corners = {((75, 50), (155, 110), (125, 150), (45, 90)), ((150, 80), (250, 80), (250, 120), (150, 120))}
    wkt = build('wkt').encode(boxes, WIDE)
    collection = shapely.from_wkt(f'GEOMETRYCOLLECTION ({wkt})')
    assert {tuple(polygon.exterior.coords)[:-1] for polygon in collection.geoms} == corners
    geojson = build('geojson').encode(boxes, WIDE, labels)
    assert {tuple(polygon.exterior.coords)[:-1] for polygon in shapely.from_geojson(geojson).geoms} == corners
    assert [feature['properties'] for feature in json.loads(geojson)['features']] == [
        {'label': name} for name in labels
    ]
    fenced = build('qwen3').encode(boxes, WIDE, labels)
    objects = json.loads(fenced.removeprefix('```json').removesuffix('```'))
    assert objects == [
        {'bbox_2d': [113, 250, 388, 750], 'label': 'a "ship"'},
        {'bbox_2d': [375, 400, 625, 600], 'label': 'dock'},
    ]


SQUARE = (1000, 1000)
READ = [
    # the same box, 100 to 300 across and 200 to 400 down, in what models and data files write
    ('minigpt', '<p>ship</p> {<10><20><30><40>}'),
    ('minigpt', '{<10><20><30><40>'),
    ('fitrs', '{<20.00><30.00><20.00><20.00>|<0>}'),
    ('fitrs', 'There is 1 ship: <rbox>({<20><30><20><20>|<0>}'),
    ('earthdial', '[[10, 20, 30, 40]]'),
    ('earthdial', 'x [10, 20, 30, 40, 0] y'),
    ('earthdial', '<ref>1 ship</ref> <box>[[[10, 20, 30, 40, 0]]]</box>'),
    ('earthdial', '[[10,20,30,40,0]'),
    ('vhm', 'It is at [100,200,300,400].'),
    ('lhrs', '[0.1, 0.2, 0.3, 0.4]'),
    ('lhrs', '[.1000,.2000,.3000,.4000]'),
    ('teochat', 'In image 2: [10, 20, 30, 40]'),
    ('allseeing', '[[100, 200, 300, 400]]'),
    ('qwen2', '(100,200),(300,400)'),
    ('qwen2', '<|object_ref_start|>the ship<|object_ref_end|><|box_start|>(100, 200), (300, 400)'),
    ('qwen3', '{"bbox_2d": [100, 200, 300, 400], "label": "ship"}'),
    ('qwen3', '[{"label": "ship", "bbox_2d": [100, 200, 300, 400]}]'),
    ('qwen3', "```json\n[{'bbox_2d': [100.0, 200, 300, 400], 'score': 0.5, 'label': 'ship'}]"),
    ('qwen3', '[{"bbox_2d":[100,200,300,400]'),
    ('wkt', 'polygon((100 200,300 200,300 400,100 400,100 200))'),
    ('wkt', 'MULTIPOLYGON (((100 200, 300 200, 300 400, 100 400)))'),
    ('wkt', 'POLYGON ((300 400, 100 400, 100 200, 300 200))'),
    ('geojson', '{"type": "Polygon", "coordinates": [[[100, 200], [300, 200], [300, 400], [100, 400]]]}'),
    ('geojson', '"coordinates":[[[100,200],[300,200],[300,400],[100,400],[100,200]]'),
    ({'type': 'allseeing', 'corners': True}, '[100, 200, 300, 200, 300, 400, 100, 400]'),
]


@pytest.mark.parametrize(('codec', 'text'), READ)
def test_a_box_is_read_from_what_models_and_files_write(codec, text):
    grounded = build(codec).decode(text, SQUARE)
    np.testing.assert_allclose(grounded.boxes[:, [0, 1, 2, 3]], [[200, 300, 200, 200]], atol=1e-9)
    np.testing.assert_allclose(grounded.boxes[:, 4], [0], atol=1e-9)
    assert {d.code for d in grounded.diagnostics} <= {'unclosed_complete'}


def test_numbers_beyond_the_picture_are_read_where_none_are_written():
    outside = np.array([[0, 500, 400, 200, 0]], dtype=float)
    assert build('vhm').encode(outside, SQUARE) == '[0, 400, 200, 600]'
    np.testing.assert_allclose(build('vhm').decode('[-200, 400, 200, 600]', SQUARE).boxes, outside)


def test_a_cell_of_florence_is_read_as_its_middle():
    grounded = build('florence_box').decode('ship<loc_100><loc_200><loc_300><loc_400>', SQUARE)
    np.testing.assert_allclose(grounded.boxes, [[200.5, 300.5, 200, 200, 0]])
    assert [(phrase.text, phrase.box_indices) for phrase in grounded.phrases] == [('ship', (0,))]


def test_florence_s_labels_and_lists():
    run = '<loc_1><loc_2><loc_3><loc_4>'
    grounded = build('florence_box').decode(f'</s>A ship{run}{run}, a small dock {run} and {run}<loc_5>', SQUARE)
    assert [(phrase.text, phrase.box_indices) for phrase in grounded.phrases] == [
        ('A ship', (0, 1)),
        ('a small dock', (2,)),
        ('and', (3,)),
    ]
    assert [d.code for d in grounded.diagnostics] == ['unclosed']
    quads = build('florence_quad').decode(f'A ship{run}<loc_9><loc_2><loc_9><loc_4> dock {run}', SQUARE)
    assert len(quads.boxes) == 1 and [d.code for d in quads.diagnostics] == ['unclosed']


def test_the_labels_of_json_lose_their_escapes():
    grounded = build('qwen3').decode(r'[{"bbox_2d": [1, 2, 3, 4], "label": "a \"big\" }ship\u00e9"}]', SQUARE)
    assert grounded.phrases[0].text == 'a "big" }shipé' and not grounded.diagnostics


def test_earthdial_s_scorer_turns_the_other_way_and_reads_digits_only():
    text = '[[10, 20, 50, 40, 30]][[-1, 20, 30, 40, 0]]'
    scored = BOX_CODECS.build({'type': 'earthdial', 'sense': 'counter_clockwise', 'signed': False})
    grounded = scored.decode(text, (100, 100))
    np.testing.assert_allclose(grounded.boxes, [[30, 30, 40, 20, np.deg2rad(-30)]])
    assert [(d.code, d.left_out) for d in grounded.diagnostics] == [('syntax', True)]
    clockwise = build('earthdial').decode(text, (100, 100))
    np.testing.assert_allclose(clockwise.boxes[:, 4], np.deg2rad([30, 0]))


@pytest.mark.parametrize(
    ('size', 'resized'),
    [
        # what transformers' smart_resize (5.23) gives for factor 28, 3,136 to 12,845,056 pixels
        ((400, 200), (392, 196)),
        ((512, 512), (504, 504)),
        ((800, 600), (812, 588)),
        ((42, 70), (56, 56)),
        ((20, 30), (56, 84)),
        ((13, 1000), (28, 504)),
        ((5000, 4000), (4004, 3192)),
    ],
)
def test_the_resized_picture_is_that_of_qwen_s_processor(size, resized):
    corner = [size[0] - 0.5, size[1] - 0.5, 1, 1, 0]
    text = build({'type': 'rscovlm_hbb', 'plain': True}).encode([corner], size)
    assert tuple(map(int, text.split(',')))[2:] == resized


def test_a_rotated_box_on_a_stretched_picture_keeps_its_side_and_its_area():
    """800 x 600 becomes 812 x 588: 200 px down are 196, and 120 px across are 121.8."""
    codec = BOX_CODECS.build({'type': 'rscovlm_obb', 'plain': True})
    assert codec.encode([[400, 300, 200, 120, np.pi / 2]], (800, 600)) == '406,294,196,122,-90'
    assert codec.encode([[400, 300, 120, 200, 0]], (800, 600)) == '406,294,196,122,-90'
    found = codec.decode('406,294,196,121.8,-90', (800, 600)).boxes
    np.testing.assert_allclose(found, [[400, 300, 200, 120, -np.pi / 2]])


PRECISIONS = [
    ('geochat', (4000, 1000), 20),  # half a per cent of the longer side
    ('minigpt', (4000, 1000), 20),
    ('fitrs', (4000, 1000), 0.3),  # half a hundredth of a per cent of the centre and half of that of a side
    ('vhm', (4000, 1000), 2),
    ('florence_quad', (4000, 1000), 2),
    ('lhrs', (4000, 1000), 20),
    ('earthgpt', (4000, 1000), 20),
    ('qwen2_5', (280, 280), 0.5),
    ('rscovlm_obb', (280, 280), 0.75),
    ('wkt', (4000, 1000), 0.05),
]


@pytest.mark.parametrize(('name', 'size', 'pixels'), PRECISIONS)
def test_the_precision_is_that_of_the_coarser_side(name, size, pixels):
    assert build(name).precision(size) == pytest.approx(pixels)


BROKEN = [
    ('minigpt', '{<1><2><3>}', 'wrong_count'),
    ('minigpt', '{<1><2><3><4>|<5>}', 'wrong_count'),
    ('minigpt', '{<1><2><3><y2>}', 'not_a_number'),
    ('fitrs', '{<10.00><10.00><-5.00><5.00>|<30>}', 'negative_side'),
    ('fitrs', '{<10.00><10.00><5.00>|<30>}', 'wrong_count'),
    ('earthdial', '[[1, 2, 3]]', 'wrong_count'),
    ('earthdial', '[[1, 2, 3, 4, 5, 6, 7]]', 'wrong_count'),
    ('earthdial', '[[1, 2, nan, 4, 5]]', 'not_a_number'),
    ('earthdial', '[[1, 2, 3, 4', 'unclosed'),
    ('earthdial', '[[1, 2, 3, 99999999999, 5]]', 'too_large'),
    ('vhm', '[x1, y1, x2, y2]', 'not_a_number'),
    ('vhm', '[1, 2, 3', 'unclosed'),
    ('allseeing', '<box>[[1, 2, 3, 4, 5]]</box>', 'wrong_count'),
    ('florence_box', '<loc_1><loc_2><loc_3> x', 'wrong_count'),
    ('florence_box', '<loc_1><loc_2><loc_3><loc_', 'unclosed'),
    ('florence_box', '<loc_1><loc_b><loc_3><loc_4>', 'not_a_number'),
    ('florence_poly', '<loc_1><loc_2><loc_3><loc_4><loc_5> x', 'wrong_count'),
    ('qwen2', '<|box_start|>(1,2),(3,4,5)<|box_end|>', 'wrong_count'),
    ('qwen2', '<|box_start|>(1,2,3),(4)<|box_end|>', 'syntax'),
    ('qwen2', '<|box_start|>(1,2),(3', 'unclosed'),
    ('qwen2', '<|box_start|>1,2,3,4<|box_end|>', 'syntax'),
    ('qwen3', '{"bbox_2d": [1, 2, 3]}', 'wrong_count'),
    ('qwen3', '{"bbox_2d": [1, 2, 3, 4', 'unclosed'),
    ('qwen3', '{"bbox_2d": ["1", 2, 3, 4]}', 'not_a_number'),
    ('rscovlm_obb', '{"oriented bbox": [1, 2, 3, -4, 5]}', 'negative_side'),
    ({'type': 'rscovlm_hbb', 'plain': True}, '1,2,3 ship', 'wrong_count'),
    ('wkt', 'POLYGON ((1 2, 3 4, 5', 'unclosed'),
    ('wkt', 'POLYGON ((1 2, 3 4))', 'wrong_count'),
    ('wkt', 'POLYGON ((1 2 3, 4 5 6))', 'syntax'),
    ('wkt', 'POLYGON ((a b, 1 2, 3 4))', 'not_a_number'),
    ('geojson', '{"coordinates": [[[1, 2], [3, 4]]]}', 'wrong_count'),
    ('geojson', '{"coordinates": [[[1, 2], [3, 4', 'unclosed'),
    ('geojson', '{"coordinates": [[[1, 2, 3], [4, 5, 6]]]}', 'syntax'),
]


@pytest.mark.parametrize(('codec', 'text', 'code'), BROKEN)
def test_a_broken_box_is_told_and_left_out(codec, text, code):
    grounded = build(codec).decode(f'It is {text}', SQUARE)
    assert [(d.code, d.left_out) for d in grounded.diagnostics] == [(code, True)]
    assert grounded.boxes.shape == (0, 5)
    with pytest.raises(ValueError, match='cannot read the box'):
        build(codec).decode_strict(f'It is {text}', SQUARE)


ODD = [
    ('vhm', '[300, 200, 100, 400]', 'reversed'),
    ('earthdial', '[[10, 20, 10, 40, 0]]', 'degenerate'),
    ('earthdial', '[[10, 20, 30, 40, 120]]', 'angle_range'),
    ('rscovlm_obb', '{"oriented bbox": [10, 20, 30, 40, 90]}', 'angle_range'),
    ('fitrs', '{<10><20><0><4>|<0>}', 'degenerate'),
    ('florence_quad', '<loc_1><loc_1>' * 4, 'degenerate'),
    ('wkt', 'POLYGON ((1 1, 2 2, 3 3, 1 1))', 'degenerate'),
    ('qwen3', '{"bbox_2d": [1, 2, 3, 4]', 'unclosed_complete'),
]


@pytest.mark.parametrize(('codec', 'text', 'code'), ODD)
def test_an_odd_box_is_told_and_read(codec, text, code):
    grounded = build(codec).decode(f'It is {text}', SQUARE)
    assert [(d.code, d.left_out) for d in grounded.diagnostics] == [(code, False)]
    assert len(grounded.boxes) == 1


@pytest.mark.parametrize('name', ['earthdial', 'vhm', 'lhrs', 'qwen2', 'qwen3', 'florence_box', 'wkt', 'geojson'])
@pytest.mark.parametrize(
    'text', ['', 'yes', '[refer] where is it?', 'see [1] and (a), (b)', 'a ((b)) c', '{"a": 1}', '12, 13']
)
def test_ordinary_text_has_no_boxes_and_nothing_to_complain_of(name, text):
    grounded = build(name).decode(text, SQUARE)
    assert grounded.boxes.shape == (0, 5) and grounded.spans.shape == (0, 2) and grounded.diagnostics == ()


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ({'type': 'earthdial', 'sense': 'left'}, "'left'"),
        ({'type': 'earthgpt', 'padding': 'top'}, "'top'"),
        ({'type': 'lhrs', 'decimals': 0}, '1 to 9 decimals'),
    ],
)
def test_wrong_settings_are_an_error(cfg, message):
    with pytest.raises(ValueError, match=message):
        BOX_CODECS.build(cfg)
