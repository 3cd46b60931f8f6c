"""Prompts: task prompt templates, chat templates, and text to token ids and labels."""

from geochat.prompts.chat import ChatTemplate, Llama2, LlavaV1, Plain, Segment, VicunaV1
from geochat.prompts.tasks import (
    CaptionPrompt,
    ChatPrompt,
    GroundingPrompt,
    IdentifyPrompt,
    ReferPrompt,
    RegionCaptionPrompt,
    SceneClassificationPrompt,
    TaskPrompt,
    VQAPrompt,
)
from geochat.prompts.tokenization import TokenizedDialogue, load_tokenizer, tokenize_dialogue, tokenize_turns

__all__ = [
    'CaptionPrompt',
    'ChatPrompt',
    'ChatTemplate',
    'GroundingPrompt',
    'IdentifyPrompt',
    'Llama2',
    'LlavaV1',
    'Plain',
    'ReferPrompt',
    'RegionCaptionPrompt',
    'SceneClassificationPrompt',
    'Segment',
    'TaskPrompt',
    'TokenizedDialogue',
    'VQAPrompt',
    'VicunaV1',
    'load_tokenizer',
    'tokenize_dialogue',
    'tokenize_turns',
]
