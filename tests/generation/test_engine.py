import random

import numpy as np
import pytest
import torch
from small_parts import small_model, small_parts

from geochat import generation
from geochat.generation import Generated, GenerationEngine, GenerationSettings, Request
from geochat.models import GeoChat
from geochat.structures import IMAGE_TOKEN_INDEX


def generate(model, batch, max_new_tokens):
    return [answer.ids for answer in generation.generate(model, batch, max_new_tokens)]


def mixed_prompts(count):
    """Prompts of different lengths; every third without a picture, some with two."""
    draw = random.Random(3)
    for number in range(count):
        prompt = [1, *(draw.randrange(260, 460) for _ in range(draw.randrange(2, 20)))]
        for _ in range((1, 0, 2)[number % 3]):
            prompt.insert(draw.randrange(1, len(prompt)), IMAGE_TOKEN_INDEX)
        yield prompt


def left_padded(prompts, pixels):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    pictures = sum(prompt.count(IMAGE_TOKEN_INDEX) for prompt in prompts)
    if not pictures:
        return {'input_ids': ids, 'attention_mask': mask}
    images = {'pixels': pixels[:pictures], 'image_index': torch.arange(pictures)}
    return {'input_ids': ids, 'attention_mask': mask, **images}


def test_a_batch_of_mixed_questions_answers_as_each_alone():
    model, prompts = small_model(), list(mixed_prompts(8))
    pixels = torch.randn(16, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    together = generate(model, left_padded(prompts, pixels), max_new_tokens=20)
    alone, seen = [], 0
    for prompt in prompts:
        alone += generate(model, left_padded([prompt], pixels[seen:]), max_new_tokens=20)
        seen += prompt.count(IMAGE_TOKEN_INDEX)
    assert together == alone
    assert len({tuple(answer) for answer in together}) > 4  # the questions do lead to different answers


def test_answers_are_those_of_transformers_own_generation():
    model, (prompt, *_) = small_model(), list(mixed_prompts(2))
    batch = left_padded([prompt], torch.randn(1, 3, 28, 28))
    embeds, mask, *_ = model.splice(
        batch['input_ids'],
        batch['attention_mask'],
        model.encode_images(batch['pixels'], batch['image_index']),
        padding='left',
    )
    expected = model.llm.model.generate(
        inputs_embeds=embeds, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0
    )
    assert generate(model, batch, max_new_tokens=12) == expected.tolist()


def test_an_answer_stops_at_the_end_of_text_and_does_not_hold_up_the_others():
    model, batch = small_model(), left_padded(list(mixed_prompts(3)), torch.randn(4, 3, 28, 28))
    free = generate(model, batch, max_new_tokens=30)
    end = free[0][5]
    model.llm.stop_ids = (end,)
    stopped = generate(model, batch, max_new_tokens=30)
    assert len(stopped[0]) <= 5
    assert stopped == [answer[: answer.index(end)] if end in answer else answer for answer in free]


def test_log_probabilities_are_those_of_a_pass_over_the_whole_answer():
    model, prompts = small_model(), list(mixed_prompts(3))
    pixels = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    batch = left_padded(prompts, pixels)
    model.llm.stop_ids = (generation.generate(model, batch, 9)[0].ids[4],)  # the first answer is short
    answers, seen = generation.generate(model, batch, 9), 0
    assert len(answers[0].ids) < len(answers[1].ids)
    for prompt, answer in zip(prompts, answers, strict=True):
        whole = left_padded([prompt + answer.ids], pixels[seen:])
        seen += prompt.count(IMAGE_TOKEN_INDEX)
        with torch.no_grad():
            log_probs = model(**whole)[0].log_softmax(-1)[-len(answer.ids) - 1 : -1]
        expected = log_probs.gather(1, torch.tensor(answer.ids)[:, None])[:, 0].tolist()
        assert answer.log_probs == pytest.approx(expected, abs=1e-4)


def test_no_token_is_made_where_none_is_allowed():
    model = small_model()
    assert generation.generate(model, left_padded([[1, 5], [1]], None), max_new_tokens=0) == [Generated([], [])] * 2


def request(ids, max_new_tokens=6, seed=0, **settings):
    """A request whose pictures are drawn from a seed."""
    count = list(ids).count(IMAGE_TOKEN_INDEX)
    pixels = torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(seed))
    keys = [f'{seed}.{number}' for number in range(count)]
    return Request(np.array(ids), list(pixels), keys, GenerationSettings(max_new_tokens, **settings))


