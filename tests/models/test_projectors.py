import pytest
import torch

from geochat.registry import PROJECTORS


@pytest.mark.parametrize(
    ('name', 'names'),
    [
        ('linear', ['weight', 'bias']),
        ('mlp2x_gelu', ['0.weight', '0.bias', '2.weight', '2.bias']),
        ('mlp3x_gelu', ['0.weight', '0.bias', '2.weight', '2.bias', '4.weight', '4.bias']),
    ],
)
def test_projectors_have_llavas_names_and_map_row_by_row(name, names):
    projector = PROJECTORS.build({'type': name, 'in_features': 6, 'out_features': 10})
    assert list(projector.state_dict()) == names
    rows = torch.randn(2, 5, 6)
    out = projector(rows)
    assert out.shape == (2, 5, 10)
    torch.testing.assert_close(out[1, 3], projector(rows[1, 3]))


def test_mlp2x_gelu_of_geochat_has_the_published_number_of_weights():
    with torch.device('meta'):
        projector = PROJECTORS.build({'type': 'mlp2x_gelu', 'in_features': 1024, 'out_features': 4096})
    assert sum(weight.numel() for weight in projector.parameters()) == 20_979_712


def test_identity_refuses_to_change_the_width():
    assert PROJECTORS.build({'type': 'identity', 'in_features': 6, 'out_features': 6})(torch.ones(1, 2, 6)).sum() == 12
    with pytest.raises(ValueError, match='6 features into 10'):
        PROJECTORS.build({'type': 'identity', 'in_features': 6, 'out_features': 10})
