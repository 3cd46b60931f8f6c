"""Names of scores are taken apart, so that protocols and groups stand side by side."""

import pytest

from geochat.visualization.report.scores import BenchmarkScores, split_name


@pytest.mark.parametrize(
    ('name', 'parts'),
    [
        ('accuracy', ('', '', '', 'accuracy')),
        ('earthdial/f1@0.5', ('earthdial', '', '', 'f1@0.5')),
        ('size=small/acc@0.5', ('', 'size', 'small', 'acc@0.5')),
        ('earthdial/size=small/acc@0.5', ('earthdial', 'size', 'small', 'acc@0.5')),
        ('class=ship/boat/ap', ('', 'class', 'ship/boat', 'ap')),
    ],
)
def test_names(name, parts):
    assert tuple(split_name(name)) == parts


SCORES = BenchmarkScores(
    'refer',
    scores={
        'acc@0.25': 0.9,
        'acc@0.5': 0.8,
        'questions': 10,
        'size=large/acc@0.5': 0.9,
        'size=small/acc@0.5': 0.7,
        'geochat/acc@0.5': 0.6,
        'geochat/size=small/acc@0.5': 0.5,
    },
    published={'geochat/acc@0.5': 0.106, 'geochat/size=medium/acc@0.5': 0.136},
)


def test_layout():
    assert SCORES.protocols() == ['', 'geochat']
    assert SCORES.by_protocol() == {
        'acc@0.25': {'': 'acc@0.25'},
        'acc@0.5': {'': 'acc@0.5', 'geochat': 'geochat/acc@0.5'},
        'questions': {'': 'questions'},
    }
    assert list(SCORES.groups('')['size']) == ['small', 'large']
    assert SCORES.groups('geochat') == {'size': {'small': {'acc@0.5': 'geochat/size=small/acc@0.5'}}}
    assert SCORES.plotted() == 'acc@0.5'


def test_what_was_published_is_told_though_it_was_not_computed():
    assert SCORES.summary() == ['acc@0.25', 'acc@0.5', 'size=medium/acc@0.5']
    assert SCORES.of_any_protocol(SCORES.published, 'acc@0.5') == 0.106
    assert SCORES.of_any_protocol(SCORES.published, 'size=medium/acc@0.5') == 0.136
    assert SCORES.of_any_protocol(SCORES.published, 'acc@0.25') is None


def test_a_headline_that_is_not_there_is_left_out():
    scores = BenchmarkScores('scene', scores={'accuracy': 1.0, 'f1': 1.0}, headline=('f1', 'none'))
    assert scores.summary() == ['f1']
    assert BenchmarkScores('scene').summary() == []
    assert BenchmarkScores('scene').plotted() is None
