"""DeepSpeed under MMEngine's ``FlexibleRunner``: ZeRO on CPUs and GPUs, its settings derived from the one config."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from mmengine._strategy import deepspeed as mmengine_deepspeed
from mmengine.logging import MessageHub
from mmengine.registry import OPTIMIZERS
from torch import nn

from geochat.engine.config import ConfigError
from geochat.engine.distributed import open_process_group
from geochat.engine.loops import TrainLoop, ValLoop
from geochat.engine.optimization import check_precision
from geochat.engine.strategies.build_tools import check_build_tools, wait_for_builds
from geochat.engine.training_checks import refuse_derived
from geochat.models.partitioned import spread_transformers
from geochat.registry import LOOPS, OPTIM_WRAPPERS, STRATEGIES

PRECISION_KEYS = {'bf16': 'bfloat16', 'fp16': 'float16'}
"""DeepSpeed's settings of the precision, and ours."""

COMPILED_OPTIMIZERS = ('DeepSpeedCPUAdam', 'FusedAdam', 'FusedLamb')
"""Optimizers of DeepSpeed, whose operators are compiled on this machine."""

ELEMENTWISE_OPTIMIZERS = (
    *('SGD', 'Adam', 'AdamW', 'NAdam', 'RAdam', 'Adagrad', 'RMSprop'),
    *('DeepSpeedCPUAdam', 'FusedAdam'),
)
"""Optimizers that update each number by itself, and so may be given flat pieces of the weights, as ZeRO does."""

REFUSED_HOOKS = {
    'EMAHook': 'the averaged weights would be kept in the precision of training and never be saved: average '
    'checkpoints afterwards, or train without DeepSpeed'
}
"""Hooks that cannot work under DeepSpeed, and why."""


REFUSED_WITH_SPREAD_WEIGHTS = {
    'quantization': 'weights in 4 bits cannot be spread over processes',
    'compile': 'the weights of a layer come and go while it runs',
}
"""Settings of a model's parts that cannot work where the weights are spread, and why."""


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


def _silence_renamed_collectives() -> None:
    """Keep PyTorch from warning, several times a step, that DeepSpeed calls collectives by their former names."""
    warnings.filterwarnings('ignore', r'`torch\.distributed\.\w+` is deprecated', FutureWarning)


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


class SpreadLayers(deepspeed.zero.Init):
    """Spreads the weights of each layer, in the precision of the training, as soon as the layer is built.

    DeepSpeed's own class would also change the precision and the device of everything else that is computed meanwhile,
    tables of constants among them.

    Args:
        config: DeepSpeed's settings.
    """

    def __init__(self, config: dict[str, Any]):
        super().__init__(config_dict_or_path=config, tensor_overrides=[])

    def _zero_init_param(self, param: torch.Tensor) -> None:
        if param.is_floating_point():
            param.data = param.data.to(self.dtype)
        super()._zero_init_param(param)