def test_an_llm_with_a_sliding_window_answers_in_whole_batches():
    parts = small_parts()
    parts['llm']['config'].update(model_type='mistral', sliding_window=8)
    torch.manual_seed(0)
    model = GeoChat(**parts).eval()
    requests = [request(prompt, 12, seed=number) for number, prompt in enumerate(mixed_prompts(7))]
    engine = GenerationEngine(model, batch_size=3)
    assert not engine.share_prefixes
    together = engine.generate(requests)
    assert [answer.ids for answer in together] == [
        GenerationEngine(model, batch_size=1).generate([single])[0].ids for single in requests
    ]


def test_a_picture_that_ends_a_request_is_not_shared():
    model = small_model()
    last = request([1, 300, IMAGE_TOKEN_INDEX])
    assert last.prefix_key is None
    whole = GenerationEngine(model, share_prefixes=False).generate([last])
    assert [answer.ids for answer in GenerationEngine(model).generate([last])] == [answer.ids for answer in whole]


def test_answers_join_a_running_batch_and_leave_it():
    model = small_model()
    requests = [request([1, IMAGE_TOKEN_INDEX, 270 + number], 8) for number in range(5)]
    alone = [GenerationEngine(model).generate([single])[0].ids for single in requests]
    engine = GenerationEngine(model, batch_size=4)
    answers = [engine.submit(single) for single in requests[:3]]
    assert len(engine.step()) == 3
    answers.append(engine.submit(requests[3]))
    assert engine.step()[-1] is answers[3]
    engine.cancel(answers[1])
    answers.append(engine.submit(requests[4]))
    while not engine.idle:
        engine.step()
    assert [answer.finish for answer in answers] == ['length', 'cancelled', 'length', 'length', 'length']
    assert answers[1].ids == alone[1][:2]
    assert [answers[number].ids for number in (0, 2, 3, 4)] == [alone[number] for number in (0, 2, 3, 4)]
    assert engine.prefixes.computed == 1
    assert all(answer.prefix is None for answer in answers)


def test_a_request_that_fills_the_context_is_refused_before_anything_is_answered():
    model = small_model()
    engine = GenerationEngine(model)
    long = request([1, IMAGE_TOKEN_INDEX] + [300] * 508)
    with pytest.raises(ValueError, match=r"has 513 tokens with its 1 pictures, and the LLM's context 512"):
        engine.generate([request([1, 2]), long])
    assert engine.idle
    (answer,) = engine.generate([request([1, IMAGE_TOKEN_INDEX] + [300] * 504, 30)])
    assert len(answer.ids) <= 3
    with pytest.raises(ValueError, match='1 image tokens stand in the request, but 0 pictures'):
        Request(np.array([1, IMAGE_TOKEN_INDEX, 5]))


def test_few_prefixes_are_kept_and_those_used_last():
    model = small_model()
    engine = GenerationEngine(model, batch_size=1, prefix_memory_mb=1)
    questions = [request([1, IMAGE_TOKEN_INDEX, 270], 2, seed=seed) for seed in range(4)]
    engine.generate(questions[:1])
    assert len(engine.prefixes) == 1
    engine.prefixes.max_bytes = 3 * engine.prefixes.num_bytes
    for number in (1, 2, 0, 3, 0, 1):  # 1 is evicted by 3, since 0 was used after it
        engine.generate(questions[number : number + 1])
    assert (engine.prefixes.computed, engine.prefixes.found, len(engine.prefixes)) == (5, 2, 3)
    assert engine.prefixes.num_bytes == engine.prefixes.max_bytes
    engine.prefixes.clear()
    assert (engine.prefixes.num_bytes, len(engine.prefixes)) == (0, 0)


