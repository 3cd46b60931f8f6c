"""Curves for TensorBoard beside the log: ``tensorboard --logdir work_dirs``.

Other back ends of MMEngine are named in ``visualizer.vis_backends`` the same way, such as ``WandbVisBackend``.
"""

from mmengine.visualization import LocalVisBackend, TensorboardVisBackend

from geochat.visualization.visualizer import AnswerVisualizer

visualizer = dict(type=AnswerVisualizer, vis_backends=[dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)])
