"""Memory of a training: by hand, and against what a small model really takes on the CPU."""

import pytest
import torch
from mmengine.config import Config
from small_parts import LLM_CONFIG, VISION_CONFIG, small_parts
from torch import nn
from torch.profiler import ProfilerActivity, profile

from geochat.engine.config import ConfigError
from geochat.engine.memory import (
    LiveMemory,
    MemoryEstimate,
    Spread,
    WeightCounts,
    estimate_memory,
    held_memory,
    memory_table,
    peak_activations,
    spread_of,
)
from geochat.models import GeoChat
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX

B = 10**9


class TestHeld:
    """ZeRO's example (arXiv 1910.02054, figure 1): 7.5 B weights on 64 GPUs."""

    COUNTS = WeightCounts(trained=7_500_000_000, frozen=0)

    @pytest.mark.parametrize(('stage', 'gigabytes'), [(1, 31.4), (2, 16.6), (3, 1.9)])
    def test_the_papers_example(self, stage, gigabytes):
        held = held_memory(self.COUNTS, Spread(64, stage))
        assert (held.weights + held.gradients + held.optimizer) / B == pytest.approx(gigabytes, abs=0.05)

    def test_on_one_gpu_nothing_is_spread(self):
        held = held_memory(self.COUNTS, Spread(1, 3))
        assert (held.weights, held.gradients, held.optimizer) == (15 * B, 15 * B, 90 * B)
        assert held.exchange == 0

    def test_frozen_weights_have_neither_gradients_nor_state(self):
        held = held_memory(WeightCounts(trained=10, frozen=1000), Spread(2, 2))
        assert (held.weights, held.gradients, held.optimizer, held.exchange) == (2020, 10, 60, 20)

    def test_offload_moves_to_main_memory(self):
        held = held_memory(WeightCounts(trained=1000, frozen=0), Spread(4, 2, offload_optimizer=True))
        assert (held.weights, held.gradients, held.optimizer, held.host) == (2000, 0, 0, (12 + 4) * 250)
        held = held_memory(
            WeightCounts(trained=1000, frozen=0), Spread(4, 3, offload_optimizer=True, offload_parameters=True)
        )
        assert (held.weights, held.gradients, held.optimizer, held.host) == (0, 0, 0, (2 + 12 + 4) * 250)
        assert held.exchange == 2000 + 2000  # the weights of one pass, a bucket of gradients

    def test_without_deepspeed_weights_are_as_they_are_built(self):
        counts = WeightCounts(10, 100, quantized_bytes=7, trained_bytes=40, frozen_bytes=200)
        held = held_memory(counts, Spread(1, 0))
        assert (held.weights, held.gradients, held.optimizer) == (247, 40, 80)

    def test_the_worst_moment_is_the_pass_or_the_update(self):
        assert MemoryEstimate(1, 2, 3, exchange=4, update=5, host=6, activations=10).total == 6 + 14
        assert MemoryEstimate(1, 2, 3, exchange=4, update=50, host=6, activations=10).total == 6 + 50


class TestLiveMemory:
    def test_what_a_layer_keeps(self):
        layer = nn.Linear(8, 32, device='meta')
        with LiveMemory(layer.parameters()) as memory:
            inputs = torch.empty(4, 8, device='meta')
            outputs = layer(inputs)
            assert memory.live == 4 * (4 * 8 + 4 * 32)
            view = outputs.T
            assert memory.live == 4 * (4 * 8 + 4 * 32)
            del outputs, view
            assert memory.live == 4 * 4 * 8
            del inputs, layer
        assert (memory.live, memory.peak) == (0, 4 * (4 * 8 + 4 * 32))


def parts(**llm):
    settings = small_parts()
    settings['llm'].update({'attention': 'sdpa', **llm})
    return settings


def meta(**llm):
    with torch.device('meta'):
        return GeoChat(**parts(**llm)).train()


def measured_peak(model, records, text_tokens, supervised):
    """The most bytes that PyTorch's allocator gave during a pass, by the profiler."""
    ids = torch.arange(records * (text_tokens + 1)).reshape(records, -1) % 400 + 5
    ids[:, 0] = IMAGE_TOKEN_INDEX
    labels = torch.full_like(ids, IGNORE_INDEX)
    labels[:, 1 : supervised + 1] = ids[:, 1 : supervised + 1]
    batch = {
        'input_ids': ids,
        'labels': labels,
        'attention_mask': torch.ones_like(ids, dtype=torch.bool),
        'pixels': torch.zeros(records, 3, 28, 28),
        'image_index': torch.arange(records),
    }
    for weight in model.parameters():
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(lambda weight: setattr(weight, 'grad', None))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(**batch, mode='loss')['loss'].backward()
    live = peak = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == '[memory]':
            live += event.nbytes()
            peak = max(peak, live)
    return peak


