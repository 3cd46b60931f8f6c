"""What a training run prints and writes. Intervals count optimizer steps."""

from mmengine.hooks import IterTimerHook, ParamSchedulerHook, RuntimeInfoHook
from mmengine.visualization import LocalVisBackend

from geochat.engine.hooks import (
    CheckpointHook,
    DataReportHook,
    FirstSampleHook,
    ModelFolderHook,
    ProgressHook,
    ProgressLine,
    ThroughputHook,
)
from geochat.visualization.visualizer import AnswerVisualizer

default_scope = 'geochat'

default_hooks = dict(
    runtime_info=dict(type=RuntimeInfoHook),
    timer=dict(type=IterTimerHook),
    sampler_seed=None,  # the training loop tells the samplers their epoch
    logger=dict(type=ProgressHook, interval=10),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, interval=500, max_keep_ckpts=2),
    model_folder=dict(type=ModelFolderHook),
)

custom_hooks = [
    dict(type=FirstSampleHook),
    dict(type=ThroughputHook),
    dict(type=DataReportHook),
]

visualizer = dict(type=AnswerVisualizer, vis_backends=[dict(type=LocalVisBackend)])

log_processor = dict(type=ProgressLine, window_size=10)

env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))

randomness = dict(seed=0)
"""Weights that start at random, dropout and the order of the records follow from it."""