def test_a_batch_takes_as_many_pictures_as_fit():
    model = small_model()
    engine = GenerationEngine(model, batch_size=6)
    questions = [request([1, IMAGE_TOKEN_INDEX, 270 + number], 3, seed=number // 2) for number in range(8)]
    whole = engine.generate(questions)
    one = engine.prefixes.num_bytes // 4
    engine.prefixes.clear()
    engine.prefixes.max_bytes = 2 * one
    answers = [engine.submit(question) for question in questions]
    sizes = []
    while not engine.idle:
        sizes.append(len(engine.step()))
        assert engine.prefixes.num_bytes <= 2 * one
    assert sizes == [4] * 6
    assert [answer.ids for answer in answers] == [answer.ids for answer in whole]


def test_a_request_with_many_pictures_does_not_take_the_room_of_later_ones():
    model = small_model()
    engine = GenerationEngine(model, batch_size=4, prefix_memory_mb=1)
    engine.generate([request([1, IMAGE_TOKEN_INDEX, 270], 2)])
    engine.prefixes.max_bytes = 3 * engine.prefixes.num_bytes
    engine.generate([request([1, *[IMAGE_TOKEN_INDEX] * 8, 270], 2, seed=1)])
    answers = [engine.submit(request([1, IMAGE_TOKEN_INDEX, 270], 2, seed=seed)) for seed in (2, 3, 4)]
    assert engine.step() == answers  # together
    while not engine.idle:
        engine.step()
    assert len(engine.prefixes) == 3
    found = engine.prefixes.found
    engine.generate([request([1, IMAGE_TOKEN_INDEX, 270], 2, seed=seed) for seed in (2, 3, 4)])
    assert engine.prefixes.found == found + 3


@pytest.mark.parametrize('place', ['prefix', 'question', 'answer'])
def test_after_a_failure_of_the_model_the_others_are_answered(place):
    model = small_model()
    requests = [request([1, IMAGE_TOKEN_INDEX, 270 + seed], 6, seed=seed) for seed in range(5)]
    alone = [GenerationEngine(model).generate([single])[0] for single in requests]
    engine = GenerationEngine(model, batch_size=3)
    answers = [engine.submit(single) for single in requests]
    if place == 'answer':
        engine.step()
    left = {'prefix': 2, 'question': 4, 'answer': 1}[place]  # three prefixes, then the three questions in one pass

    def fail(*_):
        nonlocal left
        left -= 1
        if not left:
            raise MemoryError(place)  # when the first layer's keys and values are in the cache

    hook = model.llm.model.get_decoder().layers[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        engine.step()
    hook.remove()
    failed = 2 if place == 'prefix' else 3
    assert [answer.finish for answer in answers] == ['failed'] * failed + [None] * (5 - failed)
    assert all(answer.prefix is None for answer in answers)
    again = [engine.submit(single) for single in requests[:failed]]
    while not engine.idle:
        engine.step()
    assert [answer.ids for answer in [*again, *answers[failed:]]] == [answer.ids for answer in alone]
    engine.prefixes.clear()
    assert len(engine.prefixes) == 0


def test_answers_that_are_interrupted_are_written_no_further(monkeypatch):
    model = small_model()
    engine = GenerationEngine(model, batch_size=1)
    logits = model.llm.logits

    def interrupted(states):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.llm, 'logits', interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.generate([request([1, 270 + number]) for number in range(3)])
    monkeypatch.setattr(model.llm, 'logits', logits)
    engine.step()
    assert engine.idle
    assert engine.generate([request([1, 270])]) == GenerationEngine(model).generate([request([1, 270])])
