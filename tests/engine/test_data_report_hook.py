from types import SimpleNamespace

from mmengine.dataset import BaseDataset, ConcatDataset

from geochat.engine.hooks import DataReportHook


class Records(BaseDataset):
    def __init__(self, report):
        super().__init__(lazy_init=True)
        self.report = lambda: report


def test_every_dataset_with_something_to_report_is_heard_and_no_other():
    lines = []
    joined = ConcatDataset([Records('a.json: 2 of 9 records were replaced'), Records('')], lazy_init=True)
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=joined), logger=SimpleNamespace(warning=lines.append)
    )
    DataReportHook().after_train(runner)
    assert lines == ['a.json: 2 of 9 records were replaced']
