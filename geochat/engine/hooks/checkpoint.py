"""Saves a run's checkpoints, and deletes those that are no longer needed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook

from geochat.engine.config import ConfigError
from geochat.engine.files import REPLACED, UNFINISHED, delete_folder, replace_text
from geochat.engine.run_checkpoint import LAST, checkpoints, read_manifest, save_run
from geochat.models.weights import WeightsError
from geochat.registry import HOOKS

BEST = 'best_checkpoint'
"""Name of the file that names the checkpoint with the best metric."""


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Save a checkpoint every so many optimizer steps, after the last one, and when a signal ends the training.

    A checkpoint is a folder ``iter_N`` (:mod:`geochat.engine.run_checkpoint`), from which ``--resume`` goes on exactly;
    it is also a model folder. ``last_checkpoint`` in the work directory names the newest whole one. Old ones are
    deleted when a newer one is in its place, never before.

    Args:
        interval: Optimizer steps between two checkpoints.
        max_keep_ckpts: How many of the newest to keep; -1 keeps all.
        save_last: False saves after the last step only if its turn has come.
        save_best: A metric of the validation, such as ``'loss'``: where it is lower than ever, a checkpoint is saved,
            kept until a better one is, and named in ``best_checkpoint``. None keeps none for its metric.
        by_epoch: Must be False: checkpoints count optimizer steps. (MMEngine's hook has this setting.)

    Raises:
        ConfigError: If a setting makes no sense.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 500,
        max_keep_ckpts: int = 2,
        save_last: bool = True,
        save_best: str | None = None,
        by_epoch: bool = False,
    ):
        if by_epoch:
            raise ConfigError('checkpoints count optimizer steps: set default_hooks.checkpoint.by_epoch=False')
        if interval < 1 or max_keep_ckpts == 0:
            raise ConfigError(
                'default_hooks.checkpoint: interval is a number above 0, and max_keep_ckpts too, or -1 for all; not '
                f'{interval=} and {max_keep_ckpts=}'
            )
        self.interval = interval
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.save_best = save_best
        self.metrics: Mapping[str, float] = {}
        self.scores: dict[int, float | None] = {}

    def before_train(self, runner: Any) -> None:
        """Take up the checkpoints that an earlier part of this run has left, and clear away what it did not finish."""
        if self.save_best is not None and runner.val_loop is None:
            raise ConfigError('default_hooks.checkpoint.save_best needs a validation: set val_dataloader and val_cfg')
        work_dir = Path(runner.work_dir)
        found = checkpoints(work_dir)
        if found and not runner.iter:
            runner.logger.warning(
                f'{work_dir} has checkpoints of an earlier run, up to {found[max(found)].name}. Those whose steps '
                'this run saves too are replaced; until it has saved one, --resume goes on from theirs'
            )
        # Newer ones than the step that the run goes on from are of a future that will be another: they are left alone.
        self.scores = {step: self._score_of(folder) for step, folder in found.items() if step <= runner.iter}
        barrier()
        if is_main_process():
            for ending in (UNFINISHED, REPLACED):
                for leftover in work_dir.glob(f'iter_*{ending}'):
                    delete_folder(leftover)
        barrier()

    def _score_of(self, folder: Path) -> float | None:
        try:
            return self._score(read_manifest(folder)['metrics'])
        except WeightsError:
            return None

    def _score(self, metrics: Mapping[str, float]) -> float | None:
        """Return the metric that counts; None without it, or where the training has diverged."""
        score = metrics.get(self.save_best)
        return None if score is None or math.isnan(score) else score

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Remember what the validation found until the step is over."""
        if self.save_best is not None and self.save_best not in metrics:
            raise ConfigError(
                f'default_hooks.checkpoint.save_best {self.save_best!r} is none of the metrics {", ".join(metrics)}'
            )
        self.metrics = metrics

    def after_step(self, runner: Any) -> None:
        """Save if it is time to; the training loop calls this when all of a step is done."""
        metrics, self.metrics = self.metrics, {}
        step, loop = runner.iter, runner.train_loop
        score = self._score(metrics)
        is_best = score is not None and score < self._best_score()
        is_last = self.save_last and (step >= loop.max_iters or loop.stop_training)
        if not (step % self.interval == 0 or is_last or is_best or loop.is_interrupted):
            return
        folder = save_run(runner, metrics)
        runner.logger.info(f'Saved {folder}')
        loop.saved_to = str(folder)
        self.scores[step] = score
        if is_main_process():
            if is_best:  # first: a run that is killed in between makes this step again
                replace_text(folder.with_name(BEST), folder.name)
            replace_text(folder.with_name(LAST), folder.name)
        self._delete_old(folder.parent)

    def _best_score(self) -> float:
        return min((score for score in self.scores.values() if score is not None), default=float('inf'))

    def _delete_old(self, work_dir: Path) -> None:
        """Delete all but the newest and the best."""
        if self.max_keep_ckpts < 0:
            return
        kept = set(sorted(self.scores)[-self.max_keep_ckpts :])
        kept |= {step for step, score in self.scores.items() if score is not None and score == self._best_score()}
        for step in set(self.scores) - kept:
            del self.scores[step]
            if is_main_process():
                delete_folder(work_dir / f'iter_{step}')
