"""DeepSpeed under MMEngine's ``FlexibleRunner``: ZeRO on CPUs and GPUs, its settings derived from the one config."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import deepspeed
import torch
from mmengine._strategy import deepspeed as mmengine_deepspeed
from mmengine.logging import MessageHub
from mmengine.registry import OPTIMIZERS
from torch import nn

from geochat.engine.config import ConfigError
from geochat.engine.distributed import open_process_group
from geochat.engine.strategies.build_tools import check_build_tools, wait_for_builds
from geochat.registry import OPTIM_WRAPPERS, STRATEGIES

DERIVED_SETTINGS = {
    'train_batch_size': 'train_dataloader.batch_size and train_cfg.accumulation',
    'train_micro_batch_size_per_gpu': 'train_dataloader.batch_size',
    'gradient_accumulation_steps': 'train_cfg.accumulation',
    'gradient_clipping': 'optim_wrapper.clip_grad.max_norm',
    'bf16': 'optim_wrapper (AmpOptimWrapper, dtype bfloat16)',
    'fp16': 'optim_wrapper (AmpOptimWrapper, dtype float16)',
    'optimizer': 'optim_wrapper.optimizer',
    'scheduler': 'param_scheduler',
}
"""Settings of DeepSpeed that are derived, and where the config says them."""

COMPILED_OPTIMIZERS = ('DeepSpeedCPUAdam', 'FusedAdam', 'FusedLamb')
"""Optimizers of DeepSpeed, whose operators are compiled on this machine."""

REFUSED_HOOKS = {
    'EMAHook': 'the averaged weights would be kept in the precision of training and never be saved: average '
    'checkpoints afterwards, or train without DeepSpeed'
}
"""Hooks that cannot work under DeepSpeed, and why."""


def register_optimizers() -> None:
    """Register DeepSpeed's optimizers with MMEngine; those that this version of DeepSpeed lacks are left out.

    It can be called any number of times. (MMEngine's own function can be called once, and imports modules that current
    versions of DeepSpeed no longer have.)
    """
    from deepspeed.ops import adam, lamb

    for module, name in zip((adam, adam, lamb), COMPILED_OPTIMIZERS, strict=True):
        if hasattr(module, name):
            OPTIMIZERS.register_module(name=name, module=getattr(module, name), force=True)


def _leave_out_shared_memory_operator() -> None:
    """Keep DeepSpeed from compiling an operator for inference, which no training uses, on its first start on a CPU.

    The compilation takes over a minute, needs ninja and g++, and a killed one makes every later start hang.
    """
    deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False


@OPTIM_WRAPPERS.register_module()
class DeepSpeedOptimWrapper(mmengine_deepspeed.DeepSpeedOptimWrapper):
    """What the training loop drives: gradients and updates go through the DeepSpeed engine.

    The strategy makes it of the config's ``optim_wrapper``; a config does not name it.

    Args:
        optimizer: The optimizer.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        super().__init__(optimizer)
        self.message_hub = MessageHub.get_current_instance()

    @contextlib.contextmanager
    def optim_context(self, model: Any) -> Iterator[None]:
        """Do nothing: the engine holds the model in its precision."""
        yield

    @contextlib.contextmanager
    def micro_step(self, is_last: bool) -> Iterator[None]:
        """Tell the engine before each micro-batch whether it ends the optimizer step."""
        self.model.set_gradient_accumulation_boundary(is_last)
        yield

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the gradients of a loss that already carries its weight in the step."""
        self.model.backward(loss, scale_wrt_gas=False)

    def step(self) -> None:
        """Clip the gradients and update the parameters."""
        self.model.step()
        norm = self.model.get_global_grad_norm()
        if norm is not None:
            self.message_hub.update_scalar('train/grad_norm', float(norm))

    def zero_grad(self) -> None:
        """Do nothing: the engine clears the gradients when it steps."""


class EngineWrapper(mmengine_deepspeed.MMDeepSpeedEngineWrapper):
    """The DeepSpeed engine as the loops call it; floating-point inputs are cast to the precision of the model."""

    def _run_forward(self, data: Mapping[str, Any], mode: str) -> Any:
        dtype = self.model.get_data_types()[0]
        return super()._run_forward({key: _cast_float(value, dtype) for key, value in data.items()}, mode)


def _cast_float(value: Any, dtype: torch.dtype) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype) if is_float else value


@STRATEGIES.register_module()
class DeepSpeedStrategy(mmengine_deepspeed.DeepSpeedStrategy):
    """Train with DeepSpeed, on CPUs over gloo and on GPUs over NCCL, with a launcher or in one process without.

    Batch size, accumulation, gradient clipping, precision and optimizer are said where they are said for every other
    run; the DeepSpeed settings are derived from them, so changing to DeepSpeed takes one line of a config. Checkpoints
    are directories that only ``--resume`` reads.

    Args:
        zero_stage: What is partitioned over the processes: 1 the optimizer's state, 2 the gradients too, 3 the
            parameters too.
        settings: Further settings of DeepSpeed, such as ``dict(zero_optimization=dict(reduce_bucket_size=1e8))``.
        work_dir: The run's folder; the runner fills it in, as it does the arguments below.
        experiment_name: The run's name.
        auto_scale_lr: MMEngine's setting of this name.
        env_kwargs: Launcher, seed and MMEngine's settings of the environment.
        log_kwargs: Log level.
        train_micro_batch_size_per_gpu: Records of a micro-batch; the data loader's batch size counts.

    Raises:
        ConfigError: If ``settings`` has a key that is derived, or the stage is unknown.
    """

    def __init__(
        self,
        zero_stage: int = 2,
        settings: Mapping[str, Any] | None = None,
        work_dir: str = 'work_dirs',
        experiment_name: str | None = None,
        auto_scale_lr: dict | None = None,
        env_kwargs: dict | None = None,
        log_kwargs: dict | None = None,
        train_micro_batch_size_per_gpu: int | None = None,
    ):
        config = engine_settings(zero_stage, settings or {})
        _leave_out_shared_memory_operator()
        register_optimizers()
        # MMEngine's DeepSpeedStrategy would register its optimizers here, which fails with current versions of
        # DeepSpeed; so its base class is set up, and the attributes that its other methods read.
        super(mmengine_deepspeed.DeepSpeedStrategy, self).__init__(
            work_dir=work_dir,
            experiment_name=experiment_name,
            auto_scale_lr=auto_scale_lr,
            env_kwargs=env_kwargs,
            log_kwargs=log_kwargs,
        )
        self.config = config
        # What is frozen comes from where it came from before; resuming checks that all that is trained is there.
        self.exclude_frozen_parameters = True
        if train_micro_batch_size_per_gpu is not None:
            self.config['train_micro_batch_size_per_gpu'] = train_micro_batch_size_per_gpu

    def _setup_env(self, *, launcher: str | None = None, **env: Any) -> None:
        open_process_group(launcher or 'none')
        super()._setup_env(launcher=launcher, **env)

    def configure_training(self, accumulation: int, hooks: Sequence[Any]) -> None:
        """Take what the training loop knows, before anything is built.

        Args:
            accumulation: Micro-batches of an optimizer step.
            hooks: The runner's hooks.

        Raises:
            ConfigError: If a hook cannot work under DeepSpeed; the message says what to do instead.
        """
        for hook in hooks:
            if reason := REFUSED_HOOKS.get(type(hook).__name__):
                raise ConfigError(f'{type(hook).__name__} does not work under DeepSpeed: {reason}')
        self.config['gradient_accumulation_steps'] = accumulation

    def prepare(self, model: nn.Module | dict, *, dispatch_kwargs: dict | None = None, **parts: Any) -> Any:
        """Spread the model; see :meth:`mmengine._strategy.DeepSpeedStrategy.prepare`."""
        if batch_size := (dispatch_kwargs or {}).get('train_micro_batch_size_per_gpu'):
            self.config['train_micro_batch_size_per_gpu'] = batch_size
        return super().prepare(model, dispatch_kwargs=dispatch_kwargs, **parts)

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> DeepSpeedOptimWrapper:
        """Turn the config's ``optim_wrapper`` into DeepSpeed's precision, clipping and optimizer."""
        self.config.update(precision_and_clipping(optim_wrapper))
        name = _type_name(optim_wrapper['optimizer']['type'])
        if name in COMPILED_OPTIMIZERS:
            check_build_tools(f'The optimizer {name}')
            wait_for_builds()
        kept = {
            key: optim_wrapper[key] for key in ('optimizer', 'constructor', 'paramwise_cfg') if key in optim_wrapper
        }
        return super().build_optim_wrapper({'type': DeepSpeedOptimWrapper, **kept}, model)

    def _wrap_model(self, model: nn.Module) -> EngineWrapper:
        engine, self.optim_wrapper.optimizer, *_ = deepspeed.initialize(
            model=model, optimizer=self.optim_wrapper.optimizer, config=self.config
        )
        return EngineWrapper(model=engine)


def engine_settings(zero_stage: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return DeepSpeed's settings that do not depend on the rest of the config.

    Raises:
        ConfigError: If ``settings`` has a key that is derived, or the stage is unknown.
    """
    if zero_stage not in (1, 2, 3):
        raise ConfigError(f'strategy.zero_stage must be 1, 2 or 3, not {zero_stage!r}')
    for key in settings:
        if key in DERIVED_SETTINGS:
            raise ConfigError(f'strategy.settings.{key} is derived: set {DERIVED_SETTINGS[key]} instead')
    further = dict(settings)
    zero = dict(further.pop('zero_optimization', {}))
    if 'stage' in zero:
        raise ConfigError('strategy.settings.zero_optimization.stage is derived: set strategy.zero_stage instead')
    quiet = {'steps_per_print': 10**12}  # the runner's hooks log
    return {**quiet, **further, 'zero_optimization': {'stage': zero_stage, **zero}}


