"""What is sent to a server that speaks OpenAI's API, and what comes back: messages, and answers piece by piece."""

import base64
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from geochat.generation.backend import BackendError, Sample, Written
from geochat.generation.confidence import piece_ends
from geochat.structures import IMAGE_PLACEHOLDER, Message

if TYPE_CHECKING:
    from PIL import Image


class ChatProcessor:
    """Puts dialogues into the messages of OpenAI's API, pictures as data URLs of PNG, which loses nothing."""

    def prepare(self, image: 'Image.Image') -> str:
        """Write a picture, RGB, as a data URL."""
        buffer = io.BytesIO()
        image.save(buffer, 'PNG', compress_level=1)  # higher levels save few bytes and take much longer
        return f'data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'

    def prompt_sample(self, messages: Sequence[Message], images: Sequence['Image.Image | str']) -> Sample:
        """Prepare a dialogue.

        Args:
            messages: User and assistant in turn; the user speaks last.
            images: Pictures, or what :meth:`prepare` made of them, in the order of the image placeholders.

        Raises:
            ValueError: If pictures and placeholders do not match.
        """
        urls = [image if isinstance(image, str) else self.prepare(image) for image in images]
        count = sum(message.text.count(IMAGE_PLACEHOLDER) for message in messages)
        if count != len(urls):
            raise ValueError(f'the prompt has {count} image placeholders and {len(urls)} pictures')
        left = iter(urls)
        return {'messages': [{'role': one.role, 'content': self._content(one.text, left)} for one in messages]}

    def _content(self, text: str, urls: Iterator[str]) -> str | list[dict[str, Any]]:
        """Return the parts of a message: words, and a picture wherever a placeholder stands, with its line's end."""
        first, *rest = text.split(IMAGE_PLACEHOLDER)
        if not rest:
            return text
        parts = [{'type': 'text', 'text': first}] if first else []
        for words in rest:
            parts.append({'type': 'image_url', 'image_url': {'url': next(urls)}})
            if words := words.removeprefix('\n'):
                parts.append({'type': 'text', 'text': words})
        return parts


class RemoteAnswer:
    """An answer that a server is writing.

    Attributes:
        finish: Why it ended; None while it is being written.
        error: Why there will be no answer: a ``ValueError`` if the question cannot be asked, a ``BackendError`` if the
            server is at fault.
    """

    def __init__(self, max_tokens: int):
        self.finish: str | None = None
        self.error: BackendError | ValueError | None = None
        self.max_tokens = max_tokens
        self.request: Future | None = None
        self._text, self._taken = '', 0
        self._count: int | None = None
        self._pieces: list[bytes] = []
        self._log_probs: list[float] = []

    def add(self, text: str, tokens: Sequence[Any], usage: Any) -> None:
        """Take what has come: characters, what is told of tokens, and how many there were."""
        self._text += text
        for token in tokens:
            self._pieces.append(token.token.encode() if token.bytes is None else bytes(token.bytes))
            self._log_probs.append(token.logprob)
        if usage is not None:
            self._count = usage.completion_tokens

    def take_text(self) -> str:
        """Return the text that has come since the last call, white space around the whole left out."""
        text = self._text.rstrip()
        start = max(self._taken, len(text) - len(text.lstrip()))
        self._taken = max(start, len(text))
        return text[start:]

    @property
    def is_too_long(self) -> bool:
        """True if it has more tokens than were asked for."""
        return max(len(self._pieces), self._count or 0) > self.max_tokens

    @property
    def written(self) -> Written:
        """The answer, once it has ended."""
        text = self._text.strip()
        count = len(self._pieces) or None if self._count is None else self._count
        if not self._pieces:
            return Written(text, self.finish, count, [] if count == 0 else None)
        return Written(text, self.finish, count, self._log_probs, lambda: piece_ends(self._pieces, text))
