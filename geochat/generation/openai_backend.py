"""Answers from a server that speaks OpenAI's API: vLLM, SGLang, or GeoChat's own. No model is loaded here."""

import asyncio
import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from geochat.generation.backend import Backend, BackendError, Sample, Written
from geochat.generation.openai_chat import ChatProcessor, RemoteAnswer
from geochat.generation.requests import GenerationSettings
from geochat.installation import InstallationError
from geochat.registry import BACKENDS

KEY_VARIABLE = 'OPENAI_API_KEY'

FINISH = {'stop': 'end', 'length': 'length'}
"""Our names of why an answer ended. A server does not say whether one of the ``stop`` texts ended it."""

QUESTION_REFUSED = (400, 413, 422)
"""Statuses that are about the question. All others are about the server, and whatever it is asked."""

REPEATED = (408, 409, 429)
"""Statuses, beside those from 500 on, at which the client asks again."""

QUICK_RETRIES = 2
"""How often a server that has not answered yet is asked again: one that is not there shall soon be told."""

CONNECT_SECONDS = 10
"""Most time to reach a server."""

MAX_SHOWN = 300
"""Most characters that are shown of what a server says."""


@BACKENDS.register_module(name=['OpenAIBackend', 'openai'])
class OpenAIBackend(Backend):
    """Lets a server write the answers, many requests at a time.

    Prompts are rendered and answers read here; the server is sent dialogues, and has to write them as the model was
    trained. Confidences are those that it tells (``logprobs``). A server that is busy or fails is asked again after as
    long as it says, or a little longer each time; nothing is asked of any other server.

    Args:
        base_url: Where the server is, such as ``'http://127.0.0.1:8000/v1'``.
        model: What the server calls the model; None takes the only one that it has.
        batch_size: Most requests at a time.
        api_key_variable: Environment variable that holds the API key. The key itself is no setting, since settings are
            written into work directories.
        timeout: Most seconds from sending a request to the end of its answer, waits for a busy server included.
        max_retries: How often a request is repeated.
        logprobs: False asks for no log-probabilities, for servers that refuse to tell them: there are no confidences.

    Raises:
        InstallationError: If the package openai is missing.
        ValueError: If a setting cannot be.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        batch_size: int = 32,
        api_key_variable: str = KEY_VARIABLE,
        timeout: float = 300,
        max_retries: int = 8,
        logprobs: bool = True,
    ):
        self.base_url = _checked_url(base_url)
        for name, value, least in (('batch_size', batch_size, 1), ('max_retries', max_retries, 0)):
            if value < least:
                raise ValueError(f'{name} is at least {least}, not {value}')
        if not timeout > 0:
            raise ValueError(f'timeout is a number of seconds above 0, not {timeout!r}')
        self.batch_size, self.timeout, self.max_retries, self.logprobs = batch_size, timeout, max_retries, logprobs
        self.api_key_variable = api_key_variable
        self.processor = ChatProcessor()
        self._model, self._is_known = model, False
        self._client = _client(self.base_url, os.environ.get(api_key_variable), timeout, max_retries)
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open: dict[RemoteAnswer, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def origin(self) -> dict[str, str]:
        """The server and what it calls the model.

        Raises:
            BackendError: If it cannot be asked, or does not have it.
        """
        return {'server': self.base_url, 'model': self._run(self._known_model()).result()}

    def check(self, settings: GenerationSettings) -> None:
        """Refuse what OpenAI's API has no setting for; see :meth:`Backend.check`."""
        for name, holds in (
            ('num_beams', settings.num_beams > 1),
            ('box_grammar', settings.box_grammar),
            ('stop_at_box', settings.stop_at_box),
        ):
            if holds:
                raise ValueError(f"OpenAI's API has no setting {name}: leave it out, or take the built-in engine")
        if settings.max_new_tokens < 1:
            raise ValueError(f'max_new_tokens is at least 1 for a server, not {settings.max_new_tokens}')

    def submit(self, sample: Sample, settings: GenerationSettings, streamed: bool = False) -> RemoteAnswer:
        """Send a question; see :meth:`Backend.submit`."""
        self.check(settings)
        answer = RemoteAnswer(settings.max_new_tokens)
        self._open[answer] = None
        answer.request = self._run(self._write(answer, self._body(sample, settings), streamed))
        return answer

    def step(self) -> None:
        """Wait for something new of the answers that are being written; see :meth:`Backend.step`."""
        for answer in self._open:
            if answer.error is not None:
                del self._open[answer]
                # It is told now to whoever waits, and again by its result: others may wait for that one.
                answer.finish = 'failed'
                raise answer.error
        if self._open:
            self._news.get()()
        while not self._news.empty():
            self._news.get()()

    def cancel(self, answer: RemoteAnswer) -> None:
        """End an answer where it is, and its request; a server that notices writes no more."""
        answer.request.cancel()
        self._open.pop(answer, None)
        answer.finish = answer.finish or 'cancelled'

    def result(self, answer: RemoteAnswer) -> Written:
        """Return an answer that has ended; see :meth:`Backend.result`."""
        if answer.error is not None:
            raise answer.error
        return answer.written

    def _run(self, work: Any) -> Future:
        """Begin to do something in the thread that speaks with the server."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._slots, self._asking = asyncio.Semaphore(self.batch_size), asyncio.Lock()
            arguments = (self._loop, self._client)
            threading.Thread(target=_run_loop, args=arguments, name='geochat-openai', daemon=True).start()
            weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _body(self, sample: Sample, settings: GenerationSettings) -> dict[str, Any]:
        body = {
            **sample,
            'temperature': settings.temperature,
            'top_p': settings.top_p,
            'max_tokens': settings.max_new_tokens,
            'seed': settings.seed,
        }
        if settings.stop:
            body['stop'] = list(settings.stop)
        return {**body, 'logprobs': True} if self.logprobs else body

    async def _write(self, answer: RemoteAnswer, body: Mapping[str, Any], streamed: bool) -> None:
        """Get an answer, and put what is new of it, or why there is none, among the news."""
        ask = self._stream if streamed else self._whole
        try:
            async with self._slots:
                model = await self._known_model()
                reason = await asyncio.wait_for(ask(answer, {**body, 'model': model}), self.timeout)
            self._news.put(lambda: self._end(answer, reason))
        except Exception as error:  # a server may answer anything
            failure = self._told(error)
            self._news.put(lambda: self._fail(answer, failure))

    async def _whole(self, answer: RemoteAnswer, body: Mapping[str, Any]) -> str | None:
        reply = await self._client.chat.completions.create(**body)
        if not getattr(reply, 'choices', None):
            raise BackendError(f'{self.base_url} answered what is no chat completion: {self._shown(reply)!r}')
        choice = reply.choices[0]
        text, tokens = choice.message.content or '', _tokens(choice)
        self._news.put(lambda: answer.add(text, tokens, reply.usage))
        return choice.finish_reason

    async def _stream(self, answer: RemoteAnswer, body: Mapping[str, Any]) -> str | None:
        options = {'stream': True, 'stream_options': {'include_usage': True}}
        reason = None
        async with await self._client.chat.completions.create(**body, **options) as stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    text, tokens = choice.delta.content or '', _tokens(choice)
                    self._news.put(lambda text=text, tokens=tokens: answer.add(text, tokens, None))
                    reason = choice.finish_reason or reason
                if chunk.usage is not None:
                    self._news.put(lambda usage=chunk.usage: answer.add('', (), usage))
        return reason

    async def _known_model(self) -> str:
        """Return what the server calls the model, after it was asked once what it has."""
        async with self._asking:
            if not self._is_known:
                try:
                    listed = await asyncio.wait_for(self._listed(), self.timeout)
                    self._model = _chosen(self._model, listed, self.base_url)
                except Exception as error:
                    raise self._told(error, of_question=False) from None
                self._is_known = True
            return self._model

    async def _listed(self) -> list[str]:
        """Return the names of the server's models; none if it does not tell."""
        import openai

        client = self._client.with_options(max_retries=min(QUICK_RETRIES, self.max_retries))
        with contextlib.suppress(openai.NotFoundError):
            return [model.id for model in (await client.models.list()).data]
        return []

    def _end(self, answer: RemoteAnswer, reason: str | None) -> None:
        """Take that the server wrote all it wanted to."""
        if reason is None:
            self._fail(answer, BackendError(f'{self.base_url} ended an answer before it was whole'))
        elif answer.is_too_long:
            told = f'{self.base_url} wrote more than the {answer.max_tokens} tokens that were asked for'
            self._fail(answer, BackendError(f'{told}: it does not heed max_tokens'))
        elif answer.finish is None:
            self._open.pop(answer, None)
            answer.finish = FINISH.get(reason, reason)

    def _fail(self, answer: RemoteAnswer, error: BackendError | ValueError) -> None:
        """Take that there will be no answer: for that question, or for whatever is asked (told by the next step)."""
        if answer.finish is not None:
            return
        answer.error = error
        if not isinstance(error, BackendError):
            self._open.pop(answer, None)
            answer.finish = 'refused'

    def _told(self, error: Exception, of_question: bool = True) -> BackendError | ValueError:
        """Put into words what went wrong with a question, or with what is asked of the server beside."""
        import openai

        url = self.base_url
        if isinstance(error, BackendError):
            return error
        is_connecting = 'Connect' in type(error.__cause__).__name__
        if isinstance(error, openai.APITimeoutError | asyncio.TimeoutError) and not is_connecting:
            return BackendError(f'{url} has not answered within {self.timeout:g} seconds')
        if isinstance(error, openai.APIConnectionError):
            return BackendError(f'{url} cannot be reached ({error.__cause__ or error}): is the server running?')
        if not isinstance(error, openai.APIStatusError):
            return BackendError(f'{url} did not answer as the API says: {type(error).__name__}: {self._quoted(error)}')
        status, said = error.status_code, self._quoted(error)
        if of_question and status in QUESTION_REFUSED:
            return ValueError(f'{url} refuses the question ({status}): {said}')
        if status in (401, 403):
            where = f'it is read from the environment variable {self.api_key_variable}'
            return BackendError(f'{url} refuses the API key ({status}): {said}; {where}')
        if status == 404:
            return BackendError(f'{url} has no such model or path (404): {said}')
        if status in REPEATED or status >= 500:
            return BackendError(f'{url} is busy or fails, after {self.max_retries} more tries too ({status}): {said}')
        return BackendError(f'{url} does not take questions ({status}): {said}')

    def _quoted(self, error: Exception) -> str:
        """Return what a server says of an error."""
        body = getattr(error, 'body', None)
        return self._shown(body.get('message') or body if isinstance(body, Mapping) else error)

    def _shown(self, said: Any) -> str:
        """Return what a server says in a short line and without the key, of which a cut must leave no part either."""
        text, key = ' '.join(str(said).split()), os.environ.get(self.api_key_variable)
        return (text.replace(key, '...') if key else text)[:MAX_SHOWN]


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise ValueError(f'base_url is an address such as http://127.0.0.1:8000/v1, not {url!r}')
    if parts.username or parts.password or parts.query:
        raise ValueError('base_url has no user, password or query: it is written into work directories')
    return url.rstrip('/')


