"""The page holds all it needs, shows a model's words as words, and goes on where a picture is missing."""

import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from geochat.visualization.report import BenchmarkPart, BenchmarkScores, Report, read_case, render

VOID = {'meta', 'img', 'br', 'hr', 'path', 'use', 'rect', 'image', 'stop'}


class Checker(HTMLParser):
    """Collects tags, words and places that the page refers to, and refuses tags that are not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.words, self.places = [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.places += [value for name, value in attributes if name in ('src', 'href', 'xlink:href', 'srcset')]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def grey(name):
    if 'gone' in name:
        raise FileNotFoundError(f'the picture {name} does not exist')
    return Image.new('RGB', (64, 64), (128, 128, 128))


def refer(name, box, image='a.png', **more):
    truth = {'boxes': [[30, 30, 20, 10, 0.0]]}
    row = {'id': name, 'prompt': f'[refer] {name}', 'answer': str(box or ''), 'images': [image], 'image_size': [64, 64]}
    return read_case({**row, 'boxes': [box] if box else [], 'truth': truth, 'malformed': not box, **more})


def scene(name, answer, truth):
    return read_case({'id': name, 'prompt': 'Which class?', 'answer': answer, 'truth': {'text': truth}})


REFER = BenchmarkPart(
    BenchmarkScores(
        'referring',
        scores={
            'acc@0.5': 0.5,
            'questions': 3,
            'earthdial/acc@0.5': 0.25,
            'size=small/acc@0.5': 0.125,
            'size=large/acc@0.5': 0.75,
        },
        comparisons={'majority': {'acc@0.5': 0.0625}},
        intervals={'acc@0.5': (0.4375, 0.5625)},
        published={'acc@0.5': 0.106},
        headline=('acc@0.5',),
        facts={'source': 'hand-made'},
        malformed={'no_box': 1},
        remarks={'meteor': 'left out without Java'},
    ),
    [
        refer('right', [30, 30, 20, 10, 0.0]),
        refer('wrong', [10, 10, 4, 4, 0.0], image='gone.png'),
        refer('empty', None, diagnostics=['no_box'], image='b.png'),
    ],
    grey,
)
SCENE = BenchmarkPart(BenchmarkScores('aid'), [scene(str(n), 'ab'[n % 2], 'ab'[n // 2]) for n in range(4)])


def page_of(*parts, **settings):
    names = []
    page = render(Report('A run', parts, {'majority': 'always the same'}, **settings), 4, names.append)
    assert names == [part.scores.name for part in parts]
    return page


def test_it_is_whole_and_needs_nothing_else():
    page = page_of(REFER, SCENE, card={'seed': 0, 'config': {'a': {'b': 1}}})
    found = Checker(page.html)
    assert 'script' not in found.tags
    assert 'link' not in found.tags
    assert all(place.startswith(('#', 'data:')) for place in found.places)
    assert not re.search(r'@import|url\((?!#)', page.html)
    targets = set(re.findall(r'\bid="([^"]+)"', page.html))
    assert {place[1:] for place in found.places if place.startswith('#')} <= targets


def test_what_it_tells():
    words = Checker(page_of(REFER, SCENE, card={'seed': 7}).html).words
    for word in (
        *('0.500', '0.106', '0.438\u20130.562', '0.062', '0.250', '0.125', '0.750'),
        *('earthdial', 'hand-made', 'Best answers', 'Worst answers', 'seed', '7', '(empty)', 'malformed'),
    ):
        assert word in words
    assert any('1 of 3 answers are malformed (no_box in 1)' in word for word in words)
    assert any('a taken for b: 1 of 2' in word for word in words)
    assert 'meteor: left out without Java' in words
    assert any('always the same' in word for word in words)


def test_a_missing_picture_is_named_and_the_rest_is_shown():
    page = page_of(REFER)
    assert page.notes == ('referring, wrong: the picture cannot be shown: the picture gone.png does not exist',)
    assert page.html.count('<img ') == 3  # the boxes of the missing one are shown on grey ground
    assert 'gone.png cannot be shown' in page.html


def test_boxes_are_shown_without_pictures_too():
    few = [refer('a', [30, 30, 20, 10, 0.0]), refer('b', [30, 30, 20, 10, 0.0], image_size=None)]
    few += [refer('c', [10, 10, 4, 4, 0.0], image_size=[10**6, 10**6], images=[]), scene('d', 'x', 'y')]
    page = page_of(BenchmarkPart(BenchmarkScores('a'), few))
    assert page.html.count('<img ') == 1
    assert page.html.count('<article>') == 4
    assert not page.notes


def test_few_scores_stand_beside_an_answer():
    scores = {'iou': -0.0, 'f1@0.25': 0.51, 'f1@0.5': 1e-18, 'more': 1, 'earthdial/iou': 0.75}
    page = page_of(BenchmarkPart(BenchmarkScores('a'), [refer('x', [30, 30, 20, 10, 0.0], scores=scores)]))
    assert '>iou 0, f1@0.25 0.51, f1@0.5 0<' in page.html


def test_a_models_words_are_words():
    bad = '</dd><script>alert(1)</script><img src=http://x onerror=y> \x00 \ud800 &amp; "quoted"'
    row = {'id': bad, 'prompt': bad, 'answer': bad, 'images': [bad], 'diagnostics': [bad], 'malformed': True}
    case = read_case({**row, 'truth': {'text': bad}, 'groups': {bad: bad}, 'scores': {bad: 0.5}})
    scores = BenchmarkScores(
        bad, {bad: 1.0, f'x={bad}/y': 0.5, 'x=z/y': 0.5}, {bad: {bad: 1.0}}, facts={bad: bad}, published={bad: 1.0}
    )
    page = render(Report(bad, [BenchmarkPart(scores, [case], grey)], card={bad: [bad]}, notes=[bad]), 4, str)
    found = Checker(page.html)
    assert 'script' not in found.tags
    assert all(place.startswith(('#', 'data:')) for place in found.places)
    assert any('alert(1)' in word for word in found.words)
    page.html.encode('utf-8')


def test_long_words_are_cut():
    case = read_case({'id': 'a', 'prompt': 'x' * 10_000, 'answer': 'y ' * 10_000, 'truth': {'text': 'z' * 10_000}})
    assert len(page_of(BenchmarkPart(BenchmarkScores('a'), [case])).html) < 15_000


def test_boxes_asked_about_are_drawn():
    case = read_case({'id': 'a', 'prompt': '', 'answer': 'x', 'images': ['a.png'], 'truth': {'text': 'x'}})
    asked = BenchmarkPart(BenchmarkScores('a'), [case], grey, lambda case: np.array([[30, 30, 20, 20, 0.0]]))
    assert 'boxes asked about' in page_of(asked).html
    assert 'boxes asked about' not in page_of(BenchmarkPart(BenchmarkScores('a'), [case], grey)).html


def test_no_answers_shown():
    assert 'Best answers' not in render(Report('A run', [REFER]), 0, str).html
