import numpy as np
import pytest
from PIL import Image
from small_parts import tokenizer_folder

from geochat.datasets import SampleProcessor
from geochat.prompts import VicunaV1, load_tokenizer, tokenize_dialogue
from geochat.registry import TRANSFORMS
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX, Message, Record

BOX = r'\{(?:<\d+>){4}\|<\d+>\}'


def processor(max_length=None):
    settings = {
        'type': 'SampleProcessor',
        'tokenizer': tokenizer_folder(),
        'chat_template': {'type': 'vicuna_v1'},
        'image_transform': {'type': 'PadResizeNormalize', 'size': 8, 'mean': (0.5,) * 3, 'std': (0.5,) * 3},
        'max_length': max_length,
    }
    return TRANSFORMS.build(settings)


def picture(size=(12, 6), color=(255, 0, 0)):
    return Image.new('RGB', size, color)


RECORD = Record('r', (Message('user', '<image>\nIs a harbor present?'), Message('assistant', 'yes')), images=('a.png',))


def test_a_training_sample_has_ids_labels_and_prepared_pictures():
    sample = processor().training_sample(RECORD, [picture()])
    tokens = tokenize_dialogue(VicunaV1().segments(RECORD.messages), load_tokenizer(tokenizer_folder()))
    np.testing.assert_array_equal(sample['input_ids'], tokens.input_ids)
    np.testing.assert_array_equal(sample['labels'], tokens.labels)
    (pixels,) = sample['pixels']
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.float32
    assert (sample['image_keys'], sample['truncated']) == (['a.png'], 0)
    assert sample['geometries'][0].image_size == (12, 6)


def test_a_prompt_ends_where_the_answer_begins_and_is_never_cut():
    sample = processor(max_length=4).prompt_sample(RECORD.messages[:1], [picture()])
    text = load_tokenizer(tokenizer_folder()).decode([i for i in sample['input_ids'] if i != IMAGE_TOKEN_INDEX])
    assert text.endswith('Is a harbor present? ASSISTANT:')
    assert 'labels' not in sample and sample['truncated'] == 0


def test_equal_pictures_of_prompts_have_equal_keys():
    turns = [Message('user', '<image>\n<image>\n<image>\nWhich?')]
    keys = processor().prompt_sample(turns, [picture(), picture(color=(0, 0, 255)), picture()])['image_keys']
    assert keys[0] == keys[2] != keys[1]


def test_text_alone_has_no_pictures():
    sample = processor().prompt_sample([Message('user', 'hello')], [])
    assert sample['pixels'] == sample['image_keys'] == []


def test_a_long_record_is_cut_before_a_box_and_says_how_much_is_left_out():
    box = '{<12><34><56><78>|<90>}'
    record = Record('r', (RECORD.messages[0], Message('assistant', f'yes {box}')), RECORD.images)
    whole = processor().training_sample(record, [picture()])['input_ids']
    before_box = len(processor().training_sample(RECORD, [picture()])['input_ids']) - 1
    sample = processor(len(whole) - 3).training_sample(record, [picture()], BOX)
    assert len(sample['input_ids']) <= before_box + 1
    assert sample['truncated'] == len(whole) - len(sample['input_ids']) > 3
    np.testing.assert_array_equal(sample['input_ids'], whole[: len(sample['input_ids'])])
    assert (sample['labels'] != IGNORE_INDEX).any()


def test_pictures_whose_token_is_cut_off_are_left_out():
    turns = (Message('user', '<image>\none'), Message('assistant', 'yes'), Message('user', '<image>\ntwo'))
    record = Record('r', (*turns, Message('assistant', 'no')), ('a.png', 'b.png'))
    ids = processor().training_sample(record, [picture(), picture()])['input_ids'].tolist()
    second = len(ids) - 1 - ids[::-1].index(IMAGE_TOKEN_INDEX)
    sample = processor(max_length=second).training_sample(record, [picture(), picture()])
    assert (len(sample['pixels']), sample['image_keys'], len(sample['geometries'])) == (1, ['a.png'], 1)
    sample = processor(max_length=second + 1).training_sample(record, [picture(), picture()])
    assert len(sample['pixels']) == 2


@pytest.mark.parametrize('count', [0, 2])
def test_pictures_that_do_not_match_the_image_tokens_are_refused(count):
    with pytest.raises(ValueError, match=f'r has 1 image tokens and {count} pictures'):
        processor().training_sample(RECORD, [picture()] * count)
    with pytest.raises(ValueError, match=f'1 image tokens and {count} pictures'):
        processor().prompt_sample(RECORD.messages[:1], [picture()] * count)


def test_parts_are_built_from_plain_configs_and_slips_are_named():
    with pytest.raises(KeyError, match='vicuna_v1'):
        SampleProcessor(tokenizer_folder(), {'type': 'vicuna_v2'}, {'type': 'PadResizeNormalize'})
    with pytest.raises(FileNotFoundError, match='nowhere'):
        SampleProcessor('nowhere', {'type': 'vicuna_v1'}, {'type': 'PadResizeNormalize'})


def test_a_picture_prepared_once_gives_the_same_prompts():
    made = processor()
    image = picture((12, 6), (10, 200, 90))
    prepared = made.prepare(image)
    message = [Message('user', '<image>\nwhere?')]
    first, second = (made.prompt_sample(message, [given]) for given in (image, prepared))
    np.testing.assert_array_equal(first['pixels'][0], second['pixels'][0])
    assert second['pixels'][0] is prepared.pixels
    assert first['image_keys'] == second['image_keys'] == [prepared.key]
    assert second['geometries'] == [prepared.geometry]
