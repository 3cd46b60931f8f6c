import json

import pytest
import torch
from originals import ORIGINAL_CONFIG, original_names, save_original
from small_parts import VISION_CONFIG, small_model, small_parts
from transformers import CLIPVisionConfig, CLIPVisionModel

from geochat.apis import load_model
from geochat.converters import original_parts
from geochat.models import GeoChat
from geochat.models.weights import WeightsError


def assert_same_model(loaded, model):
    ours = model.state_dict()
    assert set(loaded.state_dict()) == set(ours)
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, ours[name], rtol=0, atol=0)


@pytest.mark.parametrize('name', ['geochat-7B', 'my-model', 'checkpoint-12'])
@pytest.mark.parametrize('kind', ['bin', 'sharded bin', 'safetensors'])
def test_an_original_folder_is_loaded_whatever_it_is_called(tmp_path, name, kind):
    model = small_model()
    save_original(model, tmp_path / name, kind)
    assert_same_model(load_model(tmp_path / name), model)


@pytest.mark.parametrize('place', ['inside', 'beside'])
def test_a_tower_that_is_not_among_the_weights_is_found_in_the_folder_or_beside_it(tmp_path, place):
    model = small_model()
    save_original(model, tmp_path / 'model', tower=False)
    tower = CLIPVisionModel(CLIPVisionConfig(**VISION_CONFIG))
    tower.load_state_dict(model.vision_encoder.model.state_dict())
    tower.save_pretrained((tmp_path / 'model' if place == 'inside' else tmp_path) / 'clip-small')
    assert_same_model(load_model(tmp_path / 'model'), model)


def test_a_tower_that_is_nowhere_is_named(tmp_path):
    save_original(small_model(), tmp_path / 'model', tower=False)
    with pytest.raises(ValueError, match='clip-small'):
        load_model(tmp_path / 'model')


def test_the_tower_is_not_looked_for_outside(tmp_path):
    config = {**ORIGINAL_CONFIG, 'mm_vision_tower': '../../elsewhere/clip-small'}
    elsewhere = tmp_path.parent / 'elsewhere' / 'clip-small'
    elsewhere.mkdir(parents=True, exist_ok=True)
    (elsewhere / 'config.json').write_text(json.dumps(VISION_CONFIG))
    with pytest.raises(ValueError, match='is not known'):
        original_parts(config, tmp_path / 'model')


def test_geochat_7b_needs_no_folder_of_the_tower_for_its_shape(tmp_path):
    config = {**ORIGINAL_CONFIG, 'model_type': 'geochat', 'mm_vision_tower': 'openai/clip-vit-large-patch14-336'}
    parts = original_parts(config, tmp_path)
    assert parts['vision_encoder']['image_size'] == 504
    with torch.device('meta'):
        encoder = GeoChat(**{**small_parts(), 'vision_encoder': parts['vision_encoder']}).vision_encoder
    assert sum(weight.numel() for weight in encoder.parameters()) == 304_244_736


def test_the_rope_of_a_long_context_vicuna_is_kept(tmp_path):
    config = {**ORIGINAL_CONFIG, 'rope_scaling': {'type': 'linear', 'factor': 4.0}, 'rope_theta': 5e5}
    config['mm_vision_tower'] = 'openai/clip-vit-large-patch14-336'
    rope = original_parts(config, tmp_path)['llm']['config']['rope_parameters']
    assert rope == {'rope_type': 'linear', 'factor': 4.0, 'rope_theta': 5e5}


@pytest.mark.parametrize(
    ('setting', 'message'),
    [({'mm_vision_select_feature': 'cls_patch'}, "'cls_patch'"), ({'mm_use_im_start_end': True}, 'mm_use_im')],
)
def test_settings_without_a_counterpart_are_refused(tmp_path, setting, message):
    with pytest.raises(ValueError, match=message):
        original_parts({**ORIGINAL_CONFIG, **setting}, tmp_path)


def test_tensors_of_another_model_are_named(tmp_path):
    save_original(small_model(), tmp_path / 'model', extra={'transformer.h.0.attn.weight': torch.zeros(2)})
    with pytest.raises(WeightsError, match=r'transformer\.h\.0\.attn\.weight'):
        load_model(tmp_path / 'model')


def test_names_cover_the_whole_model():
    names = original_names(small_model())
    assert names['projector.0.weight'] == 'model.mm_projector.0.weight'
    assert names['llm.model.lm_head.weight'] == 'lm_head.weight'
    assert len(set(names.values())) == len(names)
