import json

import pytest
import torch
from small_parts import small_model, small_parts

from geochat.apis import load_model
from geochat.converters import read_parts
from geochat.engine.checkpoint import load_checkpoint, save_model
from geochat.models import GeoChat
from geochat.models.weights import WeightsError

PARTS = {
    **small_parts(),
    'task_prompts': {'refer': {'type': 'geochat.prompts.ReferPrompt'}},
    'box_codec': {'type': 'geochat.box_codecs.GeoChatBoxCodec', 'sense': 'counter_clockwise'},
}


@pytest.fixture
def folder(tmp_path):
    return save_model(small_model(), PARTS, tmp_path / 'model')


def test_a_model_folder_gives_back_model_parts_and_tokenizer(folder):
    model, loaded = small_model(), load_model(folder)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    assert not loaded.training
    parts = read_parts(folder)
    assert parts['box_codec'] == {'type': 'GeoChatBoxCodec', 'sense': 'counter_clockwise'}
    assert parts['task_prompts'] == {'refer': {'type': 'ReferPrompt'}}
    text = 'where is <p>the  red ship</p> ?'
    assert loaded.llm.tokenizer.encode(text) == model.llm.tokenizer.encode(text)


def test_a_model_folder_needs_nothing_of_the_machine_it_was_made_on(folder, tmp_path):
    moved = tmp_path / 'elsewhere'
    folder.rename(moved)
    assert str(tmp_path / 'model') not in (moved / 'config.json').read_text()
    assert 'geochat-tests-' not in (moved / 'config.json').read_text()
    load_model(moved)


def test_the_shape_of_a_pretrained_part_is_written_down(tmp_path):
    model = small_model()
    model.vision_encoder.model.save_pretrained(tmp_path / 'clip')
    parts = {**PARTS, 'vision_encoder': {'type': 'ClipVisionEncoder', 'pretrained': str(tmp_path / 'clip')}}
    folder = save_model(GeoChat(**{key: parts[key] for key in small_parts()}), parts, tmp_path / 'model')
    assert 'pretrained' not in read_parts(folder)['vision_encoder']
    load_model(folder)


def test_saving_again_replaces_the_folder_and_a_failure_leaves_the_old_one(folder, monkeypatch):
    other = small_model(seed=1)
    save_model(other, PARTS, folder)
    torch.testing.assert_close(load_model(folder).projector[0].weight, other.projector[0].weight)

    def no_space(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(type(other.llm.tokenizer), 'save_pretrained', no_space)
    with pytest.raises(OSError, match='No space left'):
        save_model(small_model(seed=2), PARTS, folder)
    torch.testing.assert_close(load_model(folder).projector[0].weight, other.projector[0].weight)


@pytest.mark.parametrize(
    'dotted', ['os.system', 'subprocess.run', 'geochat.models.ClipVisionEncoder', 'ClipVisionEncodr']
)
def test_a_crafted_config_cannot_name_anything_importable(folder, dotted):
    config = json.loads((folder / 'config.json').read_text())
    config['vision_encoder'] = {'type': dotted}
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(KeyError, match='not a registered vision encoder'):
        load_model(folder)


def test_a_crafted_chat_template_or_task_is_refused(folder):
    for change in (
        {'llm': {'type': 'HFCausalLM', 'chat_template': {'type': 'os.system'}}},
        {'task_prompts': {'a': {'type': 'os.system'}}},
    ):
        content = {**json.loads((folder / 'config.json').read_text()), **change}
        (folder / 'config.json').write_text(json.dumps(content))
        with pytest.raises(KeyError, match=r"'os\.system' is not a registered"):
            read_parts(folder)


def test_code_beside_the_weights_is_not_run(folder):
    (folder / 'modeling_evil.py').write_text('raise SystemExit("this ran")')
    config = json.loads((folder / 'config.json').read_text())
    config['llm']['config']['auto_map'] = {'AutoModelForCausalLM': 'modeling_evil.Evil'}
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(TypeError, match="'auto_map'"):
        load_model(folder)


def test_a_checkpoint_of_the_runner_is_loaded(tmp_path):
    model, other = small_model(), small_model(seed=1)
    torch.save({'state_dict': model.state_dict(), 'meta': {'iter': 1}}, tmp_path / 'iter_1.pth')
    load_checkpoint(other, tmp_path / 'iter_1.pth')
    torch.testing.assert_close(other.projector[0].weight, model.projector[0].weight)


def test_a_checkpoint_at_another_picture_size_is_interpolated_and_that_is_told(folder):
    parts = small_parts()
    parts['vision_encoder']['image_size'] = 56
    report = load_checkpoint(GeoChat(**parts), folder)
    assert report.interpolated == ['vision_encoder.model.embeddings.position_embedding.weight']


def test_a_checkpoint_of_another_architecture_is_refused_with_names_and_shapes(folder):
    parts = small_parts()
    parts['projector'] = {'type': 'linear'}
    with pytest.raises(WeightsError, match=r'projector\.weight.*projector\.0\.weight'.replace('.*', r'[\s\S]*')):
        load_checkpoint(GeoChat(**parts), folder)


@pytest.mark.parametrize(
    ('content', 'error', 'message'),
    [
        (None, FileNotFoundError, 'no config.json'),
        ('{', ValueError, 'is not JSON'),
        ('[]', ValueError, 'is not a JSON object'),
        ('{"model_type": "bert"}', ValueError, 'neither a model folder'),
    ],
)
def test_a_folder_of_another_kind_is_named(tmp_path, content, error, message):
    if content is not None:
        (tmp_path / 'config.json').write_text(content)
    with pytest.raises(error, match=message):
        load_model(tmp_path)


def test_a_damaged_deepspeed_checkpoint_is_named(tmp_path):
    (tmp_path / 'mp_rank_00_model_states.pt').touch()
    with pytest.raises(WeightsError, match='mp_rank_00_model_states'):
        load_checkpoint(small_model(), tmp_path)
