"""Scores of captions: golden values by hand and by the libraries that define them."""

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochat.evaluation.functional import (
    bleu,
    bleu_counts,
    captions,
    cider,
    coco_rouge,
    meteor,
    ptb_tokens,
    rouge,
    simple_tokens,
    text_without_boxes,
    wordnet_meteor,
)
from geochat.installation import InstallationError

NEEDS_JAVA = pytest.mark.skipif(shutil.which('java') is None, reason='there is no Java')
WORDS = st.sampled_from(['a', 'red', 'ship', 'left', 'at', 'the'])
REFERENCES = st.lists(st.lists(WORDS, max_size=8).map(' '.join), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ('text', 'spans', 'bare'),
    [
        ('a <p>red ship</p> {<1><2><3><4>|<5>} lies here.', [(18, 37)], 'a red ship lies here.'),
        ('two courts [[1, 2, 3, 4, 5], [6, 7, 8, 9, 1]]  near', [(12, 27), (29, 44)], 'two courts near'),
        ('a <ref>ship</ref><box>[[1,2,3,4]]</box>, <delim>left', [(22, 33)], 'a ship, left'),
        ('nothing (here)', [], 'nothing (here)'),
        ('', [], ''),
    ],
)
def test_boxes_and_marks_are_taken_out_of_a_description(text, spans, bare):
    assert text_without_boxes(text, spans) == bare


def test_rouge_by_hand():
    """Two of three words in order, all three out of order; the better of two references counts for each score."""
    scores = rouge(['ship red the', 'a Ship.', ''], [['the red ship'], ['two planes', 'a ship at left'], ['ship']])
    np.testing.assert_allclose(scores['rouge1'], [1, 2 * 1 * 0.5 / 1.5, 0])
    np.testing.assert_allclose(scores['rougeL'], [1 / 3, 2 * 1 * 0.5 / 1.5, 0])


def test_rouge_of_stems():
    assert rouge(['landing planes'], [['landed plane']])['rouge1'] == [0]
    assert rouge(['landing planes'], [['landed plane']], stemming=True)['rouge1'] == [1]


def test_coco_s_rouge_weighs_recall_more():
    """Precision 1 and recall 1/2 with beta 1.2."""
    expected = (1 + 1.44) * 1 * 0.5 / (0.5 + 1.44 * 1)
    assert coco_rouge(['a ship'], [['a ship at left']]) == pytest.approx(expected)


def test_bleu_by_hand():
    """Seven times one word that the reference has twice (the example of Papineni et al.), and a short answer."""
    repeated = bleu(bleu_counts(['the the the the the the the'], [['the cat is on the mat']]).sum(axis=0))
    np.testing.assert_allclose(repeated, [2 / 7, 0, 0, 0])
    short = bleu(bleu_counts(['a red ship at'], [['a red ship at left', 'ship']]).sum(axis=0))
    np.testing.assert_allclose(short, [math.exp(1 - 5 / 4)] * 4)
    np.testing.assert_array_equal(bleu(bleu_counts([''], [['a ship']]).sum(axis=0)), [0] * 4)
    assert bleu(np.zeros((3, 5, 10))).shape == (3, 5, 4)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=4, max_size=8).map(' '.join), REFERENCES), min_size=1, max_size=4))
def test_bleu_is_pycocoevalcap_s(pairs):
    from pycocoevalcap.bleu.bleu import Bleu

    answers, references = [answer for answer, _ in pairs], [true for _, true in pairs]
    theirs, _ = Bleu(4).compute_score(
        dict(enumerate(references)), {number: [answer] for number, answer in enumerate(answers)}, verbose=0
    )
    # Theirs adds 1e-15 above every line, whose fourth root is what a share of 0 comes to there.
    np.testing.assert_allclose(bleu(bleu_counts(answers, references).sum(axis=0)), theirs, atol=5e-4)


