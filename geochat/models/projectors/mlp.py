"""LLaVA's projectors: linear, MLP with GELU, identity."""

from collections.abc import Callable

from torch import nn

from geochat.registry import PROJECTORS


@PROJECTORS.register_module(name=['LinearProjector', 'linear'])
class LinearProjector(nn.Linear):
    """One linear map, as in the first LLaVA.

    Args:
        in_features: Width of the picture features.
        out_features: Width of the LLM's embeddings.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)


@PROJECTORS.register_module()
class MLPProjector(nn.Sequential):
    """Linear maps with GELU between them; LLaVA-1.5 and GeoChat have two (``mlp2x_gelu``).

    Args:
        in_features: Width of the picture features.
        out_features: Width of the LLM's embeddings, and of the hidden layers.
        depth: Number of linear maps.
    """

    def __init__(self, in_features: int, out_features: int, depth: int = 2):
        if depth < 1:
            raise ValueError(f'an MLP projector has at least one linear map, not {depth}')
        layers: list[nn.Module] = [nn.Linear(in_features, out_features)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(out_features, out_features)]
        super().__init__(*layers)


@PROJECTORS.register_module(name=['IdentityProjector', 'identity'])
class IdentityProjector(nn.Identity):
    """No map at all: the features are as wide as the LLM's embeddings.

    Raises:
        ValueError: If they are not.
    """

    def __init__(self, in_features: int, out_features: int):
        if in_features != out_features:
            raise ValueError(f'the identity projector cannot turn {in_features} features into {out_features}')
        super().__init__()


def _named_mlp(depth: int) -> Callable[[int, int], MLPProjector]:
    def build(in_features: int, out_features: int) -> MLPProjector:
        return MLPProjector(in_features, out_features, depth)

    return build


for _depth in range(1, 9):  # LLaVA's names; the family has no deeper member in use
    PROJECTORS.register_module(name=f'mlp{_depth}x_gelu', module=_named_mlp(_depth))
