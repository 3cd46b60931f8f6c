"""DeepSpeed ZeRO-3: the optimizer's state, the gradients and the parameters are spread over the processes."""

from geochat.engine.strategies import DeepSpeedStrategy

strategy = dict(type=DeepSpeedStrategy, zero_stage=3)