@STRATEGIES.register_module()
class DeepSpeedStrategy(mmengine_deepspeed.DeepSpeedStrategy):
    """Train with DeepSpeed, on CPUs over gloo and on GPUs over NCCL, with a launcher or in one process without.

    Batch size, accumulation, gradient clipping, precision and optimizer are said where they are said for every other
    run; the DeepSpeed settings are derived from them, so changing to DeepSpeed takes one line of a config. The training
    state of a checkpoint is a folder of DeepSpeed's, for the same stage on as many processes.

    Under ZeRO-3 the large parts of the model are never whole on any process: they are built and loaded layer by layer
    (:mod:`geochat.models.partitioned`).

    Args:
        zero_stage: What is partitioned over the processes: 1 the optimizer's state, 2 the gradients too, 3 the
            parameters too.
        offload_optimizer: True keeps the optimizer's state in the memory of the CPU, which also makes the update.
        offload_parameters: True keeps the parameters there too, between their uses; for stage 3.
        settings: Further settings of DeepSpeed, such as ``dict(zero_optimization=dict(reduce_bucket_size=1e8))``.
        work_dir: The run's folder; the runner fills it in, as it does the arguments below.
        experiment_name: The run's name.
        auto_scale_lr: MMEngine's setting of this name.
        env_kwargs: Launcher, seed and MMEngine's settings of the environment.
        log_kwargs: Log level.
        train_micro_batch_size_per_gpu: Records of a micro-batch, from the data loader.

    Raises:
        ConfigError: If ``settings`` has a key that is derived, or the stage is unknown.
    """

    def __init__(
        self,
        zero_stage: int = 2,
        offload_optimizer: bool = False,
        offload_parameters: bool = False,
        settings: Mapping[str, Any] | None = None,
        work_dir: str = 'work_dirs',
        experiment_name: str | None = None,
        auto_scale_lr: dict | None = None,
        env_kwargs: dict | None = None,
        log_kwargs: dict | None = None,
        train_micro_batch_size_per_gpu: int = 1,
    ):
        config = engine_settings(zero_stage, offload_optimizer, offload_parameters, settings or {})
        _leave_out_shared_memory_operator()
        _silence_renamed_collectives()
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
        self.config = {**config, 'train_micro_batch_size_per_gpu': train_micro_batch_size_per_gpu}
        # What is frozen comes from where it came from before; resuming checks that all that is trained is there.
        self.exclude_frozen_parameters = True

    def _setup_env(self, *, launcher: str | None = None, **env: Any) -> None:
        open_process_group(launcher or 'none')
        super()._setup_env(launcher=launcher, **env)

    def configure(self, cfg: Mapping[str, Any], hooks: Sequence[Any]) -> None:
        """Derive DeepSpeed's settings from the config of the run, before anything is built.

        Args:
            cfg: The config.
            hooks: The runner's hooks.

        Raises:
            ConfigError: If something asked for cannot work under DeepSpeed; the message says what to do instead.
        """
        check_hooks(hooks)
        check_loops(cfg)
        if self.spreads_weights:
            check_model(cfg['model'])
        optim_wrapper = cfg['optim_wrapper']
        if not self.config['zero_allow_untested_optimizer']:
            check_optimizer(optim_wrapper['optimizer']['type'])
        self.config['zero_allow_untested_optimizer'] = True
        self.config['gradient_accumulation_steps'] = cfg['train_cfg'].get('accumulation', 1)
        self.config.update(precision_and_clipping(optim_wrapper))

    @property
    def spreads_weights(self) -> bool:
        """Whether the stage partitions the parameters."""
        return self.config['zero_optimization']['stage'] == 3

    @property
    def state_kind(self) -> str:
        """What a checkpoint's training state is called: those of two stages are not read by each other."""
        return f'DeepSpeed ZeRO-{self.config["zero_optimization"]["stage"]}'

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model; under ZeRO-3 spread over the processes from the first layer on."""
        if not self.spreads_weights:
            return super().build_model(model)
        with spread_transformers(lambda: SpreadLayers(self.config)):
            return super().build_model(model)

    def prepare(self, model: nn.Module | dict, *, dispatch_kwargs: dict | None = None, **parts: Any) -> Any:
        """Spread the model; see :meth:`mmengine._strategy.DeepSpeedStrategy.prepare`."""
        if batch_size := (dispatch_kwargs or {}).get('train_micro_batch_size_per_gpu'):
            self.config['train_micro_batch_size_per_gpu'] = batch_size
        return super().prepare(model, dispatch_kwargs=dispatch_kwargs, **parts)

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> DeepSpeedOptimWrapper:
        """Build the optimizer; precision and clipping are DeepSpeed's."""
        name = _type_name(optim_wrapper['optimizer']['type'])
        if name in COMPILED_OPTIMIZERS:
            check_build_tools(f'The optimizer {name}')
            wait_for_builds()
        kept = {
            key: optim_wrapper[key] for key in ('optimizer', 'constructor', 'paramwise_cfg') if key in optim_wrapper
        }
        return super().build_optim_wrapper({'type': DeepSpeedOptimWrapper, **kept}, model)

    def _wrap_model(self, model: nn.Module) -> EngineWrapper:
        self._settle(model)
        engine, self.optim_wrapper.optimizer, *_ = deepspeed.initialize(
            model=model, optimizer=self.optim_wrapper.optimizer, config=self.config
        )
        return EngineWrapper(model=engine)

    def save_checkpoint(self, filename: str, **settings: Any) -> None:
        """Save; see :meth:`mmengine._strategy.DeepSpeedStrategy.save_checkpoint`.

        Raises:
            Exception: What kept this rank from writing, once the others wait for it no more.
        """
        engine = self.model.model
        engine._copy_recovery_script = lambda folder: None  # the weights lie beside its files already
        with late_write_errors(engine.checkpoint_engine):
            super().save_checkpoint(filename, **settings)

    def _settle(self, model: nn.Module) -> None:
        """Give all weights the precision of the training, and all buffers of a spread model its device.

        The engine does neither for a model of which a part is spread.
        """
        dtype = next((getattr(torch, name) for key, name in PRECISION_KEYS.items() if key in self.config), torch.float)
        for weight in model.parameters():
            if weight.is_floating_point():
                weight.data = weight.data.to(dtype)
        if self.spreads_weights:
            device = get_accelerator().current_device_name()
            for buffer in model.buffers():
                buffer.data = buffer.data.to(device)
            model.data_preprocessor.to(device)