def _client(url: str, key: str | None, timeout: float, max_retries: int) -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise InstallationError("the back end 'openai' needs a package: pip install 'geochat[openai]'") from error
    limits = openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key or 'none',  # a server that asks for no key ignores it; the client wants one
        timeout=limits,
        max_retries=max_retries,
        http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),  # pictures go to this server only
    )


def _run_loop(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    """Run an event loop until it is stopped, and leave no connection open."""
    asyncio.set_event_loop(loop)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    try:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())  # streams that were given up
        with contextlib.suppress(Exception):  # a connection may be broken already
            loop.run_until_complete(client.close())
    finally:
        loop.close()


def _chosen(model: str | None, listed: Sequence[str], url: str) -> str:
    """Return the name of the model to ask.

    Raises:
        BackendError: If the server does not have it, or none is named and it has not one.
    """
    names = ', '.join(listed) or 'none that it tells of (most servers answer at an address that ends with /v1)'
    if model is None and len(listed) != 1:
        raise BackendError(f'name the model that {url} is to answer with; it has {names}')
    if model is not None and listed and model not in listed:
        raise BackendError(f'{url} has no model {model!r}; it has {names}')
    return model or listed[0]


def _tokens(choice: Any) -> Sequence[Any]:
    """Return what a choice tells of its tokens."""
    return (choice.logprobs and choice.logprobs.content) or ()
