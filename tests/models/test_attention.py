import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_parts import small_model, tokenizer_folder

from geochat.datasets import collate_samples
from geochat.models.attention import (
    PADDING,
    Layout,
    additive_mask,
    block_mask,
    dense_mask,
    document_attention,
    pieces,
    positions,
    varlen_settings,
)
from geochat.prompts import VicunaV1, load_tokenizer, tokenize_dialogue, tokenize_turns
from geochat.structures import IGNORE_INDEX, Message

DIALOGUE = [
    *(Message('user', '<image>\nIs a harbor present?'), Message('assistant', 'yes')),
    *(Message('user', '[refer] where is <p>the red ship</p> ?'), Message('assistant', '{<1><2><3><4>|<5>}')),
    *(Message('user', 'How many planes are there?'), Message('assistant', 'two')),
]


def test_a_token_sees_what_its_document_shares_and_its_own_branch_up_to_itself():
    layout = Layout(torch.tensor([[0, 0, 0, 0, 1, 1, -1]]), torch.tensor([[0, 1, 1, 2, 0, 0, 0]]))
    seen = dense_mask(layout)[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
    assert positions(layout)[0, :6].tolist() == [0, 1, 2, 1, 0, 1]


sizes = st.integers(1, 4)
document = st.tuples(st.integers(0, 4), st.lists(sizes, max_size=3)).filter(lambda parts: parts[0] + sum(parts[1]) > 0)
rows = st.lists(st.lists(document, min_size=1, max_size=3), min_size=1, max_size=2)


def texts_alone(row):
    """Yield the places of each text that a row holds: what its document shares, then one branch."""
    start = 0
    for shared, branches in row:
        prefix = list(range(start, start + shared))
        start += shared
        if not branches:
            yield prefix
        for size in branches:
            yield prefix + list(range(start, start + size))
            start += size


def layout_of(rows):
    size = max(sum(shared + sum(branches) for shared, branches in row) for row in rows)
    documents, branch_numbers = torch.full((len(rows), size), PADDING), torch.zeros(len(rows), size, dtype=torch.long)
    for number, row in enumerate(rows):
        start = 0
        for document, (shared, branches) in enumerate(row):
            documents[number, start : start + shared + sum(branches)] = document
            start += shared
            for branch, length in enumerate(branches, 1):
                branch_numbers[number, start : start + length] = branch
                start += length
    return Layout(documents, branch_numbers)


def brute_force(rows, size):
    """Write down who sees whom and at which position, text by text."""
    seen = torch.zeros(len(rows), size, size, dtype=torch.bool)
    places = torch.full((len(rows), size), -1)
    for number, row in enumerate(rows):
        for text in texts_alone(row):
            for position, query in enumerate(text):
                places[number, query] = position
                for key in text[: position + 1]:
                    seen[number, query, key] = True
    return seen, places


@settings(max_examples=30)
@given(rows)
def test_the_mask_and_the_positions_are_those_of_each_text_alone(rows):
    layout = layout_of(rows)
    seen, places = brute_force(rows, layout.documents.shape[1])
    real = places >= 0
    mask = dense_mask(layout)[:, 0]
    assert (mask[real] == seen[real]).all()
    assert not mask[real].logical_and((~real).repeat_interleave(real.sum(1), 0)).any()
    assert mask.any(-1).all()
    assert (positions(layout)[real] == places[real]).all()


@settings(max_examples=30)
@given(rows)
def test_back_ends_agree(rows):
    layout = layout_of(rows)
    size = layout.documents.shape[1]
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(len(rows), 4, size, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.randn(len(rows), 2, size, 8, generator=generator, dtype=torch.float64, requires_grad=True) for _ in '12'
    )
    by_document, _ = document_attention(None, query, key, value, None, pieces=pieces(layout), scaling=0.5)
    scores = 0.5 * query @ key.repeat_interleave(2, dim=1).transpose(2, 3) + additive_mask(layout, torch.float64)
    dense = (scores.softmax(-1) @ value.repeat_interleave(2, dim=1)).transpose(1, 2)
    real = layout.documents != PADDING
    torch.testing.assert_close(by_document[real], dense[real])
    assert (by_document[~real] == 0).all()
    weights = torch.randn(dense[real].shape, generator=generator, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((output[real] * weights).sum(), (query, key, value)) for output in (by_document, dense)
    ]
    torch.testing.assert_close(*gradients)


def test_the_block_mask_is_the_same_mask():
    layout = layout_of([[(70, [60, 90]), (140, [])], [(30, [10]), (20, [5])]])
    dense = dense_mask(layout)
    blocks = block_mask(layout)
    seen_blocks = torch.nn.functional.pad(dense, (0, -dense.shape[-1] % 128, 0, -dense.shape[-1] % 128))
    seen_blocks = seen_blocks.unflatten(-1, (-1, 128)).unflatten(-3, (-1, 128)).any(-1).any(-2)
    assert (blocks.to_dense().bool() == seen_blocks).all()
    from torch.nn.attention.flex_attention import create_mask

    size = dense.shape[-1]
    assert (create_mask(blocks.mask_mod, 2, None, size, size, device='cpu') == dense).all()


@pytest.mark.filterwarnings('ignore:flex_attention called without torch.compile')
def test_flex_attention_gives_the_same():
    """Not compiled: its kernels are for GPUs, and on a CPU it has no backward pass."""
    from torch.nn.attention.flex_attention import flex_attention

    layout = layout_of([[(70, [60, 90]), (140, [])]])
    query, key, value = torch.randn(3, 1, 2, 360, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        flex = flex_attention(query, key, value, block_mask=block_mask(layout))
        by_document, _ = document_attention(None, query, key, value, None, pieces=pieces(layout))
    torch.testing.assert_close(flex.transpose(1, 2), by_document)


def test_flash_attention_takes_documents_but_no_branches():
    settings = varlen_settings(Layout(torch.tensor([[0, 0, 0, 1, 2, 2]])))
    assert settings['cu_seq_lens_q'].tolist() == settings['cu_seq_lens_k'].tolist() == [0, 3, 4, 6]
    assert settings['max_length_q'] == settings['max_length_k'] == 3
    with pytest.raises(ValueError, match='FlashAttention cannot let branches share'):
        varlen_settings(Layout(torch.zeros(1, 2), torch.tensor([[0, 1]])))


def sample_of(tokens, pixels):
    sample = {'input_ids': tokens.input_ids, 'labels': tokens.labels, 'pixels': [pixels], 'image_keys': ['a']}
    return sample if tokens.branches is None else {**sample, 'branches': tokens.branches}


def test_independent_turns_have_the_loss_and_the_gradients_of_separate_dialogues():
    tokenizer, template = load_tokenizer(tokenizer_folder()), VicunaV1('')
    pixels = torch.randn(3, 28, 28, generator=torch.Generator().manual_seed(0)).numpy()
    together = [sample_of(tokenize_turns(DIALOGUE, template, tokenizer), pixels)]
    asked = [DIALOGUE[0], *(Message('user', f'<image>\n{turn.text}') for turn in DIALOGUE[2::2])]
    pairs = zip(asked, DIALOGUE[1::2], strict=True)
    apart = [sample_of(tokenize_dialogue(template.segments(pair), tokenizer), pixels) for pair in pairs]
    losses, gradients = [], []
    for samples in (together, apart):
        model = small_model().train()
        result = model(**collate_samples(samples), mode='loss')
        result['loss'].backward()
        losses.append((result['loss'], result['num_supervised']))
        gradients.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert len(together[0]['input_ids']) < sum(len(sample['input_ids']) for sample in apart)


def test_a_batch_may_hold_dialogues_beside_independent_turns():
    tokenizer, template, model = load_tokenizer(tokenizer_folder()), VicunaV1(''), small_model()
    pixels = torch.zeros(3, 28, 28).numpy()
    turns = sample_of(tokenize_turns(DIALOGUE, template, tokenizer), pixels)
    dialogue = sample_of(tokenize_dialogue(template.segments(DIALOGUE), tokenizer), pixels)
    with torch.no_grad():
        mixed = model(**collate_samples([turns, dialogue]), mode='loss')
        each = [model(**collate_samples([sample]), mode='loss') for sample in (turns, dialogue)]
    total = sum(one['loss'] * one['num_supervised'] for one in each)
    torch.testing.assert_close(mixed['loss'] * mixed['num_supervised'], total)


def test_turns_that_do_not_fit_are_left_out_whole():
    tokenizer, template = load_tokenizer(tokenizer_folder()), VicunaV1('')
    whole = tokenize_turns(DIALOGUE, template, tokenizer)
    assert whole.branches.tolist() == sorted(whole.branches.tolist())
    assert set(whole.branches.tolist()) == {0, 1, 2, 3}
    cut = tokenize_turns(DIALOGUE, template, tokenizer, max_length=len(whole.input_ids) - 1)
    assert set(cut.branches.tolist()) == {0, 1, 2}
    assert len(cut.input_ids) + cut.truncated == len(whole.input_ids)
    assert (whole.labels[: len(cut.labels)] == cut.labels).all()
    assert (cut.labels[cut.branches == 0] == IGNORE_INDEX).all()