def engine_settings(
    zero_stage: int, offload_optimizer: bool, offload_parameters: bool, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return DeepSpeed's settings that do not depend on the rest of the config.

    The arguments are those of :class:`DeepSpeedStrategy`.

    Raises:
        ConfigError: If ``settings`` has a key that is derived, or the stage is unknown or has nothing to offload.
    """
    if zero_stage not in (1, 2, 3):
        raise ConfigError(f'strategy.zero_stage must be 1, 2 or 3, not {zero_stage!r}')
    if offload_parameters and zero_stage != 3:
        raise ConfigError(f'strategy.offload_parameters needs strategy.zero_stage 3, not {zero_stage}')
    refuse_derived(settings, 'strategy.settings')
    further = dict(settings)
    zero = dict(further.pop('zero_optimization', {}))
    for key in ('stage', 'offload_optimizer', 'offload_param'):
        if key in zero:
            name = {'stage': 'zero_stage', 'offload_param': 'offload_parameters'}.get(key, key)
            raise ConfigError(f'strategy.settings.zero_optimization.{key} is derived: set strategy.{name} instead')
    on_cpu = {'device': 'cpu', 'pin_memory': True}
    if offload_optimizer:
        zero['offload_optimizer'] = on_cpu
    if offload_parameters:
        zero['offload_param'] = on_cpu
    defaults = {
        'steps_per_print': 10**12,  # the runner's hooks log
        'zero_allow_untested_optimizer': False,  # our own list is checked
        'zero_force_ds_cpu_optimizer': False,  # PyTorch's AdamW updates on the CPU, too
    }
    return {**defaults, **further, 'zero_optimization': {'stage': zero_stage, **zero}}


@contextlib.contextmanager
def late_write_errors(checkpoint_engine: Any) -> Iterator[None]:
    """Let the engine of DeepSpeed that writes files raise its first error when a block ends, not in it.

    In between, the ranks wait for each other, and one that had left would never come.
    """
    errors: list[Exception] = []
    save = checkpoint_engine.save

    def save_or_note(*arguments: Any, **settings: Any) -> None:
        try:
            save(*arguments, **settings)
        except Exception as error:  # a full disk makes PyTorch raise more than OSError
            errors.append(error)

    checkpoint_engine.save = save_or_note
    try:
        yield
    finally:
        checkpoint_engine.save = save
    if errors:
        raise errors[0]


def check_hooks(hooks: Sequence[Any]) -> None:
    """Refuse hooks that cannot work under DeepSpeed.

    Raises:
        ConfigError: Says what to do instead.
    """
    for hook in hooks:
        names = {kind.__name__ for kind in type(hook).mro()}
        if reason := next((REFUSED_HOOKS[name] for name in REFUSED_HOOKS if name in names), None):
            raise ConfigError(f'{type(hook).__name__} does not work under DeepSpeed: {reason}')


def check_loops(cfg: Mapping[str, Any]) -> None:
    """Refuse loops that cannot work under DeepSpeed: those that count micro-batches, and those that generate.

    Raises:
        ConfigError: Says what to do instead.
    """
    if not cfg.get('train_cfg'):
        raise ConfigError('a DeepSpeed strategy is for training, and the config has no train_cfg: leave "strategy" out')
    for key, loop in (('train_cfg', TrainLoop), ('val_cfg', ValLoop)):
        settings = cfg.get(key)
        if settings and not issubclass(LOOPS.resolve(settings['type']), loop):
            advice = {
                'train_cfg': 'its iterations are not optimizer steps; use TrainLoop',
                'val_cfg': 'validation is the loss on held-out records (ValLoop); answers are generated afterwards, '
                'with tools/test.py on the model folder',
            }
            raise ConfigError(f'{key}.type {settings["type"]} does not work under DeepSpeed: {advice[key]}')


def check_model(model: Mapping[str, Any]) -> None:
    """Refuse settings of the model's parts that need whole weights on each process.

    Raises:
        ConfigError: Names the part and the setting.
    """
    for part, settings in model.items():
        for key, reason in REFUSED_WITH_SPREAD_WEIGHTS.items():
            if isinstance(settings, Mapping) and settings.get(key):
                raise ConfigError(
                    f'{part}.{key} does not work with strategy.zero_stage 3: {reason}; leave it out, or set '
                    'strategy.zero_stage to 2'
                )


def check_optimizer(kind: str | type) -> None:
    """Refuse optimizers that need whole matrices or layers.

    Raises:
        ConfigError: Names those that work.
    """
    if (name := _type_name(kind)) not in ELEMENTWISE_OPTIMIZERS:
        raise ConfigError(
            f'optim_wrapper.optimizer.type {name} does not work under DeepSpeed, which updates flat pieces of the '
            f'weights: use one of {", ".join(ELEMENTWISE_OPTIMIZERS)}, or train without a strategy. '
            'strategy.settings.zero_allow_untested_optimizer=True takes any optimizer'
        )


def precision_and_clipping(optim_wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an ``optim_wrapper`` of a config into settings of DeepSpeed.

    Args:
        optim_wrapper: Settings of ``OptimWrapper`` (float32) or ``AmpOptimWrapper`` (``dtype``).

    Raises:
        ConfigError: If a setting has no counterpart in DeepSpeed, or this machine lacks the precision.
    """
    name = _type_name(optim_wrapper.get('type', 'OptimWrapper'))
    known = {'OptimWrapper': (), 'AmpOptimWrapper': ('dtype',)}
    if name not in known:
        raise ConfigError(f'optim_wrapper.type {name} does not work under DeepSpeed: use {" or ".join(known)}')
    if optim_wrapper.get('accumulative_counts', 1) != 1:
        raise ConfigError(
            'optim_wrapper.accumulative_counts does not work under DeepSpeed: set train_cfg.accumulation instead'
        )
    for key in optim_wrapper:
        if key not in (
            'type',
            'accumulative_counts',
            'optimizer',
            'constructor',
            'paramwise_cfg',
            'clip_grad',
            *known[name],
        ):
            raise ConfigError(f'optim_wrapper.{key} does not work under DeepSpeed')
    settings: dict[str, Any] = {}
    if name == 'AmpOptimWrapper':
        dtype = optim_wrapper.get('dtype', 'bfloat16')
        check_precision(dtype)
        settings[next(key for key, name in PRECISION_KEYS.items() if name == dtype)] = {'enabled': True}
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
