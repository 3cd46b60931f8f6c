"""Show the web demo until a signal ends it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geochat.installation import InstallationError
from geochat.serving.limits import Limits
from geochat.serving.server import run, served_model

if TYPE_CHECKING:
    from geochat.apis import PictureSettings

LIMITS = Limits(max_queue=16)
"""By default no more wait than for two batches: it is people who wait."""

MAX_PICTURE_SIDE = 5000
"""Pixels; a picture stays in memory as long as its page is open."""


def serve_demo(
    model: str | Path,
    checkpoint: str | Path | None = None,
    *,
    cfg_options: Sequence[str] = (),
    host: str = '127.0.0.1',
    port: int = 7860,
    host_names: Sequence[str] = (),
    share: bool = False,
    name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    quantization: str | None = None,
    device_map: str | None = None,
    batch_size: int = 8,
    prefix_memory_mb: float = 1024,
    max_users: int = 32,
    limits: Limits = LIMITS,
    pictures: 'PictureSettings | None' = None,
) -> None:
    """Show the web demo, until SIGINT (Ctrl-C) or SIGTERM; what is being answered then is given up.

    The page is there at once, and says that the model is being loaded.

    Args:
        model: A model folder (ours, an original GeoChat, a LLaVA), a run's work directory, or a config.
        checkpoint: For a config, its weights.
        cfg_options: Changes of the config, ``KEY=VALUE``.
        host: Address to listen at; by default only this machine is answered.
        port: Port to listen at.
        host_names: Names by which it is called besides loopback names such as ``localhost``, without port. One that
            listens at a loopback address answers to no others; one that listens elsewhere, and is given none, to all.
        share: True also opens a tunnel through Gradio's servers, with an address that anyone on the Internet can open.
        name: What the page calls the model; by default the name of the folder or config.
        device: Such as ``'cuda:1'``; by default a GPU if there is one.
        dtype: Of the weights, such as ``'bfloat16'``; None leaves them as the folder or config says.
        quantization: ``'8bit'`` or ``'4bit'``; see :func:`~geochat.apis.load_assistant`, as the next.
        device_map: Spreads the layers over several devices.
        batch_size: Most answers that are written at the same time.
        prefix_memory_mb: Most memory for keys and values that are kept of pictures, in 2**20 bytes.
        max_users: Most pages that may be open at a time; each holds its picture in memory.
        limits: How much is taken.
        pictures: What pictures are taken, and how.

    Raises:
        ConnectionError: If ``share`` is set and there is no tunnel.
        FileNotFoundError: If there is no such model.
        InputError: If one of the names cannot be a host's.
        InstallationError: If a package that the demo needs is missing.
        ValueError: If what is there is no model that can be served.
    """
    placing = {'device': device, 'dtype': dtype, 'quantization': quantization, 'device_map': device_map}
    load = served_model(model, checkpoint, cfg_options, name, placing)
    try:
        from geochat.serving.demo.app import DemoApp
        from geochat.serving.demo.listening import DemoServer
        from geochat.serving.hosts import HostNames
    except ModuleNotFoundError as error:
        raise InstallationError(f"the demo needs {error.name}: pip install 'geochat[serving]'") from error
    from geochat.apis import PictureSettings
    from geochat.serving.worker import Worker

    worker = Worker(load, batch_size, limits.max_queue, prefix_memory_mb)
    pictures = pictures or PictureSettings(max_side=MAX_PICTURE_SIDE)
    demo = DemoApp(worker, limits, pictures, max_users, HostNames(host, host_names))
    server = DemoServer(demo, host, port, share)
    run(server, worker, warn=True)
    if server.error is not None:
        raise server.error
