"""Compiled steps over keys and values of a fixed size write the same tokens."""

import gc
import shutil
import weakref

import numpy as np
import pytest
import torch
from small_parts import LLM_CONFIG, small_model, small_parts

from geochat.generation import GenerationEngine, GenerationSettings, Request
from geochat.models import GeoChat
from geochat.structures import IMAGE_TOKEN_INDEX

needs_compiler = pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile needs the compiler g++ on a CPU')


def request(picture, *tokens, **settings):
    """A question of some tokens; about a picture of one value, or about none."""
    settings = GenerationSettings(**{'max_new_tokens': 20, **settings})
    if picture is None:
        return Request(np.array([1, *tokens]), settings=settings)
    pixels = torch.full((3, 28, 28), float(picture))
    return Request(np.array([1, 7, IMAGE_TOKEN_INDEX, *tokens]), [pixels], [str(picture)], settings)


@pytest.fixture
def traced_only(monkeypatch):
    """Let torch.compile trace what a step computes, but write no program for it, which takes long."""
    unpatched = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda function: unpatched(function, backend='eager', fullgraph=True))


def unending_model():
    model = small_model()
    model.llm.stop_ids = ()
    return model


def check(engine, expected, requests):
    for one, other in zip(engine.generate(requests), expected, strict=True):
        assert one.ids == other.ids and one.finish == other.finish
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


def test_answers_are_those_of_the_batch(traced_only):
    model = unending_model()
    requests = [
        request(0.0, 20, 21, 22),
        request(0.0, 30),
        request(1.0, 40, 41, 42, 43, 44),
        request(0.0, 20, 21, 22, temperature=1.0, seed=3),
        request(None, 50, 51),
        request(1.0, *range(60, 90), max_new_tokens=240),
        request(None, 50, 51, max_new_tokens=0),
    ]
    expected = GenerationEngine(model).generate(requests)
    engine = GenerationEngine(model, batch_size=1, compile=True)
    check(engine, expected, requests)
    assert (engine.prefixes.computed, engine.prefixes.found) == (2, 3)
    assert ''.join(engine.stream(requests[0])).strip() == expected[0].text.strip()


def test_an_answer_that_is_given_up_leaves_nothing_behind(traced_only):
    model = unending_model()
    expected = GenerationEngine(model).generate([request(0.0, 20, 21)])
    engine = GenerationEngine(model, batch_size=1, compile=True)
    given_up, wanted = engine.submit(request(0.0, *range(30, 60))), engine.submit(request(0.0, 20, 21))
    engine.step()
    engine.step()
    engine.cancel(given_up)
    while wanted.finish is None:
        engine.step()
    assert wanted.result.ids == expected[0].ids


def test_room_of_another_size_is_not_kept(traced_only, monkeypatch):
    model = unending_model()
    new_cache, made = model.llm.new_cache, []

    def remembered(size=None):
        cache = new_cache(size)
        if size is not None:
            made.append((size, weakref.ref(cache)))
        return cache

    monkeypatch.setattr(model.llm, 'new_cache', remembered)
    engine = GenerationEngine(model, batch_size=1, compile=True)
    for tokens in (20, 30, 260, 20):
        engine.generate([request(0.0, 20, max_new_tokens=tokens)])
    gc.collect()
    assert [size for size, _ in made] == [256, 512, 256]
    assert [cache() is not None for _, cache in made] == [False, False, True]


@needs_compiler
def test_the_compiled_program_writes_the_same():
    model = unending_model()
    requests = [request(0.0, 20, 21, 22), request(0.0, 30)]
    check(GenerationEngine(model, 1, compile=True), GenerationEngine(model).generate(requests), requests)


def test_what_cannot_be_compiled():
    with pytest.raises(ValueError, match='batch_size is 1, not 32'):
        GenerationEngine(small_model(), compile=True)
    parts = small_parts()
    parts['llm']['config'] = {**LLM_CONFIG, 'model_type': 'mistral', 'sliding_window': 8}
    with pytest.raises(ValueError, match='full attention in all layers'):
        GenerationEngine(GeoChat(**parts), batch_size=1, compile=True)