def precision_and_clipping(optim_wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an ``optim_wrapper`` of a config into settings of DeepSpeed.

    Args:
        optim_wrapper: Settings of ``OptimWrapper`` (float32) or ``AmpOptimWrapper`` (``dtype``).

    Raises:
        ConfigError: If a setting has no counterpart in DeepSpeed.
    """
    name = _type_name(optim_wrapper.get('type', 'OptimWrapper'))
    known = {'OptimWrapper': (), 'AmpOptimWrapper': ('dtype',)}
    if name not in known:
        raise ConfigError(f'optim_wrapper.type {name} does not work under DeepSpeed: use {" or ".join(known)}')
    for key in optim_wrapper:
        if key not in ('type', 'optimizer', 'constructor', 'paramwise_cfg', 'clip_grad', *known[name]):
            raise ConfigError(f'optim_wrapper.{key} does not work under DeepSpeed')
    settings: dict[str, Any] = {}
    if name == 'AmpOptimWrapper':
        settings['fp16' if optim_wrapper.get('dtype') == 'float16' else 'bf16'] = {'enabled': True}
    clip_grad = dict(optim_wrapper.get('clip_grad') or {})
    if clip_grad:
        max_norm = clip_grad.pop('max_norm', None)
        if (
            max_norm is None
            or clip_grad.pop('type', 'norm') != 'norm'
            or clip_grad.pop('norm_type', 2) != 2
            or clip_grad
        ):
            raise ConfigError('optim_wrapper.clip_grad: DeepSpeed clips by the 2-norm only, with the setting max_norm')
        settings['gradient_clipping'] = max_norm
    return settings


def _type_name(part: str | type) -> str:
    return part.rpartition('.')[2] if isinstance(part, str) else part.__name__
