"""Answers from a model: an engine that writes them, choice among given answers, and how sure it was of the boxes."""

from geochat.generation.answers import AnswerInProgress
from geochat.generation.backend import Backend, BackendError, EngineBackend, Written
from geochat.generation.confidence import box_scores, token_ends
from geochat.generation.engine import GenerationEngine, generate
from geochat.generation.likelihood import option_log_probs
from geochat.generation.requests import Generated, GenerationSettings, Request

__all__ = [
    'AnswerInProgress',
    'Backend',
    'BackendError',
    'EngineBackend',
    'Generated',
    'GenerationEngine',
    'GenerationSettings',
    'Request',
    'Written',
    'box_scores',
    'generate',
    'option_log_probs',
    'token_ends',
]
