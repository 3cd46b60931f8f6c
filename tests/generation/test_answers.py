"""Answers that are drawn or searched for, and what ends them."""

from collections import Counter

import numpy as np
import pytest
import torch
from llava_reference import load_llava, reference_answer
from small_parts import small_model, small_parts

from geochat.box_codecs import GeoChatBoxCodec
from geochat.engine.checkpoint import save_model
from geochat.generation import GenerationEngine, GenerationSettings, Request
from geochat.generation.answers import draw_tokens
from geochat.structures import IMAGE_TOKEN_INDEX


def words_model():
    """A model that says no lone bytes: their logits are the mean of the others'."""
    model = small_model()
    rows = model.llm.model.lm_head.weight.data
    rows[:259] = rows[259:].mean(0)
    return model


def request(number, **settings):
    """One of several questions about one of three pictures; every third about none."""
    pixels = torch.randn(3, 28, 28, generator=torch.Generator().manual_seed(number % 3))
    shown = number % 3 > 0
    ids = [1, *([IMAGE_TOKEN_INDEX] if shown else []), 5, *range(270 + number, 272 + 3 * number)]
    keys, pictures = ([str(number % 3)], [pixels]) if shown else ([], [])
    return Request(np.array(ids), pictures, keys, GenerationSettings(**settings))


@pytest.mark.parametrize('beams', [2, 4])
def test_beams_find_what_transformers_beams_find(beams, tmp_path):
    model = small_model()
    parts = {**small_parts(), 'box_codec': {'type': 'GeoChatBoxCodec'}}
    llava = load_llava(save_model(model, parts, tmp_path / 'ours'), tmp_path / 'hf')
    # The end is as likely as the words said most often, or nearly so, or more.
    free = GenerationEngine(model).generate([request(number, max_new_tokens=10) for number in range(10)])
    (one, _), (other, _) = Counter(token for answer in free for token in answer.ids).most_common(2)
    for head in (model.llm.model.lm_head.weight, llava.lm_head.weight):
        head.data[2] = 0.7 * head.data[one] + 0.7 * head.data[other]
    requests = [request(number, num_beams=beams, max_new_tokens=10) for number in range(10)]
    expected = [reference_answer(llava, one, num_beams=beams)[0] for one in requests]
    together = GenerationEngine(model, batch_size=10).generate(requests)
    assert [answer.ids for answer in together] == expected
    assert len({len(answer) for answer in expected}) > 2
    greedy = GenerationEngine(model).generate([request(number, max_new_tokens=10) for number in range(10)])
    assert sum(one.ids != other.ids for one, other in zip(greedy, together, strict=True)) > 3


def test_what_is_drawn_depends_on_the_seed_alone():
    model = small_model()
    settings = [{'temperature': 0.8 + number % 3 / 2, 'top_p': 0.9, 'seed': number % 4} for number in range(12)]
    requests = [request(number, max_new_tokens=8, **one) for number, one in enumerate(settings)]
    requests += [request(3, max_new_tokens=8, temperature=1.5, seed=seed) for seed in range(4)]
    together = GenerationEngine(model, batch_size=5).generate([*requests, request(2, max_new_tokens=9)])
    alone = [GenerationEngine(model, share_prefixes=False).generate([one])[0] for one in requests]
    assert [answer.ids for answer in together[:-1]] == [answer.ids for answer in alone]
    assert len({tuple(answer.ids) for answer in alone[-4:]}) == 4


def test_a_token_is_drawn_as_often_as_it_is_likely():
    class Drawn:
        def __init__(self, number):
            self.request, self.number = request(0, temperature=0.5, top_p=0.75), number

        def draw(self):
            return (self.number + 0.5) / 1000

    logits = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]])).expand(1000, 4)
    counts = torch.bincount(draw_tokens(logits, [Drawn(number) for number in range(1000)]), minlength=4)
    # By hand: squared and divided by their sum, 0.30, the probabilities are 1, 16, 9 and 4 parts in 30; the first two
    # of them have 25, more than 0.75 of 30.
    assert counts.tolist() == [0, 640, 360, 0]


