"""DeepSpeed ZeRO-3: the weights, the gradients and the optimizer's state are spread over the processes."""

from geochat.engine.strategies import DeepSpeedStrategy

strategy = dict(type=DeepSpeedStrategy, zero_stage=3)
