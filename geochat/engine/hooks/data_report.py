"""Says when the training ends what befell its records: pictures replaced, dialogues cut."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook

from geochat.registry import HOOKS


@HOOKS.register_module()
class DataReportHook(Hook):
    """Warns at the end of the training, or of a part of it, of every record that could not be used as it stands."""

    def after_train(self, runner: Any) -> None:
        """Gather the counts of all ranks and print them."""
        self._report(runner)

    def after_step(self, runner: Any) -> None:
        """Do it where a signal ends the training too: who goes on later counts from there."""
        if runner.train_loop.is_interrupted:
            self._report(runner)

    def _report(self, runner: Any) -> None:
        for dataset in _reporting(runner.train_dataloader.dataset):
            if report := dataset.report():
                runner.logger.warning(report)


def _reporting(dataset: Any) -> Iterator[Any]:
    """Yield the datasets that have something to report, also those inside a ``ConcatDataset``."""
    if hasattr(dataset, 'report'):
        yield dataset
    for inner in getattr(dataset, 'datasets', ()):
        yield from _reporting(inner)
