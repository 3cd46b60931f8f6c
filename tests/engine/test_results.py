"""The table of scores with its footer, and the file of scores."""

import json
from dataclasses import dataclass, field

import pytest

from geochat.engine import ConfigError
from geochat.engine.results import BenchmarkResult, Problem, score_table, write_metrics


@dataclass
class Named:
    """As much of a benchmark as the table looks at."""

    name: str
    shown: tuple | None = None
    published: dict = field(default_factory=dict)
    protocols: tuple = ()


def result(benchmark, scores, intervals=None, malformed=None, problems=(), remarks=None):
    return BenchmarkResult(benchmark, scores, intervals or {}, malformed or {}, problems, remarks or {})


def plain():
    return [
        result(Named('scene'), {'score': {'accuracy': 0.98}, 'majority': {'accuracy': 0.2}}),
        result(
            Named('refer'),
            {
                'score': {
                    'acc@0.5': 0.61239,
                    'boxes': 510,
                    'questions': 500,
                    'malformed': 3,
                    'size=small/acc@0.5': 0.5,
                },
                'angle_0': {'acc@0.5': 0.3, 'boxes': 510},
            },
        ),
    ]


def table_rows(results):
    table = score_table(results)
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.split('\n') if '|' in line], table


def test_the_table_has_a_column_for_each_comparison_and_no_groups():
    rows, table = table_rows(plain())
    assert rows == [
        ['benchmark', 'questions', 'malformed', 'metric', 'score', 'majority', 'angle_0'],
        ['scene', '', '', 'accuracy', '0.980', '0.200', ''],
        ['refer', '500', '3', 'acc@0.5', '0.612', '', '0.300'],
        ['', '', '', 'boxes', '510', '', '510'],
    ]
    assert "angle_0: the model's answers with the angle of every box set to 0" in table


def test_the_table_shows_chosen_scores():
    results = plain()
    results[1].benchmark.shown = ('acc@0.5',)
    assert [row[3] for row in table_rows(results)[0]] == ['metric', 'accuracy', 'acc@0.5']
    results[1].benchmark.shown = ('acc@0.6',)
    with pytest.raises(ConfigError, match=r"benchmarks\.refer\.shown: there is no score 'acc@0\.6', but acc@0\.5"):
        table_rows(results)


def test_protocols_published_figures_and_intervals_stand_beside_the_score():
    benchmark = Named(
        'refer',
        shown=('acc@0.5', 'earthdial/any_match@0.5'),
        published={'acc@0.5': 0.106, 'size=small/acc@0.5': 0.029, 'METEOR': 0.5},
        protocols=('earthdial', 'vrsbench'),
    )
    scores = {
        'acc@0.5': 0.25,
        'size=small/acc@0.5': 0.125,
        'earthdial/any_match@0.5': 0.75,
        'earthdial/questions': 8,
        'vrsbench/acc@0.5': 0.5,
        'questions': 8,
        'malformed': 1,
    }
    rows, table = table_rows([result(benchmark, {'score': scores}, {'acc@0.5': (0.1, 0.4)})])
    assert rows == [
        ['benchmark', 'questions', 'malformed', 'metric', 'score', '95 %', 'published', 'earthdial', 'vrsbench'],
        ['refer', '8', '1', 'acc@0.5', '0.250', '0.100-0.400', '0.106', '', '0.500'],
        ['', '', '', 'any_match@0.5', '', '', '', '0.750', ''],
        ['', '', '', 'size=small/acc@0.5', '0.125', '', '0.029', '', ''],
        ['', '', '', 'METEOR', '', '', '0.500', '', ''],
    ]
    assert 'vrsbench: scored as by vrsbench (docs/evaluation.md)' in table


def test_the_footer_counts_and_names_what_was_wrong():
    problems = [Problem('unknown_id', f'a.jsonl, line {number}', repr(str(number))) for number in range(1, 6)]
    benchmark = Named('refer')
    table = score_table(
        [
            result(
                benchmark,
                {'score': {'f1': 0.5, 'malformed': 7}},
                malformed={'no_box': 5, 'degenerate': 3},
                problems=problems,
                remarks={'meteor': 'left out: no Java', 'cider': 'left out: no Java'},
            )
        ],
        {'aid': 'the data file data/aid.jsonl does not exist'},
    )
    footer = table.split('\n')[-4:]
    assert footer == [
        'refer: 7 malformed answers (no_box 5, degenerate 3)',
        'refer: 5 lines with an id that the benchmark does not have; they are left out '
        "(a.jsonl, line 1: '1'; a.jsonl, line 2: '2'; a.jsonl, line 3: '3'; and 2 more)",
        'refer: meteor, cider: left out: no Java',
        'aid was not run: the data file data/aid.jsonl does not exist',
    ]


def test_the_file_has_all_that_the_table_leaves_out(tmp_path):
    problems = [Problem('unknown_id', f'a.jsonl, line {number}', 'x') for number in range(1, 6)]
    refer = result(
        Named('refer'), {'score': {'f1': 0.5, 'size=small/f1': 0.25}}, {'f1': (0.4, 0.6)}, {'no_box': 1}, problems
    )
    write_metrics([refer], tmp_path / 'metrics.json', 'weights.pth', {'results': {'aid': {'score': {'accuracy': 1.0}}}})
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert written['source'] == 'weights.pth'
    assert written['results'] == {
        'aid': {'score': {'accuracy': 1.0}},
        'refer': {'score': {'f1': 0.5, 'size=small/f1': 0.25}},
    }
    assert written['intervals'] == {'refer': {'f1': [0.4, 0.6]}}
    assert len(written['problems']['refer']) == 5
    assert written['problems']['refer'][4] == {'code': 'unknown_id', 'place': 'a.jsonl, line 5', 'message': 'x'}
