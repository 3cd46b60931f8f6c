"""Operations counted by hand, and by PyTorch's counter of matrix products."""

import contextlib

import numpy as np
import pytest
import torch
from small_parts import LLM_CONFIG, VISION_CONFIG, small_model, small_parts
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from geochat.datasets import collate_samples
from geochat.engine.flops import ModelFlops, Work, linear_weights, peak_flops, work_of
from geochat.models import GeoChat
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX


@contextlib.contextmanager
def counted_in_full():
    """PyTorch's counter, with attention as plain matrix products: it does not know the fused kernel of CPUs."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


def sample(ids, pictures=(), branches=None):
    ids = np.array(ids)
    labels = np.full_like(ids, IGNORE_INDEX)
    labels[-2:] = ids[-2:]
    made = {
        'input_ids': ids,
        'labels': labels,
        'image_keys': list(pictures),
        'pixels': [np.zeros((3, 28, 28), dtype=np.float32) for _ in pictures],
    }
    return made if branches is None else {**made, 'branches': np.array(branches)}


class TestWork:
    def test_padding_is_not_counted_and_a_shared_picture_once(self):
        image = IMAGE_TOKEN_INDEX
        batch = collate_samples([sample([1, image, 5, 6, 7], 'a'), sample([1, 5, 6]), sample([1, image, 9], 'a')])
        # Texts of 8, 3 and 6 tokens, where a picture is 4.
        assert work_of(batch, 4) == Work(3, 8 + 3 + 6, 36 + 6 + 21, 6, 1)

    def test_a_branch_sees_what_is_shared_and_itself(self):
        batch = collate_samples([sample([1, IMAGE_TOKEN_INDEX, 5, 6, 7, 8], 'a', branches=[0, 0, 1, 1, 1, 2])])
        # Five tokens are shared; the branches have three and one.
        assert work_of(batch, 4).pairs == 15 + (6 + 3 * 5) + (1 + 1 * 5)

    def test_a_document_sees_itself(self):
        batch = collate_samples([sample([1, 5, 6, 7, 8])])
        batch |= {'documents': torch.tensor([[0, 0, 1, 1, 1]]), 'num_records': torch.tensor(2)}
        assert work_of(batch, 4).pairs == 3 + 6
        assert work_of(batch, 4).records == 2

    def test_it_adds_up(self):
        assert Work(1, 2, 3, 4, 5) + Work(10, 20, 30, 40, 50) == Work(11, 22, 33, 44, 55)


WIDTH, INNER = LLM_CONFIG['hidden_size'], LLM_CONFIG['intermediate_size']
MLP = 3 * WIDTH * INNER
LAYER = 4 * WIDTH**2 + MLP


def parts(**llm):
    settings = small_parts()
    settings['llm'].update(llm)
    return settings


class TestModelFlops:
    """A frozen encoder of 28 px runs 2 of 3 layers; the LLM has 2."""

    def test_everything_trained_but_the_encoder(self):
        flops = ModelFlops(small_model())
        assert flops.token == 6 * (
            2 * LAYER - MLP
        )  # 6 operations a weight and token: Kaplan et al., table 1 and section 2.1
        assert flops.pair == 12 * 2 * WIDTH  # PaLM, appendix B: 12 L H Q for each other token
        assert flops.row == 6 * (WIDTH * LLM_CONFIG['vocab_size'] + MLP)  # the last layer's, too
        assert flops.projector == 4 * (4 * 16 * WIDTH + 6 * WIDTH**2)  # no gradient for the encoder

    def test_adapters_on_a_frozen_llm(self):
        flops = ModelFlops(GeoChat(**parts(lora={'r': 2})))
        of_mlp = 3 * 2 * (WIDTH + INNER)
        adapters = 2 * (4 * 2 * 2 * WIDTH + of_mlp)
        assert flops.token == 4 * (2 * LAYER - MLP) + 6 * (adapters - of_mlp)
        assert flops.row == 4 * (WIDTH * LLM_CONFIG['vocab_size'] + MLP) + 6 * of_mlp

    def test_a_frozen_llm_hands_gradients_down_to_the_projector_alone(self):
        flops = ModelFlops(GeoChat(**parts(frozen=True)))
        assert (flops.token, flops.pair) == (4 * (2 * LAYER - MLP), 12 * 2 * WIDTH)

    def test_the_encoder_is_what_pytorch_counts(self):
        encoder = small_model().vision_encoder
        with counted_in_full() as counter:
            encoder(torch.zeros(1, 3, 28, 28))
        assert encoder.forward_flops() == counter.get_total_flops()

    def test_the_step_is_what_pytorch_counts(self):
        model = small_model().train()
        ids = torch.tensor([[1, IMAGE_TOKEN_INDEX, *range(5, 17)]])
        batch = {
            'input_ids': ids,
            'labels': torch.where(ids > 9, ids, IGNORE_INDEX),
            'attention_mask': torch.ones_like(ids, dtype=torch.bool),
            'pixels': torch.zeros(1, 3, 28, 28),
            'image_index': torch.tensor([0]),
        }
        with counted_in_full() as counter:
            model(**batch, mode='loss')['loss'].backward()
        flops, work = ModelFlops(model), work_of(batch, 4)
        counted = flops.vision(work) + flops.language(work)
        # PyTorch's attention computes every pair of tokens, seen or not.
        all_pairs = flops.pair * (work.tokens**2 - work.pairs)
        assert counter.get_total_flops() == counted + all_pairs


def test_linear_weights_of_adapters_and_of_what_is_trained():
    model = GeoChat(**parts(lora={'r': 2}))
    decoder = model.llm.model.get_decoder()
    adapters = 2 * (4 * 2 * 2 * WIDTH + 3 * 2 * (WIDTH + INNER))
    assert linear_weights(decoder) == 2 * LAYER + adapters
    assert linear_weights(decoder, trained_only=True) == adapters


@pytest.mark.parametrize(
    ('name', 'flops'),
    [
        ('NVIDIA H100 80GB HBM3', 989e12),
        ('NVIDIA H100 PCIe', 756e12),
        ('NVIDIA A100-SXM4-40GB', 312e12),
        ('NVIDIA L40S', 362e12),
        ('NVIDIA A10G', 70e12),
        ('NVIDIA GH200 480GB', 989e12),
        ('NVIDIA RTX A4000', None),
        ('Some CPU', None),
    ],
)
def test_peak_of_devices(name, flops):
    assert peak_flops(name) == flops


def test_the_encoder_of_the_tests_runs_two_layers():
    assert (VISION_CONFIG['num_hidden_layers'], small_model().vision_encoder.num_layers) == (3, 2)
