"""Tests of the rows of a batch."""

import numpy as np
from small_parts import small_model

from geochat.generation import GenerationEngine, GenerationSettings, Request


def request(number, length=5):
    ids = np.random.default_rng(number).integers(260, 460, length)
    return Request(ids, [], [], GenerationSettings(max_new_tokens=3 + number % 4))


def alone(model, requests):
    return [GenerationEngine(model, batch_size=1).generate([single])[0].ids for single in requests]


def test_a_batch_that_is_never_empty_does_not_grow(monkeypatch):
    model, widths = small_model(), []
    compute = model.llm.hidden_states
    requests = [request(number) for number in range(60)]
    expected = alone(model, requests)

    def recorded(embeds, mask, *args, **kwargs):
        widths.append(mask.shape[1])
        return compute(embeds, mask, *args, **kwargs)

    monkeypatch.setattr(model.llm, 'hidden_states', recorded)
    engine = GenerationEngine(model, batch_size=4)
    answers = []
    for single in requests:
        answers.append(engine.submit(single))
        while sum(answer.finish is None for answer in answers) == engine.batch_size:
            engine.step()
        assert not engine.idle
    while not engine.idle:
        engine.step()
    # A row has a question of 5 tokens and at most 6 of an answer, the last of which is never computed.
    assert max(widths) == 5 + 5
    assert [answer.result.ids for answer in answers] == expected


def test_a_long_row_keeps_its_tokens_when_a_shorter_one_leaves():
    model, requests = small_model(), [request(3, length=20), request(0, length=2)]
    together = [answer.ids for answer in GenerationEngine(model, batch_size=2).generate(requests)]
    assert together == alone(model, requests)
    assert len(together[0]) > len(together[1])
