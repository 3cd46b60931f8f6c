"""Serve a model over HTTP until a signal ends it."""

import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from geochat.installation import InstallationError
from geochat.serving.limits import Limits

if TYPE_CHECKING:
    import uvicorn

    from geochat.apis import Assistant, PictureSettings
    from geochat.serving.worker import Worker

KEEP_ALIVE_SECONDS = 75
"""How long a connection stays open without a request: longer than clients keep theirs (httpx, and so openai's: 5 s).

Of two that wait equally long, the server may close one just as the client sends on it, and the question is lost.
"""


def serve(
    model: str | Path,
    checkpoint: str | Path | None = None,
    *,
    cfg_options: Sequence[str] = (),
    host: str = '127.0.0.1',
    port: int = 8000,
    host_names: Sequence[str] = (),
    api_key: str | None = None,
    name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    quantization: str | None = None,
    device_map: str | None = None,
    batch_size: int = 32,
    prefix_memory_mb: float = 1024,
    limits: Limits | None = None,
    pictures: 'PictureSettings | None' = None,
) -> None:
    """Serve a model over HTTP, until SIGINT (Ctrl-C) or SIGTERM; what is being answered then is finished.

    The server listens at once, and answers 503 while the model is loaded.

    Args:
        model: A model folder (ours, an original GeoChat, a LLaVA), a run's work directory, or a config.
        checkpoint: For a config, its weights.
        cfg_options: Changes of the config, ``KEY=VALUE``.
        host: Address to listen at; by default only this machine is answered.
        port: Port to listen at.
        host_names: Names by which it is called besides loopback names such as ``localhost``, without port. One that
            listens at a loopback address answers to no others; one that listens elsewhere, and is given none, to all.
        api_key: What clients send as ``Authorization: Bearer KEY``; None asks for none.
        name: What clients call the model; by default the name of the folder or config.
        device: Such as ``'cuda:1'``; by default a GPU if there is one.
        dtype: Of the weights, such as ``'bfloat16'``; None leaves them as the folder or config says.
        quantization: ``'8bit'`` or ``'4bit'``; see :func:`~geochat.apis.load_assistant`, as the next.
        device_map: Spreads the layers over several devices.
        batch_size: Most answers that are written at the same time.
        prefix_memory_mb: Most memory for keys and values that are kept of pictures, in 2**20 bytes.
        limits: How much is taken.
        pictures: What pictures are taken, and how; addresses are refused in any case.

    Raises:
        FileNotFoundError: If there is no such model.
        InputError: If one of the names cannot be a host's.
        InstallationError: If a package that the server needs is missing.
        ValueError: If what is there is no model that can be served.
    """
    placing = {'device': device, 'dtype': dtype, 'quantization': quantization, 'device_map': device_map}
    load = served_model(model, checkpoint, cfg_options, name, placing)
    try:
        import uvicorn

        from geochat.serving.app import create_app
        from geochat.serving.hosts import HostNames
    except ModuleNotFoundError as error:
        raise InstallationError(f"the server needs {error.name}: pip install 'geochat[serving]'") from error
    from geochat.serving.worker import Worker

    limits = limits or Limits()
    worker = Worker(load, batch_size, limits.max_queue, prefix_memory_mb)
    config = uvicorn.Config(
        create_app(worker, limits, HostNames(host, host_names), api_key, pictures),
        host=host,
        port=port,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(limits.answer_seconds),
    )
    run(uvicorn.Server(config), worker, warn=api_key is None)


def served_model(
    model: str | Path,
    checkpoint: str | Path | None,
    cfg_options: Sequence[str],
    name: str | None,
    placing: Mapping[str, str | None],
) -> 'Callable[[], Assistant]':
    """Return what loads the model of a server; see :func:`serve`.

    Raises:
        FileNotFoundError: If there is no such model.
    """
    if not Path(model).exists():
        raise FileNotFoundError(f'there is no model folder or config {str(model)!r}')

    def load() -> 'Assistant':
        from geochat.apis import load_assistant

        assistant = load_assistant(model, checkpoint, cfg_options, **placing)
        return replace(assistant, name=name) if name else assistant

    return load


def run(server: 'uvicorn.Server', worker: 'Worker', warn: bool) -> None:
    """Run a server until a signal ends it, or its model cannot be loaded.

    Args:
        server: The server.
        worker: Loads the model; the server's application starts and closes it.
        warn: True warns if other machines are answered.

    Raises:
        Exception: Why the model could not be loaded.
    """
    from geochat.serving.hosts import is_loopback

    worker.on_failure = lambda: setattr(server, 'should_exit', True)
    if warn and not is_loopback(server.config.host):
        logging.getLogger('uvicorn.error').warning('whoever reaches %s can ask', server.config.host)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after it has ended
        server.run()
    if worker.error is not None:
        raise worker.error
