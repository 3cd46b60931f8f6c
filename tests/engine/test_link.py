"""The five parts of a config are written once, at its top, and reach the model, every dataset and the benchmarks."""

import copy

import pytest
import torch
from mmengine.config import Config
from small_parts import small_parts

from geochat.engine import ConfigError, link_parts, load_config
from geochat.registry import BOX_CODECS, DATASETS, MODELS, VISION_ENCODERS


class TakesBoth:
    def __init__(self, processor, box_codec, data_file=''):
        pass


class TakesNeither:
    def __init__(self, length=1):
        pass


class Pair:
    def __init__(self, datasets):
        pass


class OtherEncoder:
    def __init__(self, side=8):
        pass

    @classmethod
    def image_transform(cls, settings):
        return {'size': settings.get('side', 8), 'mean': (0.5, 0.5, 0.5), 'std': (1, 1, 1)}


class OtherCodec:
    pass


PLACES = ((DATASETS, TakesBoth), (DATASETS, TakesNeither), (DATASETS, Pair), (BOX_CODECS, OtherCodec))


@pytest.fixture(autouse=True)
def registered():
    """Parts that are registered for the time of a test."""
    for registry, part in (*PLACES, (VISION_ENCODERS, OtherEncoder)):
        registry.register_module(name=part.__name__, module=part)
    yield
    for registry, part in (*PLACES, (VISION_ENCODERS, OtherEncoder)):
        registry.module_dict.pop(part.__name__)


def small_config(**more) -> Config:
    parts = small_parts()
    parts['llm']['chat_template'] = {'type': 'vicuna_v1'}
    return Config(
        {
            **parts,
            'task_prompts': {'refer': {'type': 'ReferPrompt'}},
            'box_codec': {'type': 'geochat'},
            'model': {'type': 'GeoChat', 'frozen_projector': True},
            'max_length': 64,
            **more,
        }
    )


def test_the_model_gets_its_parts():
    cfg = small_config()
    model = link_parts(cfg).model
    assert model.frozen_projector is True
    assert {key: model[key].to_dict() for key in ('vision_encoder', 'projector', 'llm')} == {
        key: cfg[key].to_dict() for key in ('vision_encoder', 'projector', 'llm')
    }


def test_every_dataset_gets_what_it_takes():
    both, neither = {'type': 'TakesBoth', 'data_file': 'a'}, {'type': 'TakesNeither'}
    cfg = small_config(
        train_dataloader={'dataset': {'type': 'Pair', 'datasets': [both, neither]}}, val_dataloader={'dataset': both}
    )
    linked = link_parts(cfg)
    first, second = linked.train_dataloader.dataset.datasets
    processor = {
        'type': 'SampleProcessor',
        'tokenizer': cfg.llm.tokenizer,
        'chat_template': {'type': 'vicuna_v1'},
        # 28 pixels are small_parts' image_size; the colours are OpenAI's, as published with CLIP.
        'image_transform': {
            'type': 'PadResizeNormalize',
            'size': 28,
            'mean': (0.48145466, 0.4578275, 0.40821073),
            'std': (0.26862954, 0.26130258, 0.27577711),
        },
        'max_length': 64,
    }
    assert first.to_dict() == {**both, 'processor': processor, 'box_codec': {'type': 'geochat'}}
    assert second.to_dict() == neither
    assert linked.val_dataloader.dataset.to_dict() == first.to_dict()


def test_a_sampler_gets_the_batch_size_of_its_data_loader():
    loader = {'batch_size': 3, 'dataset': {'type': 'TakesNeither'}, 'sampler': {'type': 'LengthGroupedSampler'}}
    plain = {**loader, 'sampler': {'type': 'DefaultSampler', 'shuffle': True}}
    linked = link_parts(small_config(train_dataloader=loader, val_dataloader=plain))
    assert linked.train_dataloader.sampler.batch_size == 3
    assert 'batch_size' not in linked.val_dataloader.sampler


def test_the_benchmark_loop_gets_templates_codec_and_processor():
    benchmarks = {'refer': {'reader': {'type': 'R'}, 'task': 'refer', 'metrics': []}}
    loop = link_parts(small_config(benchmarks=benchmarks, test_cfg={'batch_size': 4})).test_cfg
    assert (loop.type, loop.batch_size) == ('BenchmarkLoop', 4)
    assert loop.benchmarks.to_dict() == benchmarks
    assert loop.task_prompts.to_dict() == {'refer': {'type': 'ReferPrompt'}}
    assert loop.box_codec.to_dict() == {'type': 'geochat'}
    assert loop.processor.max_length == 64


def test_linking_changes_nothing_that_it_is_given_and_nothing_when_repeated():
    cfg = small_config(train_dataloader={'dataset': {'type': 'TakesBoth'}}, benchmarks={})
    before = copy.deepcopy(cfg.to_dict())
    linked = link_parts(cfg)
    assert cfg.to_dict() == before
    assert link_parts(linked).to_dict() == linked.to_dict()


def test_a_changed_part_is_changed_everywhere():
    linked = link_parts(
        small_config(train_dataloader={'dataset': {'type': 'TakesBoth'}}, benchmarks={'a': {'task': 'refer'}})
    )
    linked.box_codec = {'type': 'OtherCodec'}
    linked.vision_encoder = {'type': 'OtherEncoder', 'side': 16}
    again = link_parts(linked)
    dataset = again.train_dataloader.dataset
    assert again.model.vision_encoder.type == 'OtherEncoder'
    assert dataset.box_codec.type == again.test_cfg.box_codec.type == 'OtherCodec'
    assert dataset.processor.image_transform['size'] == again.test_cfg.processor.image_transform['size'] == 16


def test_the_copies_of_a_part_are_independent():
    linked = link_parts(small_config(train_dataloader={'dataset': {'type': 'TakesBoth'}}, benchmarks={}))
    linked.train_dataloader.dataset.processor.image_transform.size = 1
    linked.model.llm.lora = 'changed'
    assert linked.test_cfg.processor.image_transform.size == 28
    assert 'lora' not in linked.llm


def test_a_dumped_config_reloads_and_builds_the_same(tmp_path):
    linked = link_parts(small_config(train_dataloader={'dataset': {'type': 'TakesBoth'}}, benchmarks={}))
    linked.dump(tmp_path / 'run.py')
    again = link_parts(load_config(tmp_path / 'run.py'))
    assert again.to_dict() == linked.to_dict()
    first, second = (MODELS.build(cfg.model).state_dict() for cfg in (linked, again))
    assert {name: tensor.shape for name, tensor in first.items()} == {n: tensor.shape for n, tensor in second.items()}


def test_a_part_that_is_missing():
    cfg = small_config()
    cfg.pop('projector')
    with pytest.raises(ConfigError, match="the config has no 'projector'; its five parts are vision_encoder, proj"):
        link_parts(cfg)


def test_an_llm_without_a_chat_template():
    cfg = small_config()
    cfg.llm.pop('chat_template')
    with pytest.raises(ConfigError, match='has no chat_template'):
        link_parts(cfg)


def test_a_vision_encoder_that_does_not_exist():
    with pytest.raises(ConfigError, match="'OtherEncode' is not a registered vision encoder; did you mean 'Ot"):
        link_parts(small_config(vision_encoder={'type': 'OtherEncode'}))


def test_the_model_builds_on_the_meta_device():
    with torch.device('meta'):
        model = MODELS.build(link_parts(small_config()).model)
    assert all(parameter.is_meta for parameter in model.parameters())
