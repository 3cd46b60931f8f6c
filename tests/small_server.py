"""A server with a model of a few thousand weights, in a thread of the tests' own process."""

import base64
import contextlib
import io
from collections.abc import Callable, Iterator

import torch
import uvicorn
from PIL import Image
from server_thread import ServerThread
from small_parts import VISION_CONFIG, small_model, tokenizer_folder

from geochat.apis import Assistant, PictureSettings
from geochat.registry import BOX_CODECS, TASK_PROMPT_TEMPLATES, TRANSFORMS
from geochat.serving import Limits
from geochat.serving.app import create_app
from geochat.serving.hosts import HostNames
from geochat.serving.worker import Worker

NAME = 'small'


def small_served_model() -> Assistant:
    """The small model as a server has it."""
    processor = {
        'type': 'SampleProcessor',
        'tokenizer': tokenizer_folder(),
        'chat_template': {'type': 'VicunaV1', 'system': ''},
        'image_transform': {
            'type': 'PadResizeNormalize',
            'size': VISION_CONFIG['image_size'],
            'mean': (0.5, 0.5, 0.5),
            'std': (0.25, 0.25, 0.25),
        },
    }
    model = small_model()
    with torch.no_grad():
        head = model.llm.model.lm_head.weight
        head *= 5
        head[3:259] = 0  # single bytes: a text of them is damaged, and may be damaged otherwise when it is streamed
    return Assistant(
        name=NAME,
        model=model,
        processor=TRANSFORMS.build(processor),
        box_codec=BOX_CODECS.build({'type': 'GeoChatBoxCodec', 'padding': 'centre'}),
        task_prompts={'refer': TASK_PROMPT_TEMPLATES.build({'type': 'ReferPrompt'})},
    )


class RunningServer(ServerThread):
    """A server that listens at a free port.

    Attributes:
        url: Where it listens.
        worker: Its worker.
    """

    def __init__(
        self,
        load: Callable[[], Assistant],
        limits: Limits | None = None,
        api_key: str | None = None,
        batch_size: int = 32,
        pictures: PictureSettings | None = None,
        host_names: HostNames | None = None,
    ):
        limits = limits or Limits()
        self.worker = Worker(load, batch_size, limits.max_queue, prefix_memory_mb=16)
        config = uvicorn.Config(
            create_app(self.worker, limits, host_names or HostNames('127.0.0.1'), api_key, pictures),
            port=0,
            log_level='critical',
            backlog=256,
        )
        super().__init__(uvicorn.Server(config))
        self.url = f'http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}'


@contextlib.contextmanager
def running_server(
    load: Callable[[], Assistant] = small_served_model,
    limits: Limits | None = None,
    api_key: str | None = None,
    batch_size: int = 32,
    pictures: PictureSettings | None = None,
    host_names: HostNames | None = None,
) -> Iterator[RunningServer]:
    """Run a server, ready to answer, as long as the ``with`` lasts."""
    server = RunningServer(load, limits, api_key, batch_size, pictures, host_names)
    try:
        server.wait_for(lambda: server.worker.is_ready)
        yield server
    finally:
        server.stop()


def data_url(image: Image.Image, kind: str = 'PNG') -> str:
    """Write a picture as a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return bytes_url(buffer.getvalue(), f'image/{kind.lower()}')


def bytes_url(data: bytes, kind: str = 'image/png') -> str:
    """Write a file's content as a data URL."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'
