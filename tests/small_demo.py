"""The demo with a model of a few thousand weights, in a thread of the tests' own process."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from server_thread import ServerThread
from small_server import small_served_model

from geochat.apis import Assistant, PictureSettings
from geochat.apis.loading import TASKS
from geochat.engine import load_config
from geochat.registry import TASK_PROMPT_TEMPLATES
from geochat.serving import Limits
from geochat.serving.demo.app import DemoApp
from geochat.serving.demo.listening import DemoServer
from geochat.serving.hosts import HostNames
from geochat.serving.worker import Worker


def small_demo_model() -> Assistant:
    """The small model with all tasks of GeoChat."""
    tasks = load_config(TASKS).to_dict()['task_prompts']
    prompts = {name: TASK_PROMPT_TEMPLATES.build(settings) for name, settings in tasks.items()}
    return replace(small_served_model(), task_prompts=prompts)


class Prompter:
    """Tells a model what to write; without being told, it writes what its weights say.

    Args:
        assistant: The model; one answer at a time is written while it is told.
    """

    def __init__(self, assistant: Assistant):
        self.assistant = assistant
        self.ids: list[int] = []
        self.seconds = 0.0
        self._logits = assistant.model.llm.logits
        assistant.model.llm.logits = self._told

    def say(self, text: str) -> None:
        """Let the next answer be a text."""
        tokenizer = self.assistant.processor.tokenizer
        self.ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]

    def _told(self, rows: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        logits = self._logits(rows)
        if self.ids:
            logits[..., self.ids.pop(0)] += 1000
        return logits


class RunningDemo(ServerThread):
    """A demo that listens at a free port.

    Attributes:
        app: Its application.
        prompter: Tells its model what to write, once it is loaded.
    """

    def __init__(
        self,
        load: Callable[[], Assistant] = small_demo_model,
        max_users: int = 32,
        share: bool = False,
        host_names: HostNames | None = None,
    ):
        self.prompter: Prompter | None = None

        def load_and_listen() -> Assistant:
            assistant = load()
            self.prompter = Prompter(assistant)
            return assistant

        limits = Limits(max_queue=2, max_tokens=64)
        worker = Worker(load_and_listen, batch_size=2, max_queue=limits.max_queue, prefix_memory_mb=16)
        self.app = DemoApp(
            worker, limits, PictureSettings(max_side=3000), max_users, host_names or HostNames('127.0.0.1')
        )
        super().__init__(DemoServer(self.app, '127.0.0.1', 0, share, log_level='critical'))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f'http://127.0.0.1:{self.server.port}'


@contextlib.contextmanager
def running_demo(**settings) -> Iterator[RunningDemo]:
    """Run a demo, ready to answer, as long as the ``with`` lasts."""
    demo = RunningDemo(**settings)
    try:
        demo.wait_for(lambda: demo.app.worker.is_ready)
        yield demo
    finally:
        demo.stop()