def test_texts_and_boxes_end_an_answer():
    model = words_model()
    (free,) = GenerationEngine(model).generate([request(1, max_new_tokens=20)])
    assert free.text == model.llm.tokenizer.decode(free.ids, skip_special_tokens=True).strip()
    assert free.finish == 'length'
    stop = free.text[6:9]
    ended = GenerationEngine(model).generate([request(1, max_new_tokens=20, stop=(stop,))] * 2)
    assert ended[0] == ended[1]
    assert (ended[0].finish, ended[0].text) == ('stop', free.text[: free.text.index(stop)].strip())
    assert len(ended[0].ids) < len(free.ids)
    codec = GeoChatBoxCodec()
    codec.pattern = '[a-z]{3}'  # the model's words are no boxes
    (boxed,) = GenerationEngine(model, box_codec=codec).generate([request(1, max_new_tokens=20, stop_at_box=True)])
    assert boxed.finish == 'box'
    assert boxed.text[-3:].isalpha()


def test_a_stream_is_the_answer_and_may_be_given_up():
    model = words_model()
    engine = GenerationEngine(model)
    (whole,) = engine.generate([request(4, max_new_tokens=15)])
    pieces = list(engine.stream(request(4, max_new_tokens=15)))
    assert ''.join(pieces) == whole.text
    assert sum(map(bool, pieces)) > 5
    assert ''.join(engine.stream(request(4, max_new_tokens=15, num_beams=2))) != ''
    other = engine.submit(request(2, max_new_tokens=30))
    stream = engine.stream(request(4, max_new_tokens=15))
    next(stream)
    stream.close()
    while other.finish is None:
        engine.step()
    assert engine.idle


def test_streams_that_are_read_in_turn_lose_nothing(monkeypatch):
    model = words_model()
    engine = GenerationEngine(model)
    requests = [request(4, max_new_tokens=15), request(2, max_new_tokens=15)]
    wholes = [answer.text for answer in engine.generate(requests)]
    first = engine.stream(requests[0])
    begin = next(first)
    assert ''.join(engine.stream(requests[1])) == wholes[1]  # and meanwhile all of the first is written
    assert begin + ''.join(first) == wholes[0] != begin

    first = engine.stream(requests[0])
    next(first)
    monkeypatch.setattr(model.llm, 'logits', lambda states: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(engine.stream(requests[1]))
    with pytest.raises(RuntimeError, match='the model failed while it wrote this answer beside others'):
        list(first)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'max_new_tokens': -1}, 'max_new_tokens is a whole number from 0, not -1'),
        ({'max_new_tokens': '64'}, "max_new_tokens is a whole number from 0, not '64'"),
        ({'seed': 1.5}, r'seed is a whole number from 0, not 1\.5'),
        ({'temperature': '1'}, "temperature is a number from 0, not '1'"),
        ({'temperature': float('nan')}, 'temperature is a number from 0, not nan'),
        ({'top_p': 0.0}, 'top_p is above 0 and at most 1, not 0.0'),
        ({'num_beams': 0}, 'num_beams is a whole number from 1'),
        ({'stop': 'end'}, "stop is a tuple of texts, none of them empty, not 'end'"),
        ({'stop': None}, 'stop is a tuple of texts'),
        ({'stop': (5,)}, 'stop is a tuple of texts'),
        ({'stop': ('',)}, 'none of them empty'),
        ({'num_beams': 2, 'temperature': 1.0}, 'not both'),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**settings)


def test_requests_that_the_engine_cannot_answer_are_refused():
    for memory in (-1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match=f'prefix_memory_mb is a number from 0, not {memory}'):
            GenerationEngine(small_model(), prefix_memory_mb=memory)
    engine = GenerationEngine(small_model(), batch_size=2)
    with pytest.raises(ValueError, match='3 beams do not fit into a batch of 2'):
        engine.submit(request(1, num_beams=3))
    with pytest.raises(ValueError, match='stop_at_box and box_grammar need a box language'):
        engine.submit(request(1, stop_at_box=True))
