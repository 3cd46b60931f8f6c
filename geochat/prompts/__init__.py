"""Prompts: task prompt templates, chat templates, and text to token ids and labels."""

from geochat.prompts.chat import ChatTemplate, Llama2, LlavaV1, Plain, Segment, VicunaV1
from geochat.prompts.tasks import (
    CaptionPrompt,
    ChatPrompt,
    DetectionPrompt,
    GroundingPrompt,
    IdentifyPrompt,
    MultipleChoicePrompt,
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
    'DetectionPrompt',
    'GroundingPrompt',
    'IdentifyPrompt',
    'Llama2',
    'LlavaV1',
    'MultipleChoicePrompt',
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
