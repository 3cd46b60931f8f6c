"""Learning rates per part of the model: the vision encoder, the projector and the LLM."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from geochat.engine.config import ConfigError
from geochat.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, near_misses

PARTS = ('vision_encoder', 'projector', 'llm')
"""Parts of a model that can be trained apart."""

PART_SETTINGS = ('lr', 'weight_decay')
"""What a part may have of its own."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PartwiseConstructor(DefaultOptimWrapperConstructor):
    """Gives the optimizer the trained weights only, in one group a part that has settings of its own.

    ``optim_wrapper.paramwise_cfg`` is a dict of parts, such as ``dict(projector=dict(lr=2e-5))``; each may have
    ``lr`` and ``weight_decay``. What it does not say is ``optim_wrapper.optimizer``'s. A schedule moves all groups
    alike. (MMEngine's own constructor makes a group of every single weight, which DeepSpeed would flatten one by one.)
    """

    def _validate_cfg(self) -> None:
        place = 'optim_wrapper.paramwise_cfg'
        for part, settings in self.paramwise_cfg.items():
            if part not in PARTS:
                near = near_misses(part, list(PARTS)) or PARTS
                raise ConfigError(f'{place} has no part {part!r}; there is {", ".join(near)}')
            for key, value in settings.items():
                if key not in PART_SETTINGS:
                    raise ConfigError(f'{place}.{part} has no setting {key!r}; it takes {", ".join(PART_SETTINGS)}')
                if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                    raise ConfigError(f'{place}.{part}.{key} must be a number not below 0, not {value!r}')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper.

        Raises:
            ConfigError: If nothing is trained, or nothing of a part that has settings of its own.
        """
        groups = part_groups(getattr(model, 'module', model), self.paramwise_cfg)
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': groups})
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.optim_wrapper_cfg, 'optimizer': optimizer})


def part_groups(model: nn.Module, settings: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Group a model's trained weights by part: first all that have no settings of their own, then one group a part.

    Raises:
        ConfigError: If nothing is trained, or nothing of a part that has settings.
    """
    members: dict[str | None, list[nn.Parameter]] = {None: [], **{part: [] for part in settings}}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            part = name.partition('.')[0]
            members[part if part in settings else None].append(weight)
    for part in settings:
        if not members[part]:
            raise ConfigError(f'optim_wrapper.paramwise_cfg.{part}: nothing of the {part} is trained, it is frozen')
    if not any(members.values()):
        raise ConfigError('nothing is trained: every part of the model is frozen')
    return [{'params': weights, **settings.get(part, {})} for part, weights in members.items() if weights]
