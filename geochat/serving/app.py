"""The application: what is answered at which path. Pictures are prepared in threads, answers written by the worker."""

import asyncio
import functools
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from geochat import generation
from geochat.apis import Assistant, PictureSettings
from geochat.generation import GenerationSettings
from geochat.prompts.chat import check_turns
from geochat.serving.errors import APIError, bad_request, error_response, time_is_over
from geochat.serving.hosts import HostCheck, HostNames
from geochat.serving.limits import Limits
from geochat.serving.metrics import Measured, Metrics
from geochat.serving.pictures import PreparedPictures
from geochat.serving.replies import ChatReply, EventStream, grounding, server_sent
from geochat.serving.schema import ChatMessage, ChatRequest, GroundRequest, ImagePart, read_body
from geochat.serving.worker import Job, Places, Worker
from geochat.structures import IMAGE_PLACEHOLDER, Message, with_pictures

PREPARING_THREADS = 2
"""Pictures that are decoded at the same time: few, since each may take hundreds of megabytes."""

Done = TypeVar('Done')


def create_app(
    worker: Worker,
    limits: Limits,
    host_names: HostNames,
    api_key: str | None = None,
    pictures: PictureSettings | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        worker: Loads the model and writes the answers; the application starts and closes it.
        limits: How much is taken.
        host_names: The names that are answered to.
        api_key: What clients send as ``Authorization: Bearer KEY``; None asks for none.
        pictures: What pictures are taken, and how.
    """
    server = APIServer(worker, limits, api_key, pictures or PictureSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await asyncio.to_thread(worker.close)
        server.preparing.shutdown()

    app = FastAPI(title='GeoChat', lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route('/health', server.health, methods=['GET'])
    with_key = {'dependencies': [Depends(server.check_key)]}
    app.add_api_route('/metrics', server.metrics_text, methods=['GET'], **with_key)
    app.add_api_route('/v1/models', server.list_models, methods=['GET'], **with_key)
    app.add_api_route('/v1/models/{name:path}', server.get_model, methods=['GET'], **with_key)
    app.add_api_route('/v1/chat/completions', server.chat, methods=['POST'], **with_key)
    app.add_api_route('/v1/ground', server.ground, methods=['POST'], **with_key)
    app.add_exception_handler(APIError, error_response)
    app.add_exception_handler(HTTPException, _http_error_response)
    app.add_exception_handler(Exception, _defect_response)
    server.metrics.watch(worker)
    worker.on_end = server.metrics.count_answer
    app.add_middleware(HostCheck, names=host_names)
    app.add_middleware(Measured, metrics=server.metrics)
    return app


class APIServer:
    """What is answered at each path; see :func:`create_app`."""

    def __init__(self, worker: Worker, limits: Limits, api_key: str | None, pictures: PictureSettings):
        self.worker, self.limits, self.api_key = worker, limits, api_key
        self.pictures = PreparedPictures(pictures)
        self.metrics = Metrics(['/health', '/metrics', '/v1/models', '/v1/chat/completions', '/v1/ground'])
        self.preparing = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix='geochat-preparing')
        self.created = int(time.time())

    async def check_key(self, request: Request) -> None:
        """Refuse a request without the key."""
        if self.api_key is None:
            return
        given = request.headers.get('authorization', '').removeprefix('Bearer ')
        if not hmac.compare_digest(given.encode(), self.api_key.encode()):
            raise APIError(401, 'the API key is missing or wrong (Authorization: Bearer KEY)', 'invalid_api_key')

    async def health(self) -> dict[str, str]:
        """Tell whether questions are answered: 503 while they are not."""
        return {'status': 'ready', 'model': self.worker.ready().name}

    async def metrics_text(self) -> Response:
        """Return what was counted."""
        return Response(self.metrics.text(), media_type='text/plain; version=0.0.4; charset=utf-8')

    async def list_models(self) -> dict[str, Any]:
        """Name the one model there is."""
        return {'object': 'list', 'data': [self._model()]}

    async def get_model(self, name: str) -> dict[str, Any]:
        """Describe a model."""
        self._check_name(name)
        return self._model()

    async def chat(self, request: Request) -> Response:
        """Go on with a dialogue."""
        return await self._answer(request, self._chat)

    async def ground(self, request: Request) -> Response:
        """Tell where on a picture something is."""
        return await self._answer(request, self._ground)

    async def _answer(self, request: Request, work: Callable[[bytes, Places, float], Awaitable[Response]]) -> Response:
        """Do a request's work; give it up if its time is over or the client has gone."""
        deadline = time.monotonic() + self.limits.answer_seconds
        with self.worker.places(1) as places:
            body = await self._body(request)
            task = asyncio.ensure_future(work(body, places, deadline))
            gone = asyncio.ensure_future(_client_gone(request))
            try:
                await asyncio.wait(
                    {task, gone}, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
                )
                if task.done():
                    return task.result()
                raise APIError(499, 'the client has gone', 'client_gone') if gone.done() else time_is_over()
            finally:
                task.cancel()
                gone.cancel()

    async def _chat(self, data: bytes, places: Places, deadline: float) -> Response:
        body = read_body(ChatRequest, data)
        served = self._check_name(body.model)
        settings = self._settings(body)
        places.extend(body.n - 1)
        sample = await self._prepare(lambda: self._chat_sample(served, body.messages))
        requests = [generation.Request.of_sample(sample, one) for one in settings]
        reply = ChatReply(served, requests, body.logprobs)
        self.metrics.prompt_tokens.inc(reply.prompt_tokens)
        job = Job(requests, body.stream)
        self.worker.submit(job, places)
        try:
            await job.accepted
            if not body.stream:
                return JSONResponse(reply.whole(await job.results(deadline)))
        except BaseException:
            self.worker.cancel(job)
            raise
        stream = self._stream(job, reply, body.stream_options.include_usage, deadline)
        return EventStream(stream, at_end=lambda: self.worker.cancel(job))

    async def _stream(self, job: Job, reply: ChatReply, tell_usage: bool, deadline: float) -> AsyncIterator[str]:
        try:
            for choice in range(len(job.requests)):
                yield server_sent(reply.begin(choice))
            writing = len(job.requests)
            while writing:
                event = await job.next(deadline)
                writing -= event.result is not None
                for chunk in reply.pieces(event):
                    yield server_sent(chunk)
            if tell_usage:
                yield server_sent(reply.usage_chunk())
            yield server_sent('[DONE]')
        except APIError as error:
            yield server_sent(error.body)

    async def _ground(self, data: bytes, places: Places, deadline: float) -> Response:
        body = read_body(GroundRequest, data)
        served = self.worker.ready() if body.model is None else self._check_name(body.model)
        settings = GenerationSettings(self._max_tokens(body.max_tokens, 'max_tokens'), box_grammar=True)
        sample = await self._prepare(lambda: self._ground_sample(served, body))
        question = generation.Request.of_sample(sample, settings)
        self.metrics.prompt_tokens.inc(question.num_tokens(served.model.vision_encoder))
        job = Job([question], streamed=False)
        self.worker.submit(job, places)
        try:
            await job.accepted
            (answer,) = await job.results(deadline)
        except BaseException:
            self.worker.cancel(job)
            raise
        size = sample['geometries'][0].image_size
        return JSONResponse(await self._prepare(lambda: grounding(served, question, answer, size)))

    async def _body(self, request: Request) -> bytes:
        """Read a request's body, as long as it is neither too large nor too slow."""
        kind = request.headers.get('content-type', '').partition(';')[0].strip().lower()
        if kind != 'application/json':  # what a page in a browser may send anywhere without asking is none
            raise APIError(415, f'the body is application/json, not {kind!r}', 'unsupported_media_type')
        try:
            return await asyncio.wait_for(self._read(request), self.limits.read_seconds)
        except asyncio.TimeoutError:
            message = f'the body did not arrive within {self.limits.read_seconds:g} seconds'
            raise APIError(408, message, 'body_timeout') from None
        except ClientDisconnect:
            raise APIError(499, 'the client has gone', 'client_gone') from None

    async def _read(self, request: Request) -> bytes:
        most = int(self.limits.max_body_mb * 2**20)
        length = request.headers.get('content-length', '')
        pieces, size = [], int(length) if length.isdecimal() else 0
        if size <= most:
            size = 0
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    break
                pieces.append(piece)
        if size > most:
            raise APIError(413, f'the body has more than {self.limits.max_body_mb:g} MB', 'body_too_large')
        return b''.join(pieces)

    async def _prepare(self, work: Callable[[], Done]) -> Done:
        """Do what takes the processor for a while in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.preparing, work)

    def _chat_sample(self, served: Assistant, messages: Sequence[ChatMessage]) -> dict[str, Any]:
        """Prepare a dialogue and its pictures."""
        urls: list[tuple[str, str]] = []
        dialogue: list[Message] = []
        system = ''
        for number, message in enumerate(messages):
            text, pictures = _parts(message, f'messages[{number}]')
            _check_length(text, served, f'messages[{number}].content')
            if message.role in ('system', 'developer'):
                if dialogue or pictures:
                    raise bad_request('a system message stands first and has no pictures', f'messages[{number}]')
                system += f'{text}\n'
                continue
            if message.role == 'assistant' and pictures:
                raise bad_request('an assistant message has no pictures', f'messages[{number}]')
            if message.role == 'user' and not text.strip():
                raise bad_request('the question is empty', f'messages[{number}].content')
            first = system if not dialogue else ''
            dialogue.append(Message(message.role, with_pictures(first + text, len(pictures))))
            urls += pictures
        _check_dialogue(dialogue)
        _at_most(len(urls), self.limits.max_pictures, 'messages', 'pictures')
        images = [self.pictures.prepare(url, served.processor, place) for url, place in urls]
        return served.processor.prompt_sample(dialogue, images)

    def _ground_sample(self, served: Assistant, body: GroundRequest) -> dict[str, Any]:
        """Prepare a picture and the question where something is."""
        _no_placeholder(body.phrase, 'phrase')
        _check_length(body.phrase, served, 'phrase')
        image = self.pictures.prepare(body.image, served.processor, 'image')
        size = image.geometry.image_size
        words = served.task_prompts['refer'].render({'phrase': body.phrase.strip()}, served.box_codec, size)
        return served.processor.prompt_sample([Message('user', with_pictures(words, 1))], [image])

    def _settings(self, body: ChatRequest) -> list[GenerationSettings]:
        """Return how each choice is to be written; each has a seed of its own."""
        _at_most(body.n, self.limits.max_choices, 'n')
        if None not in (body.max_tokens, body.max_completion_tokens):
            raise bad_request('max_tokens and max_completion_tokens say the same; give one of them', 'max_tokens')
        name = 'max_tokens' if body.max_tokens is not None else 'max_completion_tokens'
        most = self._max_tokens(getattr(body, name), name)
        seed = secrets.randbits(63) if body.seed is None else body.seed % 2**64
        return [
            GenerationSettings(most, body.temperature, body.top_p, seed + choice, stop=tuple(body.stop))
            for choice in range(body.n)
        ]

    def _max_tokens(self, asked: int | None, name: str) -> int:
        if asked is not None:
            _at_most(asked, self.limits.max_tokens, name)
        return asked or self.limits.max_tokens

    def _check_name(self, name: str) -> Assistant:
        served = self.worker.ready()
        if name != served.name:
            raise APIError(404, f'there is no model {name!r}; it is {served.name!r}', 'model_not_found', 'model')
        return served

    def _model(self) -> dict[str, Any]:
        return {'id': self.worker.ready().name, 'object': 'model', 'created': self.created, 'owned_by': 'geochat'}


def _parts(message: ChatMessage, place: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a message's words, and the URL of each of its pictures with its place in the request."""
    texts, pictures = [], []
    for number, part in enumerate(message.content):
        if isinstance(part, ImagePart):
            pictures.append((part.image_url.url, f'{place}.content[{number}].image_url.url'))
        else:
            texts.append(_no_placeholder(part.text, f'{place}.content'))
    return '\n'.join(texts), pictures


def _no_placeholder(text: str, place: str) -> str:
    if IMAGE_PLACEHOLDER in text:
        raise bad_request(f'{IMAGE_PLACEHOLDER!r} stands for a picture and cannot be part of the words', place)
    return text


def _check_length(text: str, served: Assistant, place: str) -> None:
    """Refuse a text that has too many tokens whatever they are, before it is cut into them: megabytes take minutes."""
    limit = served.model.llm.context_length
    if limit is not None and len(text) > limit * _longest_piece(served.processor.tokenizer):
        message = f"a text of {len(text)} characters does not fit into the LLM's context of {limit} tokens"
        raise bad_request(message, place, 'context_length_exceeded')


@functools.lru_cache(maxsize=1)
def _longest_piece(tokenizer: Any) -> int:
    """Return how many characters the longest token has."""
    return max(map(len, tokenizer.get_vocab()))


def _check_dialogue(dialogue: Sequence[Message]) -> None:
    try:
        check_turns(dialogue)
    except ValueError as error:
        raise bad_request(str(error), 'messages') from error
    if dialogue[-1].role != 'user':
        raise bad_request('the last message is to be from the user', 'messages')


def _at_most(value: int, most: int, param: str, what: str | None = None) -> None:
    if value > most:
        raise bad_request(f'{what or param} may be {most} at most, not {value}', param)


async def _client_gone(request: Request) -> None:
    while (await request.receive())['type'] != 'http.disconnect':
        pass


async def _http_error_response(request: Request, error: HTTPException) -> JSONResponse:
    place = f'{request.method} {request.url.path}'
    message = f'there is no {place}' if error.status_code in (404, 405) else f'{place}: {error.detail}'
    answer = APIError(error.status_code, message, 'not_found' if error.status_code == 404 else 'http_error')
    return JSONResponse(answer.body, answer.status, error.headers)


async def _defect_response(request: Request, error: Exception) -> JSONResponse:
    return APIError(500, 'the server has a defect; its log says which', 'defect').response
