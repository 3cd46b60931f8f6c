"""Building a run: from a config file to a runner that is ready to train or to test."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from geochat.engine.backends import check_backends
from geochat.engine.config import (
    ConfigError,
    as_config,
    change_config,
    check_parts,
    load_config,
    parse_options,
    value_at,
)
from geochat.engine.link import link_parts
from geochat.engine.training_checks import check_training
from geochat.registry import DATASETS

if TYPE_CHECKING:
    from mmengine.runner import FlexibleRunner, Runner

TRAINING_KEYS = (
    *('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'strategy', 'custom_hooks'),
    *('val_dataloader', 'val_cfg', 'val_evaluator'),
)
"""Settings that a run which only tests has no use for."""


def build_runner(
    config: str | Path | Config,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    work_dir: str | Path | None = None,
    launcher: str = 'none',
    resume: bool = False,
    amp: bool = False,
    load_from: str | Path | None = None,
    training: bool = True,
) -> 'Runner | FlexibleRunner':
    """Build what runs a config: MMEngine's ``Runner``, or its ``FlexibleRunner`` where the config names a strategy.

    The config is changed by the options, linked and checked; the linked config is dumped into the work directory. The
    data files that ``data_preparation`` describes are written if they are not there.

    Args:
        config: A config file, or a config from :func:`~geochat.engine.load_config`.
        cfg_options: Changes, as :func:`~geochat.engine.load_config` takes them.
        work_dir: Where the run writes; by default the config's ``work_dir``, or ``work_dirs/NAME_OF_THE_CONFIG``.
        launcher: How processes were started: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        resume: True goes on from the newest checkpoint of the work directory.
        amp: True trains with automatic mixed precision.
        load_from: Weights to start from: a file or a model folder; by default the config's ``load_from``.
        training: False leaves out everything that only training needs, a strategy above all.

    Raises:
        FileNotFoundError: If the config or the weights are not there, or a file of a benchmark that is to be run after
            the training.
        ConfigError: If a key or a part is unknown, the work directory cannot be written, or there is nothing to resume
            or to train.
    """
    from geochat.engine.run_checkpoint import check_resumable
    from geochat.engine.runner import GeoChatFlexibleRunner, GeoChatRunner

    cfg = prepare_config(config, cfg_options, work_dir, training)
    cfg.launcher, cfg.resume = launcher, resume
    if load_from is not None:
        cfg.load_from = str(load_from)
    if amp:
        _turn_on_amp(cfg)
    if cfg.get('strategy') and cfg.get('test_after_training'):
        raise ConfigError('test_after_training does not work with a strategy: test the model with tools/test.py')
    if training and cfg.get('test_after_training') and cfg.test_cfg.get('backend'):
        raise ConfigError('test_after_training tests the model that was trained: leave test_cfg.backend out')
    if training:
        check_training(cfg)
    check_parts(cfg)
    check_backends(cfg)
    if resume:
        check_resumable(cfg.work_dir)
    runner = (GeoChatFlexibleRunner if cfg.get('strategy') else GeoChatRunner).from_cfg(cfg)
    if training and not any(weight.requires_grad for weight in runner.model.parameters()):
        raise ConfigError('nothing is trained: every part of the model is frozen')
    prepare_data(cfg)
    if cfg.get('test_after_training') or not training:
        # The loop is built now, so that a benchmark that cannot run is known before hours of training.
        benchmarks, missing = runner.test_loop.benchmarks, runner.test_loop.missing
        listed = ', '.join(f'{benchmark.name} ({len(benchmark.reader)} questions)' for benchmark in benchmarks)
        runner.logger.info(f'To be tested with: {listed}')
        for name, reason in missing.items():
            if training:
                raise FileNotFoundError(f'{name}, of the test after the training, cannot run: {reason}')
            runner.logger.warning(f'{name} is left out: {reason}')
    return runner


def prepare_config(
    config: str | Path | Config,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    work_dir: str | Path | None = None,
    training: bool = True,
) -> Config:
    """Read, change and link a config, and settle where the run writes; see :func:`build_runner`."""
    options = cfg_options if isinstance(cfg_options, Mapping) else parse_options(cfg_options)
    cfg = change_config(config, options) if isinstance(config, Config) else load_config(config, options)
    cfg = link_parts(cfg)
    _check_survived(cfg, options)
    if not training:
        if not cfg.get('benchmarks'):
            raise ConfigError('the config has no benchmarks to test with')
        cfg = as_config({key: value for key, value in cfg.items() if key not in TRAINING_KEYS}, cfg.filename)
    cfg.work_dir = str(work_dir or cfg.get('work_dir') or Path('work_dirs') / _name(cfg))
    cfg.setdefault('default_scope', 'geochat')
    cfg.setdefault('env_cfg', {})  # which MMEngine's strategies take for granted
    # MMEngine wants these beside its loops; GeoChat's validate by the loss, and test with readers and metrics.
    for loop, companions in (('val_cfg', ('val_evaluator',)), ('test_cfg', ('test_dataloader', 'test_evaluator'))):
        if cfg.get(loop) is not None:
            for companion in companions:
                cfg.setdefault(companion, [])
    _check_writable(Path(cfg.work_dir))
    return cfg


def _check_survived(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse options for places that linking fills: they would have no effect."""
    for key, value in options.items():
        try:
            survived = value_at(cfg, key) == value
        except (KeyError, ConfigError):
            survived = False
        if not survived:
            raise ConfigError(f'{key} is filled in from {_origin(key)}: set it there')


def _origin(key: str) -> str:
    return 'the data loader' if key.endswith('sampler.batch_size') else 'the five parts at the top of the config'


def _turn_on_amp(cfg: Config) -> None:
    """Train in bfloat16, unless the config chooses another precision itself."""
    name = str(cfg.optim_wrapper.get('type', 'OptimWrapper')).rpartition('.')[2]
    if name == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    elif name != 'AmpOptimWrapper':
        raise ConfigError(f'--amp: an optim_wrapper of type {name} has no mixed precision')


def _name(cfg: Config) -> str:
    return Path(cfg.filename).stem if cfg.filename else 'unnamed'


def _check_writable(work_dir: Path) -> None:
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise ConfigError(f'the work directory {str(work_dir)!r} cannot be written: {error.strerror}') from error


def prepare_data(cfg: Config) -> None:
    """Let the first process write the data files that the config describes; the others wait for it."""
    from mmengine.dist import barrier, is_main_process

    if is_main_process():
        for settings in cfg.get('data_preparation') or ():
            DATASETS.build(settings).prepare()
    barrier()
