"""A run's directory becomes a page whatever is missing in it, and the page says what."""

import json
import re

import pytest
from PIL import Image

from geochat.datasets.errors import DataError
from geochat.engine.report import MOST_NOTED, write_report

ROW = {'benchmark': 'scene', 'prompt': 'Which?', 'answer': 'yes', 'truth': {'text': 'yes'}, 'images': ['a.png']}


def write_run(folder, rows, **files):
    folder.mkdir(exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / 'predictions.jsonl').write_text('\n'.join(lines), encoding='utf-8')
    for name, content in files.items():
        (folder / f'{name}.json').write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def rows(count, **more):
    return [{**ROW, 'id': str(number), **more} for number in range(count)]


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (64, 64)).save(tmp_path / 'images' / 'a.png')
    source = {'type': 'ImageFolder', 'root': str(tmp_path / 'images')}
    settings = {'reader': {'type': 'SceneBenchmark', 'image_source': source}, 'published': {'accuracy': 0.844}}
    return {'benchmarks': {'scene': settings}, 'box_codec': {'type': 'geochat'}}


METRICS = {
    'results': {'scene': {'score': {'accuracy': 0.875, 'questions': 8}, 'majority': {'accuracy': 0.25}}},
    'intervals': {'scene': {'accuracy': [0.5, 1.0]}},
    'published': {'scene': {'geochat/accuracy': 0.7203}},
    'shown': {'scene': ['accuracy']},
    'remarks': {'scene': {'accuracy': 'a remark'}},
    'problems': {'scene': [{'code': 'unknown_id', 'place': 'file, line 3', 'message': 'nobody asked that'}]},
}


def test_a_whole_run(tmp_path, config):
    about = {'scene': {'version': 3, 'source': 'somewhere', 'files': {'data/scene.jsonl': 'abc'}}}
    card = {'config': config, 'seed': 5, 'benchmarks': about}
    folder = write_run(tmp_path / 'run', rows(8), metrics=METRICS, run_card=card)
    path, notes = write_report(folder)
    page = path.read_text(encoding='utf-8')
    assert path == folder / 'report.html'
    assert notes == ()
    for word in (
        *(
            'GeoChat: run',
            '0.875',
            '0.500\u20131.000',
            '0.720',
            '0.250',
            'somewhere',
            'data/scene.jsonl',
            'abc',
            'seed',
        ),
        'file, line 3: nobody asked that',
        'accuracy: a remark',
    ):
        assert word in page
    assert '>0.844<' not in page  # what the run's own metrics say comes first
    assert page.count('<img ') == 1 + 3  # four answers are shown, all of the better half
    assert not list(folder.glob('.*'))


def test_what_is_not_answered_yet_is_told(tmp_path):
    about = {'scene': {'questions': 3}, 'refer': {'questions': 5}, 'done': {'questions': 2}, 'old': {}}
    run = write_run(tmp_path / 'run', [*rows(2), *rows(2, benchmark='done')], run_card={'benchmarks': about})
    _, notes = write_report(run)
    told = [note for note in notes if 'so far' in note]
    assert told == [
        'scene: 2 of 3 questions have an answer so far',
        'refer: 0 of 5 questions have an answer so far',
    ]


def test_predictions_alone(tmp_path):
    path, notes = write_report(write_run(tmp_path / 'run', rows(2)), tmp_path / 'new' / 'page.html')
    assert path == tmp_path / 'new' / 'page.html'
    assert notes == (
        'there is no run_card.json: the run has not ended, or is of an earlier version',
        'there is no metrics.json: the run has not ended, or is of an earlier version',
        'scene: no config says where its pictures are, so none are shown',
    )


def test_a_config_given_says_where_the_pictures_are(tmp_path, config):
    path, notes = write_report(write_run(tmp_path / 'run', rows(2), metrics=METRICS), config=config)
    assert '<img ' in path.read_text(encoding='utf-8')
    assert len(notes) == 1


def test_questions_boxes_are_read_in_the_runs_box_language(tmp_path, config):
    regions = rows(2, prompt='[identify] What is at {<10><10><50><50>|<0>}', image_size=[64, 64])
    path, _ = write_report(write_run(tmp_path / 'run', regions, run_card={'config': config}))
    assert 'boxes asked about' in path.read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{"benchmark": "scene", "id": "9", "pro', 'Unterminated string'),
        ('[]', 'a line is an object, not list'),
        ({**ROW, 'id': None}, "there is no 'id'"),
        ({**ROW, 'id': '1'}, "a second answer to question '1'"),
        ({**ROW, 'id': '9', 'boxes': [[1, 2, 3]]}, "'boxes' is a list of boxes of five numbers"),
    ],
)
def test_a_bad_line_is_named_and_left_out(tmp_path, line, message):
    path, notes = write_report(write_run(tmp_path / 'run', [*rows(2), line]))
    assert any('predictions.jsonl, line 3 was left out' in note and message in note for note in notes)
    assert '>2</td>' in path.read_text(encoding='utf-8')


def test_many_bad_lines_are_counted(tmp_path):
    _, notes = write_report(write_run(tmp_path / 'run', [*rows(1), *['{}'] * 50]))
    assert f'{50 - MOST_NOTED} more lines of the predictions were left out' in notes


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'metrics': '{"results": '}, 'metrics.json cannot be read'),
        ({'metrics': '[]'}, 'metrics.json is not an object'),
        ({'metrics': {'results': {}}}, 'metrics.json has no scores of scene'),
        ({'metrics': {'results': {'scene': {'score': 'none'}}, 'intervals': [], 'data': 3}}, 'run_card'),
        ({'run_card': {'config': 'text'}}, 'the config is not an object'),
        (
            {'run_card': {'config': {'box_codec': {'type': 'geocat'}}}},
            'boxes that questions speak of are not shown: .*geocat',
        ),
        (
            {'run_card': {'config': {'benchmarks': {'scene': {'reader': {'image_source': {'type': 'Nothing'}}}}}}},
            'Nothing',
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, files, message):
    _, notes = write_report(write_run(tmp_path / 'run', rows(2), **files))
    assert any(re.search(message, note) for note in notes)


def test_pictures_that_are_gone_are_named(tmp_path, config):
    folder = write_run(tmp_path / 'run', rows(1, images=['b.png']), metrics=METRICS, run_card={'config': config})
    _, notes = write_report(folder)
    assert len(notes) == 1
    assert 'scene, 0: the picture cannot be shown' in notes[0]
    (tmp_path / 'images' / 'a.png').unlink()
    (tmp_path / 'images').rmdir()
    _, notes = write_report(folder)
    assert len(notes) == 1
    assert 'scene: its pictures are not shown: the image folder' in notes[0]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no run directory'):
        write_report(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match=r'has no predictions\.jsonl'):
        write_report(tmp_path)
    with pytest.raises(DataError, match=r'predictions\.jsonl is empty'):
        write_report(write_run(tmp_path / 'run', []))
    with pytest.raises(DataError, match=r'line 1 was left out: .*no .id'):
        write_report(write_run(tmp_path / 'run', ['{}']))
