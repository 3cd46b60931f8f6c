"""The engine's answers are those of transformers' LLaVA, asked one question after another."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from llava_reference import differences, load_llava, reference_answer
from small_parts import LLM_CONFIG, VISION_CONFIG, small_model, small_parts

from geochat.apis import build_model, load_model
from geochat.datasets.processor import SampleProcessor
from geochat.engine.checkpoint import save_model
from geochat.generation import GenerationEngine, GenerationSettings, Request
from geochat.structures import IMAGE_TOKEN_INDEX, Message

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))

WAYS = {
    'one by one': {'batch_size': 1, 'share_prefixes': False},
    'batches': {'batch_size': 7, 'share_prefixes': False},
    'prefixes': {'batch_size': 1},
    'both': {'batch_size': 16},
    'nothing kept': {'batch_size': 3, 'prefix_memory_mb': 0},
}


def random_requests(count, pictures=3, side=28, lengths=(1, 4, 12, 20)):
    """Questions of several lengths: most about one of a few pictures, some about none or two."""
    draw = random.Random(5)
    shown = torch.randn(pictures, 3, side, side, generator=torch.Generator().manual_seed(0))
    for number in range(count):
        ids = [1, 5, *([7] * (number % 2))]  # two system prompts
        keys = [draw.randrange(pictures) for _ in range((1, 1, 0, 1, 2, 1)[number % 6])]
        for _ in keys:
            ids += [IMAGE_TOKEN_INDEX, 13]
        ids += [draw.randrange(260, 460) for _ in range(draw.randrange(1, 25))]
        settings = GenerationSettings(max_new_tokens=draw.choice(lengths))
        yield Request(np.array(ids), [shown[key] for key in keys], [str(key) for key in keys], settings)


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """A model of a few thousand weights, requests and the reference's answers."""
    folder = tmp_path_factory.mktemp('small')
    parts = {**small_parts(), 'box_codec': {'type': 'GeoChatBoxCodec'}}
    llava = load_llava(save_model(small_model(), parts, folder / 'ours'), folder / 'hf')
    requests = list(random_requests(60))
    return small_model(), requests, [reference_answer(llava, request) for request in requests]


@pytest.mark.parametrize('way', WAYS)
def test_answers_of_a_small_model_are_the_reference_s(small, way):
    model, requests, reference = small
    answers = GenerationEngine(model, **WAYS[way]).generate(requests)
    assert differences([answer.ids for answer in answers], reference)[0] == []
    assert len({tuple(answer.ids) for answer in answers}) > 40


def test_answers_are_the_reference_s_when_prefixes_are_evicted_and_others_come_and_go(small):
    """Questions of the pictures in turn, none beside another of its picture, so that each prefix is evicted."""
    model, requests, reference = small
    engine = GenerationEngine(model, batch_size=2, prefix_memory_mb=0)
    answers = [engine.submit(request) for request in requests]
    while not engine.idle:
        engine.step()
    assert differences([answer.ids for answer in answers], reference)[0] == []
    distinct = {request.prefix_key for request in requests} - {None}
    assert engine.prefixes.computed > 1.5 * len(distinct)
    assert len(engine.prefixes) == 0


def answers_like_the_reference(way, model, requests, reference):
    """The engine's answers, which are the reference's but for very few ties."""
    found = [answer.ids for answer in GenerationEngine(model, **WAYS[way]).generate(requests)]
    wrong, ties = differences(found, reference)
    print(f'{way}: {len(found)} answers, {len(set(map(tuple, found)))} of them distinct, {ties} differ in ties')
    assert wrong == []
    assert ties <= 2
    return found


@pytest.fixture(scope='module')
def middling(tmp_path_factory):
    """A model of 60 million random weights, requests and the reference's answers."""
    folder = tmp_path_factory.mktemp('middling')
    parts = {**small_parts(), 'box_codec': {'type': 'GeoChatBoxCodec'}}
    size = {'hidden_size': 384, 'intermediate_size': 1536, 'num_hidden_layers': 12, 'num_attention_heads': 6}
    parts['vision_encoder']['config'] = {**VISION_CONFIG, **size, 'image_size': 112}
    size = {'hidden_size': 512, 'intermediate_size': 1408, 'num_hidden_layers': 8, 'num_attention_heads': 8}
    size['num_key_value_heads'] = 4
    parts['llm']['config'] = {**LLM_CONFIG, **size, 'vocab_size': 32000, 'initializer_range': 0.02}
    torch.manual_seed(1)
    model = build_model(parts).eval()
    assert 60e6 < sum(weight.numel() for weight in model.parameters()) < 80e6
    llava = load_llava(save_model(model, parts, folder / 'ours'), folder / 'hf')
    requests = list(random_requests(200, pictures=12, side=112, lengths=(1, 4, 8)))
    return model, requests, [reference_answer(llava, request) for request in requests]


@pytest.mark.slow
@pytest.mark.parametrize('way', ['batches', 'prefixes', 'both', 'nothing kept'])
def test_200_answers_of_60_million_weights_are_the_reference_s(middling, way):
    found = answers_like_the_reference(way, *middling)
    assert len(set(map(tuple, found))) > 100


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """GeoChat in little, with the original's tokenizer and 1,296 tokens a picture."""
    if not PARITY.is_dir():
        pytest.skip(f'no recordings of the original GeoChat at {PARITY} (set GEOCHAT_PARITY)')
    from PIL import Image

    model = load_model(PARITY / 'geochat-tiny')
    transform = {'type': 'PadResizeNormalize', **type(model.vision_encoder).image_transform({'image_size': 504})}
    processor = SampleProcessor(str(PARITY / 'geochat-tiny'), {'type': 'llava_v1'}, transform)
    draw = random.Random(0)
    text = 'is a ship harbor plane how many [refer] where <p>the red car</p> ? yes no in {<1><2><3><4>|<90>}'
    words = text.split()
    images = [Image.open(path).convert('RGB') for path in sorted((PARITY / 'images').iterdir())[:3]]
    requests = []
    for number in range(200):
        shown = [draw.choice(images) for _ in range((1, 1, 1, 0, 1, 2)[number % 6])]
        text = '<image>\n' * len(shown) + ' '.join(draw.choices(words, k=draw.randrange(2, 20)))
        sample = processor.prompt_sample([Message('user', text)], shown)
        requests.append(Request.of_sample(sample, GenerationSettings(max_new_tokens=8)))
    llava = load_llava(PARITY / 'geochat-tiny', tmp_path_factory.mktemp('recorded') / 'hf')
    return model, requests, [reference_answer(llava, request) for request in requests]


@pytest.mark.parametrize('way', ['batches', 'both', 'nothing kept'])
def test_200_answers_of_the_recorded_model_are_the_reference_s(recorded, way):
    answers_like_the_reference(way, *recorded)