class TestActivations:
    @pytest.mark.parametrize('settings', [{}, {'gradient_checkpointing': True}, {'lora': {'r': 4}}])
    def test_they_are_what_a_pass_takes(self, settings):
        size = {'records': 8, 'text_tokens': 60, 'supervised': 20}
        measured = measured_peak(GeoChat(**parts(**settings)).train(), **size)
        assert peak_activations(meta(**settings), **size) == pytest.approx(measured, rel=0.1)

    def test_recomputed_layers_keep_their_inputs_alone(self):
        """Each further layer takes the input it keeps: records x tokens x width numbers of 4 bytes."""
        size = {'records': 8, 'text_tokens': 60, 'supervised': 1}
        shape = dict(LLM_CONFIG)
        few, many = (
            peak_activations(meta(gradient_checkpointing=True, config={**shape, 'num_hidden_layers': layers}), **size)
            for layers in (2, 6)
        )
        assert many - few == 4 * 8 * 64 * LLM_CONFIG['hidden_size'] * 4

    def test_more_supervised_tokens_take_more_logits(self):
        """Logits of a row in float32, their log-softmax and its gradient: three vocabularies.

        And the last layer's MLP: gate, activation, up and their product, between an input and an output.
        """
        few, many = (peak_activations(meta(), 8, 400, supervised) for supervised in (200, 400))
        expected = 3 * LLM_CONFIG['vocab_size'] + 4 * LLM_CONFIG['intermediate_size'] + 2 * LLM_CONFIG['hidden_size']
        assert (many - few) / (8 * 200 * 4) == pytest.approx(expected, rel=0.02)


def config(**changes):
    return Config(
        {
            **parts(chat_template={'type': 'vicuna_v1'}),
            'task_prompts': {},
            'box_codec': {'type': 'geochat'},
            'train_dataloader': {'batch_size': 4, 'dataset': {'type': 'InstructionDataset', 'data_file': 'none'}},
            'optim_wrapper': {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16', 'optimizer': {'type': 'AdamW'}},
            **changes,
        }
    )


def weights_of(model):
    return sum(weight.numel() for weight in model.parameters())


class TestConfigs:
    def test_a_strategy_is_read(self):
        strategy = {
            'type': 'DeepSpeedStrategy',
            'zero_stage': 3,
            'offload_optimizer': True,
            'settings': {'zero_optimization': {'stage3_max_live_parameters': 1e8, 'reduce_bucket_size': 1e7}},
        }
        assert spread_of(Config({'strategy': strategy}), 8) == Spread(8, 3, True, False, 10**8, 10**7)
        assert spread_of(Config({}), 2) == Spread(2, 0)

    def test_weights_of_a_config(self):
        model = meta()
        frozen, trained = weights_of(model.vision_encoder), weights_of(model) - weights_of(model.vision_encoder)
        estimate = estimate_memory(config())
        assert (estimate.weights, estimate.gradients) == (4 * (frozen + trained), 4 * trained)
        spread = estimate_memory(config(strategy={'type': 'DeepSpeedStrategy', 'zero_stage': 2}), gpus=2)
        assert (spread.weights, spread.gradients) == (2 * (frozen + trained), trained)
        assert spread.activations == pytest.approx(estimate.activations)

    def test_weights_in_4_bits(self):
        """QLoRA (arXiv 2305.14314): 0.5 bits a weight for scales without double quantisation, 0.127 with."""
        width, inner = LLM_CONFIG['hidden_size'], LLM_CONFIG['intermediate_size']
        linear = 2 * (4 * width**2 + 3 * width * inner)
        settings = {'lora': {'r': 2}, 'chat_template': {'type': 'vicuna_v1'}}
        whole = estimate_memory(config(**parts(**settings))).weights
        for double, bits in ((True, 4.127), (False, 4.5)):
            quantization = {'kind': 'nf4', 'double_quantization': double}
            packed = estimate_memory(config(**parts(**settings, quantization=quantization))).weights
            assert whole - packed == pytest.approx(linear * (4 - bits / 8), rel=1e-3)

    def test_a_table(self):
        lines = memory_table({'small.py': config()}, [1, 8], 16, 4).splitlines()
        assert lines[0].split()[1:11:2] == ['config', 'GPUs', 'records', 'weights', 'gradients']
        assert [line.split()[1:6:2] for line in lines[2:]] == [['small.py', '1', '4'], ['small.py', '8', '4']]

    @pytest.mark.parametrize(
        ('changes', 'settings', 'message'),
        [
            ({}, {'gpus': 0}, 'at least one GPU'),
            ({'train_dataloader': None}, {}, 'trains nothing'),
        ],
    )
    def test_slips_are_named(self, changes, settings, message):
        with pytest.raises(ConfigError, match=message):
            estimate_memory(config(**changes), **settings)


def test_pictures_of_the_tests_are_four_tokens():
    assert (VISION_CONFIG['image_size'] // VISION_CONFIG['patch_size']) ** 2 == 4
