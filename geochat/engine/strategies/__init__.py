"""How a model and its training state are spread over processes."""

from geochat.engine.strategies.deepspeed import DeepSpeedOptimWrapper, DeepSpeedStrategy

__all__ = ['DeepSpeedOptimWrapper', 'DeepSpeedStrategy']
