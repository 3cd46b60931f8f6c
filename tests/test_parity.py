"""Everything that the recordings of the original GeoChat ask for, at their tolerances.

The folder is ``$GEOCHAT_PARITY`` (by default ``../shared/parity``), so that other recordings of the same layout can be
checked.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geochat.apis import load_model
from geochat.datasets.collate import collate_samples
from geochat.datasets.instruction_record import parse_record
from geochat.datasets.processor import SampleProcessor
from geochat.generation import generate
from geochat.models.vision_encoders.clip import interpolate_position_table
from geochat.prompts import LlavaV1, load_tokenizer
from geochat.structures import Message

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[2] / 'shared' / 'parity'))

pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason=f'no recordings of the original GeoChat at {PARITY} (set GEOCHAT_PARITY)'
)


def read(name):
    return json.loads((PARITY / name).read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def expected():
    return read('forward_expected.json')


@pytest.fixture(scope='module')
def arrays():
    return np.load(PARITY / 'forward_expected.npz')


@pytest.fixture(scope='module')
def model():
    return load_model(PARITY / 'geochat-tiny')


def processor_of(model, chat_template):
    transform = {'type': 'PadResizeNormalize', **type(model.vision_encoder).image_transform({'image_size': 504})}
    return SampleProcessor(str(PARITY / 'geochat-tiny'), {'type': chat_template}, transform)


def picture(name):
    return Image.open(PARITY / 'images' / name).convert('RGB')


@pytest.fixture(scope='module')
def prompts(model, expected):
    processor = processor_of(model, 'llava_v1')
    return [
        processor.prompt_sample([Message('user', f'<image>\n{single["question"]}')], [picture(single['image'])])
        for single in expected['single']
    ]


def test_ids_and_labels_of_all_records_are_the_originals(model):
    processor = processor_of(model, 'vicuna_v1')
    recorded = read('tokens_expected.json')
    blank = Image.new('RGB', (8, 8))
    assert len(recorded) > 0
    for number, (content, tokens) in enumerate(zip(read('conversations.json'), recorded, strict=True)):
        record = parse_record(content, f'record {number}')
        sample = processor.training_sample(record, [blank] * len(record.images))
        assert sample['input_ids'].tolist() == tokens['input_ids'], record.id
        assert sample['labels'].tolist() == tokens['labels'], record.id


def test_prompts_and_their_ids_are_the_originals(expected, prompts):
    tokenizer = load_tokenizer(str(PARITY / 'geochat-tiny'))
    assert tokenizer.bos_token_id == 1
    for single, sample in zip(expected['single'], prompts, strict=True):
        assert LlavaV1().prompt([Message('user', f'<image>\n{single["question"]}')]) == single['prompt']
        assert sample['input_ids'].tolist() == single['input_ids']


def test_pixels_are_the_originals_on_square_and_wide_pictures(prompts, arrays):
    for number, sample in enumerate(prompts):
        pixels = sample['pixels'][0]
        np.testing.assert_allclose(pixels[:, ::9, ::9], arrays[f'pixels_{number}'], rtol=0, atol=1e-6)
        stats = [pixels.mean(), pixels.std(), np.abs(pixels).max()]
        np.testing.assert_allclose(stats, arrays[f'pixel_stats_{number}'], rtol=0, atol=1e-6)


def test_the_position_table_is_the_originals():
    recorded = np.load(PARITY / 'pos_embed.npz')
    resized = interpolate_position_table(torch.from_numpy(recorded['source']), 36).numpy()
    np.testing.assert_allclose(resized, recorded['expected'], rtol=0, atol=1e-6)


def test_features_are_the_originals(model, prompts, arrays):
    for number, sample in enumerate(prompts):
        features = model.vision_encoder(torch.from_numpy(sample['pixels'][0])[None])[0]
        np.testing.assert_allclose(features[::36].numpy(), arrays[f'features_{number}'], rtol=0, atol=1e-5)


def test_sequence_lengths_and_last_logits_are_the_originals(model, expected, prompts, arrays):
    for number, (single, sample) in enumerate(zip(expected['single'], prompts, strict=True)):
        with torch.no_grad():
            logits = model(**collate_samples([sample]))[0]
        assert len(logits) == single['sequence_length']
        np.testing.assert_allclose(logits[-8:].numpy(), arrays[f'logits_last_{number}'], rtol=0, atol=1e-4)


def test_greedy_answers_are_the_originals_alone_and_in_a_batch(model, expected, prompts):
    wanted = [single['greedy'] for single in expected['single']]
    most = max(map(len, wanted))
    assert [generate(model, collate_samples([sample], 'left'), most)[0].ids for sample in prompts] == wanted
    assert [answer.ids for answer in generate(model, collate_samples(prompts, 'left'), most)] == wanted


def test_the_loss_of_a_right_padded_batch_is_the_originals(model, expected):
    processor = processor_of(model, 'vicuna_v1')
    records = {content['id']: parse_record(content, content['id']) for content in read('conversations.json')}
    batch = expected['batch']
    samples = [
        processor.training_sample(records[name], [picture(image)])
        for name, image in zip(batch['records'], batch['images'], strict=True)
    ]
    with torch.no_grad():
        loss = model(**collate_samples(samples), mode='loss')['loss']
    assert float(loss) == pytest.approx(batch['loss'], abs=1e-4)
