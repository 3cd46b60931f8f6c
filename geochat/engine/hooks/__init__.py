"""What happens around a training step: the lines that a run prints and the files that it leaves."""

from geochat.engine.hooks.answer_pictures import AnswerPicturesHook
from geochat.engine.hooks.checkpoint import CheckpointHook
from geochat.engine.hooks.data_report import DataReportHook
from geochat.engine.hooks.first_sample import FirstSampleHook
from geochat.engine.hooks.model_folder import ModelFolderHook
from geochat.engine.hooks.progress import ProgressHook, ProgressLine
from geochat.engine.hooks.throughput import ThroughputHook

__all__ = [
    'AnswerPicturesHook',
    'CheckpointHook',
    'DataReportHook',
    'FirstSampleHook',
    'ModelFolderHook',
    'ProgressHook',
    'ProgressLine',
    'ThroughputHook',
]
