"""A box that was opened is closed as the codec's pattern wants it, whatever the tokens are."""

import os
import random
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_parts import small_model, tokenizer_folder

from geochat.box_codecs import GeoChatBoxCodec
from geochat.generation import GenerationEngine, GenerationSettings, Request
from geochat.generation.grammar import BoxAutomaton, BoxGrammar, token_bytes
from geochat.prompts import load_tokenizer
from geochat.registry import BOX_CODECS
from geochat.structures import IMAGE_TOKEN_INDEX

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))
CODECS = sorted({codec.__name__ for codec in BOX_CODECS.module_dict.values()})
BOXES = np.array([[50.0, 40.0, 30.0, 20.0, 0.3], [10.0, 90.0, 8.0, 6.0, 0.0]])


@cache
def byte_level_tokenizer():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        ['a ship at {"bbox_2d": [10, 20, 30, 40], "label": "ship"} [[1, 2, 3, 4, 5]] <loc_123><loc_4>'] * 9,
        vocab_size=400,
        min_frequency=1,
        special_tokens=['<end>'],
        show_progress=False,
    )
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token='<end>')


def codec_of(name):
    return BOX_CODECS.get(name)()


@cache
def automaton_of(name):
    return BoxAutomaton(codec_of(name).pattern)


def run(automaton, text):
    """The state after a text."""
    state = 0
    for byte in text.encode():
        state = automaton.table[state, byte]
    return state


@pytest.mark.parametrize('name', CODECS)
def test_well_formed_boxes_may_be_written_and_broken_ones_not(name):
    codec, automaton = codec_of(name), automaton_of(name)
    dead = len(automaton.table) - 1
    for before in ('', 'the ship at ', 'a {b', '<', 'POLYGON (('[:9]):
        written = before + codec.encode(BOXES, (100, 100)) + ' and more'
        state = run(automaton, written)
        assert state != dead
        assert not automaton.inside[state]
    box = next(re.finditer(codec.pattern, codec.encode(BOXES[:1], (100, 100))))[0]
    assert not automaton.inside[run(automaton, box)]
    last_digit = max(place for place, character in enumerate(box) if character.isdigit())
    for broken in (box[: last_digit + 1] + 'x', box[:last_digit] + '\n', box[:last_digit] + '{<'):
        assert run(automaton, broken) == dead
    assert automaton.inside[run(automaton, box[: last_digit + 1])]


@given(st.text(alphabet='{<0123>|}-', max_size=30))
def test_the_automaton_follows_the_pattern(text):
    """A text that goes has no box that is opened and neither closed nor still open."""
    pattern = GeoChatBoxCodec().pattern
    state = run(automaton := automaton_of('GeoChatBoxCodec'), text)
    rest = re.sub(pattern, '', text)
    broken = [found.start() for found in re.finditer(r'\{<', rest)]
    if state == len(automaton.table) - 1:
        assert broken
    else:
        assert len(broken) == int(automaton.inside[state])


def tokenizers():
    yield pytest.param(lambda: load_tokenizer(tokenizer_folder()), id='sentencepiece')
    yield pytest.param(byte_level_tokenizer, id='byte-level')

    def vicuna():
        if not PARITY.is_dir():
            pytest.skip(f'no recordings of the original GeoChat at {PARITY} (set GEOCHAT_PARITY)')
        return load_tokenizer(str(PARITY / 'geochat-tiny'))

    yield pytest.param(vicuna, id='vicuna')


@pytest.mark.parametrize('tokenizer', list(tokenizers()))
def test_tokens_drawn_from_those_allowed_close_every_box(tokenizer):
    tokenizer, draw = tokenizer(), random.Random(0)
    for name in ('GeoChatBoxCodec', 'EarthDialBoxCodec', 'FlorenceBoxCodec', 'Qwen25BoxCodec', 'WKTBoxCodec'):
        codec = codec_of(name)
        stop = tokenizer.eos_token_id
        grammar = BoxGrammar(codec.pattern, tokenizer, len(tokenizer) + 3, (stop,))
        box = re.search(codec.pattern, codec.encode(BOXES[:1], (100, 100)))[0]
        automaton = automaton_of(name)
        opening = next(box[:size] for size in range(len(box)) if automaton.inside[run(automaton, box[:size])])
        for _ in range(10):
            ids = tokenizer('a ship ' + opening, add_special_tokens=False)['input_ids']
            state = grammar.start
            for token in ids:
                assert grammar.allowed(state)[token]
                state = grammar.advance(state, token)
            while grammar.is_inside(state):
                allowed = grammar.allowed(state)
                assert not allowed[stop]
                # Words and characters beyond ASCII may go on forever in a label.
                ascii_only = [int(token) for token in np.flatnonzero(allowed) if grammar._bytes[token].isascii()]
                closing = [token for token in ascii_only if not grammar.is_inside(grammar.advance(state, token))]
                ids.append(draw.choice(closing or ascii_only))
                state = grammar.advance(state, ids[-1])
            text = tokenizer.decode(ids)
            assert re.search(codec.pattern, text), text
            assert grammar.allowed(state)[stop]


@pytest.mark.parametrize('tokenizer', list(tokenizers()))
def test_the_bytes_of_tokens_are_those_of_the_text(tokenizer):
    tokenizer = tokenizer()
    texts = token_bytes(tokenizer)
    for text in ('the red ship \u00fc\u4e2d\U0001f6a2 {<12><34>|<5>}', 'a  b\n"label": \t x'):
        ids = tokenizer(text, add_special_tokens=False)['input_ids']
        assert b''.join(texts[index] for index in ids).decode().strip() == text
    assert texts[tokenizer.eos_token_id] == b''


@pytest.mark.parametrize('settings', [{'temperature': 1.0}, {'num_beams': 2}, {}])
def test_no_answer_of_a_model_has_a_broken_box(settings, monkeypatch):
    model, codec = small_model(), GeoChatBoxCodec()
    tokens = model.llm.tokenizer.convert_tokens_to_ids(['{', '<', '{<'])
    plain = type(model.llm).logits

    def fond_of_boxes(llm, rows):
        logits = plain(llm, rows)
        logits[:, [token for token in tokens if token]] += 4
        return logits

    monkeypatch.setattr(type(model.llm), 'logits', fond_of_boxes)
    pixels = torch.randn(3, 28, 28, generator=torch.Generator().manual_seed(0))
    requests = [
        Request(
            np.array([1, IMAGE_TOKEN_INDEX, 300 + number]),
            [pixels],
            ['a'],
            GenerationSettings(max_new_tokens=60, seed=number, box_grammar=True, **settings),
        )
        for number in range(6)
    ]
    answers = GenerationEngine(model, box_codec=codec).generate(requests)
    closed = 0
    for answer in answers:
        closed += len(re.findall(codec.pattern, answer.text))
        rest = re.sub(codec.pattern, '', answer.text)
        opened = [found.start() for found in re.finditer(r'\{<', rest)]
        assert len(opened) <= (answer.finish == 'length'), answer.text
        assert all(np.isfinite(answer.log_probs))
    assert closed > 3 or 'num_beams' in settings  # drafts with boxes are long, and end less likely


def test_what_no_automaton_can_follow_is_refused():
    for pattern, message in ((r'[0-9]+,', 'no fixed beginning'), (r'<(a)\1>', 'GROUPREF'), (r'<\d>', 'CATEGORY')):
        with pytest.raises(ValueError, match=message):
            BoxAutomaton(pattern)
