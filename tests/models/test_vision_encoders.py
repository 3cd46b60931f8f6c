import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small_parts import VISION_CONFIG
from transformers import CLIPVisionConfig, CLIPVisionModel

from geochat.models import ClipVisionEncoder
from geochat.models.vision_encoders.clip import interpolate_position_table
from geochat.models.weights import WeightsError

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))


@pytest.fixture(scope='module')
def clip_folder(tmp_path_factory):
    """A CLIP vision tower as transformers saves it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('clip')
    CLIPVisionModel(CLIPVisionConfig(**VISION_CONFIG)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize('layer', [-1, -2, 1])
def test_features_are_the_chosen_hidden_states_without_the_class_row(clip_folder, layer):
    encoder = ClipVisionEncoder(pretrained=str(clip_folder), select_layer=layer)
    encoder.load_pretrained()
    reference = CLIPVisionModel.from_pretrained(clip_folder).eval()
    pixels = torch.randn(2, 3, 28, 28)
    states = reference(pixels, output_hidden_states=True).hidden_states[layer]
    torch.testing.assert_close(encoder(pixels), states[:, 1:])


def test_a_larger_picture_takes_an_interpolated_position_table(clip_folder):
    encoder = ClipVisionEncoder(pretrained=str(clip_folder), image_size=56)
    encoder.load_pretrained()
    table = CLIPVisionModel.from_pretrained(clip_folder).embeddings.position_embedding.weight
    torch.testing.assert_close(encoder.model.embeddings.position_embedding.weight, interpolate_position_table(table, 4))
    assert encoder(torch.zeros(1, 3, 56, 56)).shape == (1, encoder.num_tokens(56), encoder.hidden_size) == (1, 16, 16)


def test_aligned_corners_keep_the_class_row_and_the_four_corners():
    table = torch.arange(10.0)[:, None] * torch.ones(1, 3)
    resized = interpolate_position_table(table, 5)
    assert resized.shape == (26, 3)
    assert resized[0, 0] == 0
    assert resized[1:, 0].reshape(5, 5)[[0, 0, 4, 4], [0, 4, 0, 4]].tolist() == pytest.approx([1, 3, 7, 9])
    assert resized[1:, 0].reshape(5, 5)[2, 2] == pytest.approx(5)


@pytest.mark.skipif(not PARITY.is_dir(), reason=f'no recordings of the original at {PARITY} (GEOCHAT_PARITY)')
def test_the_position_table_is_the_originals():
    recorded = np.load(PARITY / 'pos_embed.npz')
    resized = interpolate_position_table(torch.from_numpy(recorded['source']), 36).numpy()
    np.testing.assert_allclose(resized, recorded['expected'], rtol=0, atol=1e-6)


def test_what_has_no_part_in_the_features_is_not_trained(clip_folder):
    encoder = ClipVisionEncoder(pretrained=str(clip_folder), select_layer=-2, frozen=False)
    encoder(torch.zeros(1, 3, encoder.image_size, encoder.image_size)).sum().backward()
    trained = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in encoder.named_parameters() if weight.grad is not None}
    assert 0 < len(trained) < len(list(encoder.parameters()))


def test_a_table_that_is_no_square_is_refused():
    with pytest.raises(ValueError, match='11 rows'):
        interpolate_position_table(torch.zeros(11, 2), 4)


def test_the_config_alone_tells_how_pictures_are_prepared(clip_folder):
    assert ClipVisionEncoder.image_transform({'pretrained': str(clip_folder)})['size'] == 28
    assert ClipVisionEncoder.image_transform({'config': VISION_CONFIG, 'image_size': 504})['size'] == 504


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        ({}, ValueError, 'needs "config"'),
        ({'config': {**VISION_CONFIG, 'hiden_size': 3}}, TypeError, "'hiden_size'"),
        ({'config': VISION_CONFIG, 'image_size': 30}, ValueError, 'image_size 30 is not a multiple'),
        ({'config': VISION_CONFIG, 'select_layer': -5}, ValueError, 'select_layer -5'),
        ({'pretrained': '/nowhere'}, FileNotFoundError, '/nowhere'),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        ClipVisionEncoder(**settings)


def test_weights_of_another_shape_are_told_with_both_shapes(clip_folder):
    encoder = ClipVisionEncoder(config={**VISION_CONFIG, 'intermediate_size': 40}, pretrained=str(clip_folder))
    with pytest.raises(WeightsError, match=r'fc1.weight is \(32, 16\), the model has \(40, 16\)'):
        encoder.load_pretrained()
