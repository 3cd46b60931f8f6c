"""DeepSpeed ZeRO-3 with parameters and optimizer's state in the memory of the CPU, which also makes the update."""

from geochat.engine.strategies import DeepSpeedStrategy

strategy = dict(type=DeepSpeedStrategy, zero_stage=3, offload_optimizer=True, offload_parameters=True)
