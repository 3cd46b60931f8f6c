"""Chat templates: how an LLM family writes a dialogue, in pieces that say who speaks.

A template cuts a dialogue into segments. Joined, they are the text the LLM was trained on; which tokens carry loss
follows from the segment they lie in, so no template counts tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from geochat.registry import CHAT_TEMPLATES
from geochat.structures import IMAGE_PLACEHOLDER, Message


@dataclass(frozen=True)
class Segment:
    """A piece of a dialogue's text.

    Attributes:
        text: The piece as written; image placeholders stand in it as :data:`IMAGE_PLACEHOLDER`.
        supervised: True if its tokens carry loss: the assistant's words and what ends them.
        control: True if the whole text is one control token of the LLM, such as ``</s>``. The same characters in any
            other segment are plain text, so that no user and no file can end a turn.
    """

    text: str
    supervised: bool = False
    control: bool = False


class ChatTemplate(ABC):
    """How an LLM family writes a dialogue.

    The tokenizer puts the beginning-of-text token before the first segment.

    Attributes:
        stop: Control token that ends the assistant's turn.
    """

    stop: ClassVar[str] = '</s>'

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Write a dialogue.

        Args:
            messages: User and assistant in turn, the user first. If the user speaks last, the segments end where the
                assistant's next words begin: a prompt.

        Raises:
            ValueError: If the dialogue is empty or its roles do not alternate.
        """
        check_turns(messages)
        return self._write(messages)

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the dialogue as one text, for people to read."""
        return ''.join(segment.text for segment in self.segments(messages))

    @abstractmethod
    def _write(self, messages: Sequence[Message]) -> list[Segment]:
        """Write a dialogue whose turns have been checked."""


def check_turns(messages: Sequence[Message]) -> None:
    """Refuse a dialogue that is empty or whose roles do not alternate, user first.

    Raises:
        ValueError: Names the turn, counted from 1.
    """
    if not messages:
        raise ValueError('a dialogue needs at least one turn')
    for turn, message in enumerate(messages):
        expected = ('user', 'assistant')[turn % 2]
        if message.role != expected:
            raise ValueError(f'turn {turn + 1} of the dialogue is the {message.role}, not the {expected}')


@CHAT_TEMPLATES.register_module(name=['VicunaV1', 'vicuna_v1'])
class VicunaV1(ChatTemplate):
    """Vicuna 1.1 and 1.5, the template GeoChat was trained with: ``SYSTEM USER: ... ASSISTANT: ...</s>USER: ...``.

    Args:
        system: The sentence before the first turn; empty for none.
    """

    def __init__(
        self,
        system: str = 'A chat between a curious user and an artificial intelligence assistant. '
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    ):
        self.system = system

    def _write(self, messages: Sequence[Message]) -> list[Segment]:
        segments = []
        for turn, message in enumerate(messages):
            if message.role == 'user':
                system = f'{self.system} ' if turn == 0 and self.system else ''
                segments.append(Segment(f'{system}USER: {message.text} ASSISTANT:'))
            else:
                segments += [Segment(f' {message.text}', supervised=True), _end_of_turn(self.stop)]
        return segments


@CHAT_TEMPLATES.register_module(name=['LlavaV1', 'llava_v1'])
class LlavaV1(VicunaV1):
    """Vicuna's template with LLaVA's system sentence, with which GeoChat was evaluated."""

    def __init__(
        self,
        system: str = 'A chat between a curious human and an artificial intelligence assistant. '
        "The assistant gives helpful, detailed, and polite answers to the human's questions.",
    ):
        super().__init__(system)


@CHAT_TEMPLATES.register_module(name=['Llama2', 'llama_2'])
class Llama2(ChatTemplate):
    """Llama 2 chat: ``[INST] <<SYS>>...<</SYS>> ... [/INST] ... </s><s>[INST] ...``.

    Args:
        system: The text between the system marks; empty for none.
    """

    def __init__(
        self,
        system: str = 'You are a helpful language and vision assistant. You are able to understand the visual content '
        'that the user provides, and assist the user with a variety of tasks using natural language.',
    ):
        self.system = system

    def _write(self, messages: Sequence[Message]) -> list[Segment]:
        segments = []
        for turn, message in enumerate(messages):
            if message.role == 'user':
                system = f'<<SYS>>\n{self.system}\n<</SYS>>\n\n' if turn == 0 and self.system else ''
                if turn:
                    segments.append(Segment('<s>', control=True))
                segments.append(Segment(f'[INST] {system}{message.text} [/INST]'))
            else:
                segments += [Segment(f' {message.text} ', supervised=True), _end_of_turn(self.stop)]
        return segments


@CHAT_TEMPLATES.register_module(name=['Plain', 'plain'])
class Plain(ChatTemplate):
    """Pictures and their captions, for projector pretraining: the user's turn is reduced to its pictures.

    LLaVA's first stage ends a caption with a line break and no control token.
    """

    def _write(self, messages: Sequence[Message]) -> list[Segment]:
        segments = []
        for message in messages:
            if message.role == 'user':
                segments.append(Segment(IMAGE_PLACEHOLDER * message.text.count(IMAGE_PLACEHOLDER)))
            else:
                segments.append(Segment(f'{message.text}\n', supervised=True))
        return segments


def _end_of_turn(token: str) -> Segment:
    return Segment(token, supervised=True, control=True)
