"""DeepSpeed ZeRO-2 with the optimizer's state in the memory of the CPU, which also makes the update."""

from geochat.engine.strategies import DeepSpeedStrategy

strategy = dict(type=DeepSpeedStrategy, zero_stage=2, offload_optimizer=True)
