"""A minute model, saved once as a folder and loaded once, for all tests of the ways in."""

import pytest
from PIL import Image
from small_parts import small_model, small_parts

from geochat.apis import GeoChatInferencer
from geochat.engine.checkpoint import save_model
from geochat.generation import GenerationSettings


@pytest.fixture(scope='session')
def model_folder(tmp_path_factory):
    """A model folder of random weights, called by a name that tells nothing."""
    parts = small_parts()
    parts['llm']['chat_template'] = {'type': 'vicuna_v1'}
    parts |= {'box_codec': {'type': 'geochat'}, 'task_prompts': {'refer': {'type': 'ReferPrompt'}}}
    return save_model(small_model(), parts, tmp_path_factory.mktemp('apis') / 'anything')


@pytest.fixture(scope='session')
def inferencer(model_folder):
    """The inferencer of that model."""
    return GeoChatInferencer(model_folder, device='cpu', settings=GenerationSettings(max_new_tokens=12))


@pytest.fixture(scope='session')
def picture():
    """A wide picture of two colours."""
    image = Image.new('RGB', (60, 30), (20, 60, 20))
    image.paste((200, 30, 30), (10, 10, 20, 20))
    return image
