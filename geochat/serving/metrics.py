"""What a server counts, as Prometheus reads it."""

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from geochat.generation import Generated

if TYPE_CHECKING:
    from geochat.serving.worker import Worker

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Upper bounds of the classes of durations."""


class Metrics:
    """Counters of one server.

    Args:
        paths: The server's paths; any other is counted as ``other``, so that strangers cannot fill the memory.
    """

    def __init__(self, paths: Collection[str]):
        self.paths = frozenset(paths)
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {'namespace': 'geochat', 'registry': self.registry}
        self.requests = Counter('requests', 'Requests by path and status.', ['path', 'status'], **common)
        self.seconds = Histogram('request_seconds', 'Their duration.', ['path'], buckets=SECONDS, **common)
        self.prompt_tokens = Counter('prompt_tokens', 'Tokens of questions, pictures included.', **common)
        self.generated_tokens = Counter('generated_tokens', 'Tokens of answers.', **common)
        self.answers = Counter('answers', 'Answers by why they ended.', ['finish'], **common)
        self.busy = Gauge('answers_in_progress', 'Answers that are being written or wait.', **common)
        self.prefix_bytes = Gauge('prefix_bytes', 'Memory of keys and values kept of pictures.', **common)
        self.ready = Gauge('ready', '1 once the model is loaded.', **common)

    def watch(self, worker: 'Worker') -> None:
        """Read the state of a worker whenever the metrics are asked for."""
        self.busy.set_function(lambda: worker.busy)
        self.prefix_bytes.set_function(lambda: worker.prefix_bytes)
        self.ready.set_function(lambda: worker.is_ready)

    def count_answer(self, generated: Generated) -> None:
        """Count an answer that has ended."""
        self.answers.labels(generated.finish).inc()
        self.generated_tokens.inc(len(generated.ids))

    def text(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts requests and their durations.

    Args:
        app: The application.
        metrics: Where they are counted.
    """

    def __init__(self, app: Any, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Pass a request on."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def watched(message: dict) -> None:
            nonlocal status
            status = message.get('status', status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            path = scope['path'] if scope['path'] in self.metrics.paths else 'other'
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
