"""DeepSpeed ZeRO-1: the optimizer's state is spread over the processes."""

from geochat.engine.strategies import DeepSpeedStrategy

strategy = dict(type=DeepSpeedStrategy, zero_stage=1)
