import numpy as np
import pytest
import torch
from small_parts import small_model

from geochat.datasets.collate import collate_samples
from geochat.generation import generate, option_log_probs
from geochat.generation.likelihood import answer_ids, token_log_probs
from geochat.prompts.tokenization import tokenize_dialogue
from geochat.structures import IMAGE_TOKEN_INDEX, Message

QUESTIONS = ['<image>\nIs a harbor present?', 'yes or no?', '<image>\n<image>\nHow many planes are there?', '<image>']
OPTIONS = [['yes', 'no'], ['no', 'yes', 'yes, three ships'], ['two'], ['present', 'the red ship', '', 'present']]


def pictures():
    return torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def prompt(model, question):
    """The ids of a question, with which the model is to go on."""
    return tokenize_dialogue(
        model.llm.chat_template.segments([Message('user', question)]), model.llm.tokenizer
    ).input_ids


def batch_of(model, questions, pixels):
    samples, seen = [], 0
    for question in questions:
        ids = prompt(model, question)
        count = int((ids == IMAGE_TOKEN_INDEX).sum())
        keys = [str(number) for number in range(seen, seen + count)]
        samples.append({'input_ids': ids, 'pixels': [*pixels[seen : seen + count].numpy()], 'image_keys': keys})
        seen += count
    return collate_samples(samples, padding='left')


def plain_log_probs(model, question, option, pixels):
    """The log-softmax at each token of the whole dialogue, asked and answered in one row without padding."""
    messages = [Message('user', question), Message('assistant', option)]
    tokens = tokenize_dialogue(model.llm.chat_template.segments(messages), model.llm.tokenizer)
    ids, answer = torch.tensor(tokens.input_ids)[None], tokens.input_ids[tokens.labels >= 0]
    images = {'pixels': pixels, 'image_index': torch.arange(len(pixels))} if len(pixels) else {}
    with torch.no_grad():
        logits = model(ids, torch.ones_like(ids, dtype=torch.bool), **images)[0]
    log_probs = logits.log_softmax(-1)[-len(answer) - 1 : -1]
    return log_probs[range(len(answer)), answer].numpy()


def test_options_are_scored_as_if_each_had_been_said_alone():
    model = small_model()
    found = option_log_probs(model, batch_of(model, QUESTIONS, pictures()), OPTIONS)
    means = option_log_probs(model, batch_of(model, QUESTIONS, pictures()), OPTIONS, reduction='mean')
    seen = 0
    for question, options, scores, mean in zip(QUESTIONS, OPTIONS, found, means, strict=True):
        count = question.count('<image>')
        pixels = pictures()[seen : seen + count]
        seen += count
        expected = [plain_log_probs(model, question, option, pixels) for option in options]
        np.testing.assert_allclose(scores, [values.sum() for values in expected], atol=1e-4)
        np.testing.assert_allclose(mean, [values.mean() for values in expected], atol=1e-5)
    assert found[3][0] == pytest.approx(found[3][3])  # the same words twice
    assert len({round(value, 3) for value in np.concatenate(found)}) > 6


def test_logits_may_be_computed_in_pieces(monkeypatch):
    model = small_model()
    batch = batch_of(model, QUESTIONS, pictures())
    whole = option_log_probs(model, batch, OPTIONS)
    monkeypatch.setattr('geochat.generation.likelihood._ROWS_OF_LOGITS', 3)
    for pieces, once in zip(option_log_probs(model, batch, OPTIONS), whole, strict=True):
        np.testing.assert_allclose(pieces, once, atol=1e-5)


def test_what_the_model_wrote_is_as_likely_as_it_said_when_it_wrote_it():
    model = small_model()
    batch = batch_of(model, QUESTIONS, pictures())
    said = generate(model, batch, max_new_tokens=6)
    tokens = token_log_probs(model, batch, [[np.array(answer.ids), np.array([5, 6])] for answer in said])
    for (again, _), answer in zip(tokens, said, strict=True):
        np.testing.assert_allclose(again, answer.log_probs, atol=1e-4)


def test_an_answer_s_tokens_are_those_of_training():
    """The supervised tokens after the prompt's own are the option's, the end of the turn included."""
    model = small_model()
    messages = [Message('user', 'Is a ship present?'), Message('assistant', 'two ships')]
    tokens = tokenize_dialogue(model.llm.chat_template.segments(messages), model.llm.tokenizer)
    expected = [*prompt(model, messages[0].text), *answer_ids(model.llm, 'two ships')]
    assert tokens.input_ids.tolist() == expected
    assert expected[-1] == model.llm.tokenizer.eos_token_id


def test_options_that_cannot_be_scored_are_an_error():
    model = small_model()
    batch = batch_of(model, ['yes or no?', 'how many?'], pictures())
    with pytest.raises(ValueError, match=r'2 questions need one or more options each, not \[2\]'):
        option_log_probs(model, batch, [['yes', 'no']])
    with pytest.raises(ValueError, match=r'not \[2, 0\]'):
        option_log_probs(model, batch, [['yes', 'no'], []])
    with pytest.raises(ValueError, match="'sum' or 'mean', not 'max'"):
        option_log_probs(model, batch, [['yes'], ['no']], reduction='max')
