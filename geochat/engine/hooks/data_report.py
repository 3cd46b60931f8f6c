"""Says at the end of the training what befell its records: pictures replaced, dialogues cut."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook

from geochat.registry import HOOKS


@HOOKS.register_module()
class DataReportHook(Hook):
    """Warns after the training of every record that could not be used as it stands."""

    def after_train(self, runner: Any) -> None:
        """Gather the counts of all ranks and print them."""
        for dataset in _reporting(runner.train_dataloader.dataset):
            if report := dataset.report():
                runner.logger.warning(report)


def _reporting(dataset: Any) -> Iterator[Any]:
    """Yield the datasets that have something to report, also those inside a ``ConcatDataset``."""
    if hasattr(dataset, 'report'):
        yield dataset
    for inner in getattr(dataset, 'datasets', ()):
        yield from _reporting(inner)
