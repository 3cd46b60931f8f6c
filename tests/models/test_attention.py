import torch
from small_parts import small_model, tokenizer_folder

from geochat.datasets.collate import collate_samples
from geochat.models.attention import branch_mask, branch_positions
from geochat.prompts import VicunaV1, load_tokenizer, tokenize_dialogue, tokenize_turns
from geochat.structures import IGNORE_INDEX, Message

DIALOGUE = [
    *(Message('user', '<image>\nIs a harbor present?'), Message('assistant', 'yes')),
    *(Message('user', '[refer] where is <p>the red ship</p> ?'), Message('assistant', '{<1><2><3><4>|<5>}')),
    *(Message('user', 'How many planes are there?'), Message('assistant', 'two')),
]


def test_a_token_sees_what_is_shared_and_its_own_branch_up_to_itself():
    branches = torch.tensor([[0, 0, 1, 1, 2, 0]])
    mask = torch.tensor([[True] * 5 + [False]])
    seen = branch_mask(branches, mask)[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    assert branch_positions(branches, mask)[0, :5].tolist() == [0, 1, 2, 3, 2]


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
