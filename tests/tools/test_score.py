"""``tools/analysis_tools/score.py``: a published model's answers get the scores that other libraries alone give them.

Their folder is ``$GEOCHAT_BENCH``, by default ``../shared/bench`` beside the repository.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'score.py'
FOLDER = Path(os.environ.get('GEOCHAT_BENCH', ROOT.parent / 'shared' / 'bench'))

needs_bench = pytest.mark.skipif(
    not (FOLDER / 'expected_scores.json').is_file(), reason=f'no predictions with known scores in {FOLDER}'
)


def score(monkeypatch, work_dir, *arguments):
    """Run the tool in this process, and return what it wrote of the benchmark."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments), '--work-dir', str(work_dir)])
    runpy.run_path(str(TOOL), run_name='__main__')
    written = json.loads((work_dir / 'metrics.json').read_text(encoding='utf-8'))
    (scores,) = written['results'].values()
    return scores['score']


def expected():
    return json.loads((FOLDER / 'expected_scores.json').read_text(encoding='utf-8'))


GROUPS = {
    'all': '',
    **{size: f'size={size}/' for size in ('small', 'medium', 'large')},
    **{number: f'objects={number}/' for number in ('single', 'multiple')},
}


@needs_bench
@pytest.mark.parametrize('sense', ['clockwise', 'counter_clockwise'])
def test_referring(monkeypatch, tmp_path, sense):
    scores = score(
        monkeypatch,
        tmp_path,
        FOLDER / 'referring_predictions.jsonl',
        *('--benchmark', 'referring', '--box-codec', 'earthdial'),
        # As the published scorer reads boxes: 171 of the 3,441 boxes of the ground truth have a sign and are left out.
        *('--cfg-options', f'box_codec.sense={sense}', 'box_codec.signed=False'),
    )
    counts = {'expressions': 'questions', 'predicted': 'predicted_boxes', 'ground_truth': 'true_boxes'}
    for threshold, by_group in expected()['referring'][sense].items():
        for group, values in by_group.items():
            for name, value in values.items():
                if name in counts:
                    assert scores[f'{GROUPS[group]}{counts[name]}'] == value, (group, name)
                else:
                    found = 100 * scores[f'{GROUPS[group]}{name}@{threshold}']
                    assert found == pytest.approx(value, abs=0.01), (threshold, group, name)


@needs_bench
def test_visual_question_answering(monkeypatch, tmp_path):
    scores = score(
        monkeypatch,
        tmp_path,
        FOLDER / 'rsvqa_lr_predictions.jsonl',
        *('--benchmark', 'rsvqa_lrben', '--cfg-options', 'benchmarks.rsvqa_lrben.reader.categories=None'),
    )
    for category, values in expected()['rsvqa_lr'].items():
        assert scores[f'category={category}/questions'] == values['n']
        assert 100 * scores[f'category={category}/accuracy'] == pytest.approx(values['accuracy'], abs=0.01)


@needs_bench
def test_counts_are_left_out_of_visual_question_answering_as_the_benchmark_does(monkeypatch, tmp_path, capsys):
    answers = FOLDER / 'rsvqa_lr_predictions.jsonl'
    scores = score(monkeypatch, tmp_path, answers, '--benchmark', 'rsvqa_lrben')
    values = expected()['rsvqa_lr']
    assert scores['questions'] == sum(values[category]['n'] for category in ('comp', 'presence', 'rural_urban'))
    assert f'{values["count"]["n"]} lines of a kind that the benchmark leaves out' in capsys.readouterr().out


@needs_bench
def test_scene_classification(monkeypatch, tmp_path):
    scores = score(monkeypatch, tmp_path, FOLDER / 'aid_predictions.jsonl', '--benchmark', 'aid')
    assert scores['questions'] == expected()['aid']['n']
    assert 100 * scores['accuracy'] == pytest.approx(expected()['aid']['accuracy'], abs=0.01)


@needs_bench
def test_region_captions(monkeypatch, tmp_path):
    pytest.importorskip('rouge_score')
    scores = score(
        monkeypatch,
        tmp_path,
        FOLDER / 'region_caption_predictions.jsonl',
        *('--benchmark', 'region_caption', '--box-codec', 'earthdial'),
        *('--cfg-options', "benchmarks.region_caption.metrics=[{'type': 'Captions', 'measures': ['rouge']}]"),
    )
    values = expected()['region_caption']
    assert scores['questions'] == values['n']
    for name in ('rouge1', 'rougeL'):
        assert 100 * scores[name] == pytest.approx(values[name], abs=0.01)


EXPRESSION = {
    'question_id': 'a',
    'image_id': 'P0',
    'question': 'the ship',
    'ground_truth': [[[10, 10], [60, 10], [60, 40], [10, 40]]],
    'type': 'ref',
    'size_group': 'small',
}

IMPORTS = """
import runpy, sys
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name='__main__')
heavy = ('torch', 'transformers', 'mmrotate', 'mmcv', 'nltk', 'matplotlib')
print('imported:', *(name for name in heavy if name in sys.modules))
"""


def test_answers_are_joined_with_the_files_of_a_benchmark_without_its_pictures_or_heavy_imports(tmp_path):
    """In seconds, which it would not be if torch were imported."""
    folder = tmp_path / 'data' / 'GeoChat-Bench'
    folder.mkdir(parents=True)
    (folder / 'referring.jsonl').write_text(f'{json.dumps(EXPRESSION)}\n')
    answer = {'question_id': 'a', 'answer': '{<10><10><60><40>|<0>}', 'image_size': [100, 100]}
    (tmp_path / 'answers.jsonl').write_text(f'{json.dumps(answer)}\n{json.dumps(answer)}\n')
    code = IMPORTS.format(argv=[str(TOOL), 'answers.jsonl', '--benchmark', 'referring'])
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r'\| referring +\| +1 \| +0 \| precision@0\.5 +\| 1\.000 \|', done.stdout)
    assert (
        "referring: 1 lines that answer a question once more; the first answer counts (answers.jsonl, line 2: 'a'"
        in done.stdout
    )
    assert done.stdout.splitlines()[-1] == 'imported:'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('none.jsonl',), r"error: the file of predictions '.*none\.jsonl' does not exist"),
        (
            ('answers.jsonl',),
            r'error: answers\.jsonl, line 1 does not say which benchmark it answers: name one with --bench',
        ),
        (('answers.jsonl', '--benchmark', 'refering'), r"no benchmark 'refering'; did you mean referring"),
        (('answers.jsonl', '--benchmark', 'referring'), r'error: .* has no ground truth \(truth, .*\) for referring'),
        (
            ('answers.jsonl', '--benchmark', 'aid', '--box-codec', 'earthdia'),
            r"error: 'earthdia' is not a registered box",
        ),
        (
            ('answers.jsonl', '--benchmark', 'aid', '--fields', 'aswer=a'),
            r"error: there is no field 'aswer'; there are",
        ),
        (
            ('answers.jsonl', '--benchmark', 'aid', '--work-dir', '.'),
            r'error: the work directory .* choose another one',
        ),
    ],
)
def test_slips_are_answered_in_one_line(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path('answers.jsonl').write_text('{"question_id": "a", "answer": "yes"}\n')
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments])
    with pytest.raises(SystemExit, match=message) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert '\n' not in str(stop.value)
