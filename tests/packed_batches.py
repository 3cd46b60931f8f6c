"""Samples of every kind that a packed batch may hold, and what a model learns from a batch."""

import numpy as np

from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX

I = IMAGE_TOKEN_INDEX  # noqa: E741 the letter stands for a picture in the rows below


def sample(before, after, pictures=(), answers=4):
    """A sample whose last ``answers`` tokens are supervised; the text of a picture follows from its name."""
    ids = np.array([*before, *after], dtype=np.int64)
    labels = ids.copy()
    labels[: len(ids) - answers] = IGNORE_INDEX
    pixels = [np.random.default_rng(key).standard_normal((3, 28, 28), dtype=np.float32) for key in pictures]
    return {'input_ids': ids, 'labels': labels, 'pixels': pixels, 'image_keys': [f'{key}.png' for key in pictures]}


def mixed_samples():
    """Records of a shared picture, of two pictures, of text only, of several answers, and independent turns."""
    rng = np.random.default_rng(0)

    def words(count):
        return rng.integers(3, 460, count).tolist()

    head = [1, *words(3), I]
    other_head = [1, *words(4), I]
    two = [1, *words(2), I, *words(2), I]
    turns = sample(head, words(12), [7], answers=0)
    turns['labels'][[8, 9, 13, 14, 16]] = turns['input_ids'][[8, 9, 13, 14, 16]]
    turns['branches'] = np.array([0] * 5 + [1] * 5 + [2] * 7)
    dialogue = sample(head, words(14), [8])
    dialogue['labels'][8:11] = dialogue['input_ids'][8:11]  # an answer in the middle too
    answered_before = sample([1, *words(5), I], words(6), [7])
    answered_before['labels'][3:5] = answered_before['input_ids'][3:5]
    text_turns = sample([], [1, *words(5), 1, *words(6)], answers=0)
    text_turns['labels'][[4, 5, 10, 12]] = text_turns['input_ids'][[4, 5, 10, 12]]
    text_turns['branches'] = np.array([1] * 6 + [2] * 7)
    return [
        sample(head, words(9), [7]),
        dialogue,
        sample([], [1, *words(11)]),
        sample(head, words(5), [7]),
        sample(two, words(7), [7, 8]),
        turns,
        sample(other_head, words(8), [7]),
        sample(head, words(10), [8]),
        answered_before,
        text_turns,
        sample(two, words(9), [7, 8]),
        sample(two, words(6), [8, 7]),
        sample(head, [], [9], answers=0),
    ]


def losses_and_gradients(model, batch):
    """Return the loss of a batch, its number of supervised tokens and the gradients by the weights' names."""
    model.zero_grad()
    result = model(**batch, mode='loss')
    result['loss'].backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return {
        'loss': result['loss'].detach(),
        'num_supervised': int(result['num_supervised']),
        'gradients': gradients,
    }
