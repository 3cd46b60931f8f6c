"""What a package of parts should show of itself: each part alone, and that GeoChat finds them by name."""

from importlib.metadata import PackageNotFoundError, version

import geochat_example
import numpy as np
import pytest

from geochat.plugins import load_plugins
from geochat.registry import BOX_CODECS, PROJECTORS

SIZE = (640, 480)


def test_a_box_is_written_in_thousandths_of_the_longer_side():
    codec = geochat_example.CentreBoxCodec()
    box = np.array([[320.0, 240.0, 64.0, 32.0, np.deg2rad(30)]])
    assert codec.encode(box, SIZE) == '(500,375,100,50,30)'


def test_boxes_come_back_within_half_a_unit():
    codec = geochat_example.CentreBoxCodec()
    rng = np.random.default_rng(0)
    boxes = rng.uniform([-50, -50, 1, 1, 0], [700, 500, 300, 300, np.pi * 179 / 180], size=(200, 5))
    grounded = codec.decode('Ships: ' + codec.encode(boxes, SIZE), SIZE)
    assert np.abs(grounded.boxes[:, :4] - boxes[:, :4]).max() <= 0.32
    assert np.abs(grounded.boxes[:, 4] - boxes[:, 4]).max() <= np.deg2rad(0.5) + 1e-9


@pytest.mark.parametrize('text', ['(1,2,3)', '(1,2,3,4,5,6)', '()', '(1,2,-3,4,5)', '(9999999,1,1,1,1)'])
def test_what_is_no_box_is_told_and_left_out(text):
    grounded = geochat_example.CentreBoxCodec().decode(f'at {text} and (1,2,3,4,5)', SIZE)
    assert len(grounded.boxes) == 1
    assert [(found.code, found.span, found.left_out) for found in grounded.diagnostics] == [
        ('not_a_box', (3, 3 + len(text)), True)
    ]


def test_the_projector_averages_neighbours():
    import torch

    projector = geochat_example.PoolingProjector(in_features=3, out_features=5, stride=2)
    features = torch.arange(24.0).reshape(2, 4, 3)
    pooled = torch.stack([features[:, :2].mean(1), features[:, 2:].mean(1)], dim=1)
    torch.testing.assert_close(projector(features), projector.linear(pooled))
    with pytest.raises(ValueError, match='3 picture tokens cannot be pooled by 2'):
        projector(features[:, :3])


def test_the_parts_are_built_by_name():
    assert isinstance(BOX_CODECS.build({'type': 'example_centre'}), geochat_example.CentreBoxCodec)
    projector = PROJECTORS.build({'type': 'PoolingProjector', 'in_features': 3, 'out_features': 5})
    assert isinstance(projector, geochat_example.PoolingProjector)


def test_the_installed_package_is_found_by_its_entry_point():
    try:
        version('geochat-example')
    except PackageNotFoundError:
        pytest.skip('geochat-example is not installed')
    load_plugins.cache_clear()
    assert 'geochat_example' in load_plugins()
