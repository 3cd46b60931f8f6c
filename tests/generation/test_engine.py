import random

import pytest
import torch
from small_parts import small_model

from geochat import generation
from geochat.generation import Generated
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
