"""The lines of answers: what they say, and how they are added to a file and read again."""

import json
from dataclasses import replace

import pytest
from small_run import small_run

from geochat.engine.benchmark import build_benchmarks
from geochat.engine.journal import Journal
from geochat.engine.predictions import answer_of_row, answer_row, json_line, write_rows

BOX = '{<10><20><30><40>|<30>}'


@pytest.fixture
def refer(tmp_path):
    cfg = small_run(tmp_path)
    return build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, ['refer'])[0]


def answers(benchmark, texts):
    rows = zip(benchmark.reader, texts, strict=True)
    return [benchmark.answer(question, benchmark.prompt(question, (28, 28)), text, (28, 28)) for question, text in rows]


def test_a_line_says_what_was_asked_said_and_read(refer, tmp_path):
    path = tmp_path / 'predictions.jsonl'
    first, second, third = answers(refer, [BOX, 'über\u2028{<1>}', ''])
    first = replace(first, tokens=9, log_prob=-1.5, box_scores=(0.25,))
    write_rows(
        path, [answer_row('refer', first, {'iou': 0.5}), answer_row('refer', second), answer_row('refer', third)]
    )
    lines = path.read_text(encoding='utf-8').split('\n')
    # By hand: 10 to 30 % of 28 pixels is 5.6 wide about 5.6; 20 to 40 % about 8.4; 30 degrees are 0.5236.
    assert json.loads(lines[0]) == {
        'benchmark': 'refer',
        'id': 'r0',
        'images': ['red.png'],
        'image_size': [28, 28],
        'prompt': '[refer] Give me the location of <p> the red ship </p>',
        'answer': BOX,
        'text': BOX,
        'boxes': [[5.6, 8.4, 5.6, 5.6, 0.5236]],
        'box_scores': [0.25],
        'malformed': False,
        'diagnostics': [],
        'truth': {'boxes': [[8, 6, 8, 4, 0]]},
        'groups': {'size': 'small', 'type': 'ref', 'objects': 'single'},
        'scores': {'iou': 0.5},
        'tokens': 9,
        'log_prob': -1.5,
    }
    row = json.loads(lines[1])
    assert (row['answer'], row['malformed'], row['boxes']) == ('über\u2028{<1>}', True, [])
    assert row['diagnostics'] == ['wrong_count']
    assert 'über' in lines[1]


def test_half_a_pair_of_surrogates_can_be_written_and_read():
    row = {'answer': 'über \ud800'}
    assert json.loads(json_line(row).encode('utf-8')) == row
    assert json_line({'answer': 'über'}) == '{"answer": "über"}\n'


def test_a_line_gives_the_same_answer_again(refer):
    answer = replace(answers(refer, [BOX, '', ''])[0], tokens=9, log_prob=-1.5, box_scores=(0.25,))
    again = answer_of_row(refer, answer.question, answer_row('refer', answer))
    assert answer_row('refer', again) == answer_row('refer', answer)
    unasked = refer.no_answer(answer.question, 'the picture is missing')
    again = answer_of_row(refer, answer.question, answer_row('refer', unasked))
    assert (again.error, again.text, again.parsed.malformed, again.image_size) == (
        'the picture is missing',
        '',
        True,
        None,
    )


def row(benchmark, name, **further):
    return {'benchmark': benchmark, 'id': name, 'answer': 'a', **further}


def contents(folder):
    return [json.loads(line)['id'] for line in (folder / 'said.jsonl').read_text(encoding='utf-8').split('\n') if line]


def test_lines_are_on_the_disk_as_soon_as_they_are_added_and_ordered_at_the_end(tmp_path):
    journal = Journal(tmp_path, 'said', ())
    journal.add([row('a', '2')])
    assert contents(tmp_path) == ['2']
    journal.add([row('a', '1')])
    journal.finish('a', [row('a', '1'), row('a', '2')])
    assert contents(tmp_path) == ['1', '2']
    journal.add([row('b', '3')])
    journal.close()
    assert contents(tmp_path) == ['1', '2', '3']


def test_lines_of_every_process_are_found_again_and_those_of_other_benchmarks_dropped(tmp_path):
    write_rows(tmp_path / 'said.jsonl', [row('a', '1\u2028'), row('old', '0'), row('a', '3', error='no picture')])
    with (tmp_path / 'said.jsonl').open('a') as file:
        file.write('{"benchmark": "a", "id": "4')
    write_rows(tmp_path / 'said.rank1.jsonl', [row('a', '2')])
    journal = Journal(tmp_path, 'said', ['a'])
    assert list(journal.rows['a']) == ['1\u2028', '2']
    assert not (tmp_path / 'said.rank1.jsonl').exists()
    journal.add([row('a', '5')])
    journal.close()
    assert contents(tmp_path) == ['1\u2028', '2', '5']
