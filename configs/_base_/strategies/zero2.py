"""DeepSpeed ZeRO-2: the optimizer's state and the gradients are spread over the processes."""

from geochat.engine.strategies import DeepSpeedStrategy

strategy = dict(type=DeepSpeedStrategy, zero_stage=2)
