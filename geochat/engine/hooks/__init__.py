"""What happens around a training step: the lines that a run prints and the files that it leaves."""

from geochat.engine.hooks.first_sample import FirstSampleHook
from geochat.engine.hooks.model_folder import ModelFolderHook
from geochat.engine.hooks.progress import ProgressHook, ProgressLine

__all__ = ['FirstSampleHook', 'ModelFolderHook', 'ProgressHook', 'ProgressLine']
