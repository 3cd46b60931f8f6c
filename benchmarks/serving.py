"""How many questions a server answers a second, asked by one client and by many at once, and whether its memory grows.

    python benchmarks/serving.py --json serving.json
    python benchmarks/serving.py --requests 2000              # the memory over 2,000 requests of the many clients
    python benchmarks/serving.py --model FOLDER --device cuda

The server has a process of its own and is asked over loopback, each question about one of some pictures; answers have
as many tokens as are allowed, since random weights seldom end one. All clients ask the questions that the one client
asks, and must get the answers that it gets.
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import multiprocessing
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from measuring import in_own_process, machine
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / 'geochat' / 'data' / 'tiny' / 'tokenizer'
NAME = 'model'
IMAGE_SIZE = 336

PARTS = {
    'vision_encoder': {
        'type': 'ClipVisionEncoder',
        'config': {
            'hidden_size': 384,
            'intermediate_size': 1536,
            'num_hidden_layers': 6,
            'num_attention_heads': 6,
            'image_size': IMAGE_SIZE,
            'patch_size': 14,
            'projection_dim': 384,
        },
    },
    'projector': {'type': 'mlp2x_gelu'},
    'llm': {
        'type': 'HFCausalLM',
        'config': {
            'model_type': 'llama',
            'vocab_size': 1031,
            'hidden_size': 512,
            'intermediate_size': 1408,
            'num_hidden_layers': 8,
            'num_attention_heads': 8,
            'num_key_value_heads': 8,
            'max_position_embeddings': 2048,
            'initializer_range': 0.1,
            'bos_token_id': 1,
            'eos_token_id': 2,
            'pad_token_id': 0,
        },
        'tokenizer': str(TOKENIZER),
    },
}
"""A model of 35 million weights, drawn at random."""


def build_model() -> Any:
    """Build the random model, with what is needed to ask it."""
    import torch

    from geochat.apis import Assistant
    from geochat.models import GeoChat
    from geochat.registry import BOX_CODECS, TASK_PROMPT_TEMPLATES, TRANSFORMS

    torch.manual_seed(0)
    colors = {'mean': (0.48, 0.46, 0.41), 'std': (0.27, 0.26, 0.28)}
    processor = {
        'type': 'SampleProcessor',
        'tokenizer': str(TOKENIZER),
        'chat_template': {'type': 'VicunaV1', 'system': ''},
        'image_transform': {'type': 'PadResizeNormalize', 'size': IMAGE_SIZE, **colors},
    }
    return Assistant(
        name=NAME,
        model=GeoChat(**PARTS).eval(),
        processor=TRANSFORMS.build(processor),
        box_codec=BOX_CODECS.build({'type': 'GeoChatBoxCodec'}),
        task_prompts={'refer': TASK_PROMPT_TEMPLATES.build({'type': 'ReferPrompt'})},
    )


def run_server(args: argparse.Namespace, port: Any) -> None:
    """Serve until the process is ended; the port is told once the server listens."""
    import torch
    import uvicorn

    from geochat.apis import load_assistant
    from geochat.serving import Limits
    from geochat.serving.app import create_app
    from geochat.serving.hosts import HostNames
    from geochat.serving.server import KEEP_ALIVE_SECONDS
    from geochat.serving.worker import Worker

    torch.set_num_threads(args.threads)

    def load() -> Any:
        return replace(load_assistant(args.model, device=args.device), name=NAME) if args.model else build_model()

    limits = Limits()
    worker = Worker(load, args.batch_size, limits.max_queue, prefix_memory_mb=256)
    app = create_app(worker, limits, HostNames('127.0.0.1'))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level='warning', timeout_keep_alive=KEEP_ALIVE_SECONDS))

    async def tell() -> None:
        while not server.started:
            await asyncio.sleep(0.05)
        port.send(server.servers[0].sockets[0].getsockname()[1])

    async def both() -> None:
        telling = asyncio.ensure_future(tell())
        await server.serve()
        await telling

    asyncio.run(both())


def questions(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the bodies of requests, all different."""
    urls = []
    for number in range(args.pictures):
        buffer = io.BytesIO()
        Image.linear_gradient('L').rotate(360 * number / args.pictures).resize((400, 300)).save(buffer, 'PNG')
        urls.append('data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode())
    return [
        {
            'model': NAME,
            'max_tokens': args.tokens,
            'messages': [
                {
                    'role': 'user',
                    'content': [
                        {'type': 'image_url', 'image_url': {'url': urls[number % args.pictures]}},
                        {'type': 'text', 'text': f'How many ships are there at place {number}?'},
                    ],
                }
            ],
        }
        for number in range(args.requests)
    ]


async def ask_all(url: str, bodies: list[dict[str, Any]], clients: int, memory: Any) -> dict[str, Any]:
    """Ask questions by some clients, each with its own connection, who ask the next one when they have an answer."""
    left = iter(list(enumerate(bodies)))
    answers: list[str | None] = [None] * len(bodies)
    seconds: list[float] = []
    resident: list[float] = []

    async def client(http: httpx.AsyncClient) -> None:
        for number, body in left:
            start = time.perf_counter()
            reply = (await http.post('/v1/chat/completions', json=body)).raise_for_status().json()
            seconds.append(time.perf_counter() - start)
            answers[number] = reply['choices'][0]['message']['content']
            if len(seconds) % 100 == 0:
                resident.append(memory())

    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=600)) for _ in range(clients)
        ]
        start = time.perf_counter()
        await asyncio.gather(*map(client, connections))
        total = time.perf_counter() - start
    return {
        'clients': clients,
        'requests': len(bodies),
        'per_s': len(bodies) / total,
        'median_s': statistics.median(seconds),
        'slowest_s': max(seconds),
        'resident_mb': resident,
        'answers': answers,
    }


