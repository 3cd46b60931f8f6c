import pytest
import torch

from geochat.datasets.scenes import make_scene
from geochat.datasets.scenes.encoder_pretraining import (
    NUM_CHANNELS,
    PatchCodes,
    Pretraining,
    build_encoder,
    center_features,
    patch_features,
    pretrain,
    scene_batch,
)
from geochat.datasets.scenes.patches import TARGETS

WIDTH = 128
SETTINGS = Pretraining(
    steps=2,
    batch_size=2,
    config={
        'hidden_size': WIDTH,
        'intermediate_size': 32,
        'num_hidden_layers': 1,
        'num_attention_heads': 2,
        'image_size': 56,
        'patch_size': 14,
        'hidden_act': 'gelu',
        'projection_dim': 8,
    },
)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return scene_batch([make_scene('pretrain', index) for index in range(6)], 56, 4)


def test_a_number_is_read_as_itself_from_its_own_code():
    codes = PatchCodes(WIDTH)
    features = torch.zeros(1, WIDTH)
    features[0, NUM_CHANNELS - 16 : NUM_CHANNELS] = codes.angle[37]
    assert codes(features)['angle'].argmax() == 37


def test_centered_features_have_no_mean_and_are_read_as_before(batch):
    encoder, codes = build_encoder(SETTINGS).eval(), PatchCodes(WIDTH)
    pixels, targets = batch
    shows_object = targets[..., TARGETS.index('category')] > 0
    with torch.no_grad():
        before = codes(patch_features(encoder, pixels))
        center_features(encoder, codes, num_scenes=6)
        features = patch_features(encoder, pixels)
    mean = (features[shows_object].mean(dim=0) + features[~shows_object].mean(dim=0)) / 2
    torch.testing.assert_close(mean, torch.zeros(WIDTH), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes(features), before, atol=1e-4, rtol=1e-4)


def test_the_same_settings_give_the_same_encoder():
    (one, _, _), (two, _, _) = pretrain(SETTINGS), pretrain(SETTINGS)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name
    moved = build_encoder(SETTINGS).encoder.layers[0].mlp.fc1.weight
    assert not torch.equal(one.encoder.layers[0].mlp.fc1.weight, moved)
