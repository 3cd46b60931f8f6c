"""Prompts: task prompt templates, chat templates, and text to token ids and labels."""

from geochat.prompts.chat import ChatTemplate, Llama2, LlavaV1, Plain, Segment, VicunaV1
from geochat.prompts.tokenization import TokenizedDialogue, load_tokenizer, tokenize_dialogue

__all__ = [
    'ChatTemplate',
    'Llama2',
    'LlavaV1',
    'Plain',
    'Segment',
    'TokenizedDialogue',
    'VicunaV1',
    'load_tokenizer',
    'tokenize_dialogue',
]
