"""Training, validation and benchmark loops."""

from geochat.engine.loops.benchmark import BenchmarkLoop
from geochat.engine.loops.train import TrainLoop
from geochat.engine.loops.val import ValLoop

__all__ = ['BenchmarkLoop', 'TrainLoop', 'ValLoop']