def test_cider_by_hand():
    """Of two questions with nothing in common, the answer that is its reference scores 10, one without a word of it 0.

    A reference of four words or more has runs of all four lengths, each with a cosine of 1.
    """
    scores = cider(['a red ship left', 'some other words'], [['a red ship left'], ['two planes on grass']])
    np.testing.assert_allclose(scores, [10, 0])
    np.testing.assert_array_equal(cider(['a ship'], [['a ship']]), [0])  # a single question tells no word from another
    np.testing.assert_array_equal(cider(['a ship', ''], [[''], ['']]), [0, 0])


def test_tokens_without_java():
    assert simple_tokens(["A red Ship, isn't it? (2 boats)", '']) == ['a red ship isn t it 2 boats', '']


@NEEDS_JAVA
def test_ptb_tokens_are_pycocoevalcap_s():
    """Punctuation is left out, but brackets are not: pycocoevalcap looks for them in capitals."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = ["A red Ship, isn't it? (2 boats)", '', ' . ', 'Grün\nstone.']
    found = ptb_tokens(texts)
    assert found == ["a red ship is n't it -lrb- 2 boats -rrb-", '', '', 'grün stone']
    theirs = PTBTokenizer().tokenize({number: [{'caption': text}] for number, text in enumerate(texts)})
    assert found == [theirs[number][0] for number in range(len(texts))]
    assert ptb_tokens([]) == []
    assert ptb_tokens(['half \ud83d a\u2028pair', 'b']) == ['half a pair', 'b']


@NEEDS_JAVA
@pytest.mark.slow
def test_meteor():
    """The same words score 1, none of them 0, a stem or a synonym something between; marks of its lines do no harm."""
    answers = ['a red ship at the left', 'xyz', 'a ship is moored', 'A big boat', '', 'a ||| ship\nleft']
    references = [
        ['a red ship at the left'],
        ['a ship'],
        ['ships moor'],
        ['a large boat', 'zz'],
        ['a ship'],
        ['a ship left'],
    ]
    scores, together = meteor(answers, references)
    np.testing.assert_allclose(scores[[0, 1, 4, 5]], [1, 0, 0, 1], atol=1e-6)
    assert 0 < scores[2] < 1
    assert 0.5 < scores[3] < 1
    assert 0 < together < 1


def test_without_java_it_is_said_so(monkeypatch):
    monkeypatch.setenv('PATH', '')
    for function in (lambda: meteor(['a'], [['a']]), lambda: ptb_tokens(['a'])):
        with pytest.raises(InstallationError, match='needs Java, and there is no program java'):
            function()


def test_java_that_fails_is_told(monkeypatch, tmp_path):
    java = tmp_path / 'java'
    java.write_text('#!/bin/sh\necho "no runtime present" >&2\nexit 1\n')
    java.chmod(0o755)
    monkeypatch.setattr(captions.shutil, 'which', lambda name: str(java))
    with pytest.raises(InstallationError, match='ended without a score'):
        meteor(['a'], [['a']])
    with pytest.raises(InstallationError, match='PTB tokenizer failed: no runtime present'):
        ptb_tokens(['a'])


def test_wordnet_s_meteor_by_hand(monkeypatch):
    """By Lavie and Agarwal (2007): F weighs recall nine times, less half the cube of chunks per match.

    The second has the stem of the one word, the third but punctuation in the way; there are no synonyms here.
    """
    wordnet = SimpleNamespace(ensure_loaded=lambda: None, synsets=lambda word: [])
    monkeypatch.setattr('nltk.corpus.wordnet', wordnet)
    scores = wordnet_meteor(['A ship', 'ships', 'ship.'], [['a ship'], ['zz', 'ship'], ['ship']])
    np.testing.assert_allclose(scores, [1 - 0.5 * (1 / 2) ** 3, 1 - 0.5, 0])


def test_wordnet_that_is_not_there_is_told(monkeypatch, tmp_path):
    nltk = pytest.importorskip('nltk')
    monkeypatch.setattr(nltk.data, 'path', [str(tmp_path)])
    with pytest.raises(InstallationError, match=r'nltk\.downloader wordnet'):
        wordnet_meteor(['a'], [['a']])
