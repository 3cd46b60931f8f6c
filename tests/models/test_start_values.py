import torch
from small_parts import LLM_CONFIG

from geochat.models import HFCausalLM
from geochat.models.llms.start_values import number_families, number_waves, set_start_values

NUMBERS = [*range(-5, 101)]
VOCABULARY = {f'{{<{number}': number + 5 for number in NUMBERS} | {'ship': 200, '>}': 201, '7': 202, '<0x41>': 203}


def test_tokens_that_differ_in_a_number_alone_are_a_family_and_few_are_none():
    assert number_families(VOCABULARY) == [(NUMBERS, [number + 5 for number in NUMBERS])]


def test_a_vocabulary_in_another_order_has_the_same_families_in_the_same_order():
    """Each family draws random numbers, so that another order would be another model for the same seed."""
    two = {**VOCABULARY, **{f'{number}>}}': 300 + number for number in range(20)}}
    families = number_families(two)
    assert [ids[0] for _, ids in families] == [0, 300]
    assert number_families(dict(reversed(two.items()))) == families


def test_waves_are_what_they_are_called():
    waves = number_waves(torch.tensor([0.0, 100.0]), 64)
    assert waves[0].tolist() == 4 * ([0.0] * 8 + [1.0] * 8)
    torch.testing.assert_close(waves[1, 0], torch.tensor(1.0))  # a quarter of the longest period, 400
    torch.testing.assert_close(waves.square().mean(dim=1), torch.tensor([0.5, 0.5]))


def test_near_numbers_start_more_alike_than_far_ones_and_words_of_the_wanted_size():
    torch.manual_seed(0)
    llm = HFCausalLM({**LLM_CONFIG, 'hidden_size': 64})
    set_start_values(llm.model, VOCABULARY, embedding_std=0.5, head_std=0.06)
    rows = llm.model.get_input_embeddings().weight
    fifty = rows[VOCABULARY['{<50']]
    distances = [(rows[VOCABULARY[f'{{<{50 + step}']] - fifty).norm() for step in (1, 3, 20)]
    assert distances == sorted(distances)
    assert abs(rows.std() - 0.5) < 0.02
    torch.testing.assert_close(llm.model.get_output_embeddings().weight, rows * (0.06 / 0.5))
