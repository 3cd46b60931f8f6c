"""Answers in the shape of OpenAI's API, and of grounding."""

import functools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
from fastapi.responses import StreamingResponse

from geochat.apis import Assistant
from geochat.generation import Generated, Request, box_scores, token_ends
from geochat.generation.grammar import token_bytes
from geochat.generation.text import DAMAGED
from geochat.serving.worker import Event
from geochat.structures.polygons import box_corners

FINISH = {'end': 'stop', 'stop': 'stop', 'box': 'stop', 'length': 'length', 'cancelled': 'stop'}
"""OpenAI's names of why an answer ended."""


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return how many tokens came and went."""
    return {'prompt_tokens': prompt, 'completion_tokens': completion, 'total_tokens': prompt + completion}


class ChatReply:
    """A chat completion, whole or in pieces.

    Args:
        served: The model.
        requests: What was asked, one for each choice.
        logprobs: True also tells how likely each token was.
    """

    def __init__(self, served: Assistant, requests: Sequence[Request], logprobs: bool):
        self.served, self.logprobs = served, logprobs
        self.prompt_tokens = requests[0].num_tokens(served.model.vision_encoder)
        self.id, self.created = f'chatcmpl-{uuid.uuid4().hex}', int(time.time())
        self._last_ids: list[list[int]] = [[] for _ in requests]
        self._completion_tokens = 0

    def whole(self, answers: Sequence[Generated]) -> dict[str, Any]:
        """Return the answers as one object."""
        choices = [
            {
                'index': index,
                'message': {'role': 'assistant', 'content': answer.text, 'refusal': None},
                'logprobs': self._log_probs([], answer.ids, answer.log_probs),
                'finish_reason': FINISH[answer.finish],
            }
            for index, answer in enumerate(answers)
        ]
        tokens = usage(self.prompt_tokens, sum(len(answer.ids) for answer in answers))
        return {**self._head('chat.completion'), 'choices': choices, 'usage': tokens}

    def begin(self, choice: int) -> dict[str, Any]:
        """Return the chunk that says who speaks."""
        return self._chunk(choice, {'role': 'assistant', 'content': ''})

    def pieces(self, event: Event) -> list[dict[str, Any]]:
        """Return the chunks of what is new of an answer."""
        before = self._last_ids[event.choice]
        chunks = []
        if event.text or (self.logprobs and event.ids):
            log_probs = self._log_probs(before, event.ids, event.log_probs)
            chunks.append(self._chunk(event.choice, {'content': event.text}, log_probs))
        self._last_ids[event.choice] = [*before, *event.ids][-1:]
        self._completion_tokens += len(event.ids)
        if event.result:
            chunks.append(self._chunk(event.choice, {}, finish=FINISH[event.result.finish]))
        return chunks

    def usage_chunk(self) -> dict[str, Any]:
        """Return the chunk that counts tokens, once all answers have ended."""
        tokens = usage(self.prompt_tokens, self._completion_tokens)
        return {**self._head('chat.completion.chunk'), 'choices': [], 'usage': tokens}

    def _head(self, kind: str) -> dict[str, Any]:
        return {'id': self.id, 'object': kind, 'created': self.created, 'model': self.served.name}

    def _chunk(
        self, choice: int, delta: dict[str, Any], log_probs: dict | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        content = {'index': choice, 'delta': delta, 'logprobs': log_probs, 'finish_reason': finish}
        return {**self._head('chat.completion.chunk'), 'choices': [content]}

    def _log_probs(self, before: list[int], ids: Sequence[int], log_probs: Sequence[float]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        tokenizer = self.served.processor.tokenizer
        content = [
            {'token': text, 'logprob': log_prob, 'bytes': list(data), 'top_logprobs': []}
            for (text, data), log_prob in zip(token_texts(tokenizer, before, ids), log_probs, strict=True)
        ]
        return {'content': content, 'refusal': None}


def token_texts(tokenizer: Any, before: Sequence[int], ids: Sequence[int]) -> list[tuple[str, bytes]]:
    """Return the characters of each token and their UTF-8.

    Of a part of a character, the characters are the mark of damage or none, and the bytes its own.

    Args:
        tokenizer: The tokenizer.
        before: The token before the first, or none: whether a token begins with a space depends on it.
        ids: The tokens.
    """
    texts = []
    context = list(before)[-1:]
    for token in ids:
        known = tokenizer.decode(context, skip_special_tokens=True)
        text = tokenizer.decode([*context, token], skip_special_tokens=True)[len(known) :]
        is_part = not text or DAMAGED in text
        texts.append((text, _bytes_of_tokens(tokenizer)[token] if is_part else text.encode()))
        context = [token]
    return texts


@functools.lru_cache(maxsize=1)
def _bytes_of_tokens(tokenizer: Any) -> list[bytes]:
    return token_bytes(tokenizer)


def grounding(served: Assistant, request: Request, answer: Generated, size: tuple[int, int]) -> dict[str, Any]:
    """Return where a model says that something is.

    Args:
        served: The model.
        request: What was asked.
        answer: What it wrote.
        size: Width and height of the picture in pixels.

    Returns:
        ``boxes`` in pixels of the picture that was sent, angles in degrees, clockwise, each with score and confidence
        in [0, 1] and its corners; the answer's ``text``, and whether it was ``malformed``.
    """
    parsed = served.task_prompts['refer'].parse(answer.text, served.box_codec, size)
    scores = box_scores(parsed.grounded.spans, token_ends(answer.ids, served.processor.tokenizer), answer.log_probs)
    return {
        'object': 'grounding',
        'model': served.name,
        'image_size': {'width': size[0], 'height': size[1]},
        'boxes': [_box(*one) for one in zip(parsed.boxes, scores.products, scores.means, strict=True)],
        'text': answer.text,
        'malformed': parsed.malformed,
        'diagnostics': [diagnostic.code for diagnostic in parsed.grounded.diagnostics],
        'finish_reason': FINISH[answer.finish],
        'usage': usage(request.num_tokens(served.model.vision_encoder), len(answer.ids)),
    }


def _box(box: np.ndarray, score: float, confidence: float) -> dict[str, Any]:
    cx, cy, width, height = (round(float(value), 3) for value in box[:4])
    return {
        'cx': cx,
        'cy': cy,
        'width': width,
        'height': height,
        'angle': round(float(np.degrees(box[4])), 3),
        'corners': box_corners(box[None])[0].round(3).tolist(),
        'score': round(score, 6),
        'confidence': round(confidence, 6),
    }


class EventStream(StreamingResponse):
    """Server-sent events.

    Args:
        events: The events.
        at_end: Called at the end; also if the client has gone before the first event, and none is asked for.
    """

    def __init__(self, events: AsyncIterator[str], at_end: Callable[[], None]):
        super().__init__(events, media_type='text/event-stream', headers={'Cache-Control': 'no-cache'})
        self._at_end = at_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._at_end()


def server_sent(data: Any) -> str:
    """Write an object as a server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(',', ':'))
    return f'data: {text}\n\n'