def resident_mb(process: int) -> float:
    """Return the memory that a process has resident, where the system tells it (Linux)."""
    status = Path(f'/proc/{process}/status').read_text()
    return int(status.partition('VmRSS:')[2].split()[0]) / 1024


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', help='a model folder; a random model if not given')
    parser.add_argument('--device', default='cpu', help='of the model folder')
    parser.add_argument('--clients', type=int, default=64)
    parser.add_argument('--requests', type=int, default=128, help='of the many clients; the one client asks the first')
    parser.add_argument('--requests-alone', type=int, default=16, help='of the one client')
    parser.add_argument('--pictures', type=int, default=8, help='that the questions are about')
    parser.add_argument('--tokens', type=int, default=32, help='of an answer')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--threads', type=int, default=1, help='of PyTorch in the server')
    parser.add_argument('--json', metavar='FILE', help='write the figures there')
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_args()
    context = multiprocessing.get_context('spawn')
    port, sender = context.Pipe(duplex=False)
    server = context.Process(target=run_server, args=(args, sender), daemon=True)
    server.start()
    sender.close()  # so that a server that has died is an end of file, and not waited for
    try:
        url = f'http://127.0.0.1:{port.recv()}'
    except EOFError:
        sys.exit('the server has not started')
    while httpx.get(f'{url}/health').status_code == 503:
        time.sleep(0.2)
    bodies = questions(args)

    def memory() -> float:
        return resident_mb(server.pid)

    try:
        # Each picture once before anything is timed, so that both find all of them computed.
        asyncio.run(ask_all(url, bodies[: args.pictures], 1, memory))
        alone = asyncio.run(ask_all(url, bodies[: args.requests_alone], 1, memory))
        many = asyncio.run(ask_all(url, bodies, args.clients, memory))
    finally:
        server.terminate()
        server.join()
    same = sum(one == other for one, other in zip(alone.pop('answers'), many.pop('answers'), strict=False))
    figures = {
        'machine': in_own_process(machine),
        'settings': vars(args),
        'alone': alone,
        'many': many,
        'times_as_many': many['per_s'] / alone['per_s'],
        'same_answers': same,
    }
    for row in (alone, many):
        print(
            f'{row["clients"]:3d} clients, {row["requests"]} requests: {row["per_s"]:.2f} a second, '
            f'median {row["median_s"]:.2f} s, slowest {row["slowest_s"]:.2f} s'
        )
    print(f'{figures["times_as_many"]:.2f} times as many; {same} of {args.requests_alone} answers are the same')
    if many['resident_mb']:
        print('resident MB after each 100 requests:', ' '.join(f'{value:.0f}' for value in many['resident_mb']))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2), encoding='utf-8')


if __name__ == '__main__':
    main()
