"""What the commands that ask a model have in common: which model, how it answers, and which pictures it takes."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from geochat.command_line import add_config_options

if TYPE_CHECKING:
    from geochat.apis import GeoChatInferencer, PictureSettings

BATCH_SIZE = 32

MODEL_VARIABLE = 'GEOCHAT_MODEL'
"""Environment variable that names the model where ``--model`` does not."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which model answers, and how."""
    model = parser.add_argument_group('model')
    model.add_argument(
        '--model',
        default=os.environ.get(MODEL_VARIABLE),
        metavar='PATH',
        help="model folder (ours, an original GeoChat's, a LLaVA's), a run's work directory, or a config; "
        f'{MODEL_VARIABLE} if not given. With --backend only its box language and tasks are read; it may be left out',
    )
    model.add_argument('--checkpoint', metavar='PATH', help='the weights, if the model is a config')
    add_placing_arguments(model)
    add_config_options(parser)
    add_backend_arguments(parser.add_argument_group('server'))
    answers = parser.add_argument_group('answers')
    answers.add_argument('--max-new-tokens', type=int, default=256, metavar='N', help='most tokens of an answer (256)')
    answers.add_argument('--temperature', type=float, default=0.0, metavar='T', help='0, the likeliest words, or more')
    answers.add_argument('--top-p', type=float, default=1.0, metavar='P', help='share of the likeliest tokens (1)')
    answers.add_argument('--seed', type=int, default=0, metavar='N', help='of the random numbers (0)')
    answers.add_argument('--num-beams', type=int, default=1, metavar='N', help='drafts that are searched among (1)')
    answers.add_argument('--box-grammar', action='store_true', help='let every box that is begun be well formed')
    pictures = parser.add_argument_group('pictures')
    pictures.add_argument(
        '--stretch',
        metavar='HOW',
        help='how 16-bit pictures become 8-bit: full, minmax, percentile, or two values such as 0,4000',
    )
    pictures.add_argument('--allow-urls', action='store_true', help='fetch pictures from http and https addresses')


def add_placing_arguments(parser: Any) -> None:
    """Add where the model is, and in what precision."""
    parser.add_argument('--device', help='such as cuda:1; a GPU if there is one')
    parser.add_argument(
        '--device-map', choices=['auto'], help='auto spreads the layers over all GPUs instead of a --device'
    )
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], help="of the weights; the folder's own")
    parser.add_argument(
        '--quantization',
        choices=['8bit', '4bit'],
        help="of the LLM's linear layers, by bitsandbytes; none if not given",
    )


def placing(args: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_placing_arguments` has asked for, as ``load_assistant`` takes it."""
    return {key: getattr(args, key) for key in ('device', 'device_map', 'dtype', 'quantization')}


def add_backend_arguments(parser: Any, backends: Any = None) -> None:
    """Add who writes the answers instead of the model here.

    Args:
        parser: The parser or group.
        backends: The group that ``--backend`` itself belongs to, if it is another.
    """
    (backends or parser).add_argument(
        '--backend',
        choices=['openai'],
        help="who writes the answers instead of a model here: a server that speaks OpenAI's API (vLLM, SGLang, "
        'geochat serve)',
    )
    parser.add_argument('--base-url', metavar='URL', help='of the server: http://127.0.0.1:8000/v1')
    parser.add_argument(
        '--served-model', metavar='NAME', help='what the server calls the model; the only one that it has, if not given'
    )


def backend_settings(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the settings of the back end that the arguments name; None for the built-in engine.

    Raises:
        geochat.engine.ConfigError: If it lacks an address, or there is an address without it.
    """
    from geochat.engine import ConfigError

    if bool(args.backend) != bool(args.base_url):
        raise ConfigError('a server is named by --backend openai and --base-url URL together')
    if args.served_model and not args.backend:
        raise ConfigError('--served-model is the name of a model of --backend')
    return args.backend and {'type': args.backend, 'base_url': args.base_url, 'model': args.served_model}


def build_inferencer(
    args: argparse.Namespace, batch_size: int = BATCH_SIZE, compile: bool = False
) -> 'GeoChatInferencer':
    """Load the model that the arguments name, or make ready to ask the server that they name.

    Args:
        args: What :func:`add_model_arguments` has read.
        batch_size: Most answers that are written, or asked of a server, at the same time.
        compile: True compiles the steps of an answer.

    Raises:
        geochat.engine.ConfigError: If none is named, or an argument is out of its range.
    """
    from geochat.engine import ConfigError

    backend = backend_settings(args)
    if not args.model and backend is None:
        raise ConfigError(f'name the model by --model PATH, or by the environment variable {MODEL_VARIABLE}')
    from geochat.apis import GeoChatInferencer
    from geochat.generation import GenerationSettings

    if args.max_new_tokens < 1:
        raise ConfigError(f'--max-new-tokens is at least 1, not {args.max_new_tokens}')
    try:
        settings = GenerationSettings(
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            top_p=args.top_p,
            seed=args.seed,
            num_beams=args.num_beams,
            box_grammar=args.box_grammar,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return GeoChatInferencer(
        args.model or None,
        args.checkpoint,
        args.cfg_options,
        **placing(args),
        settings=settings,
        pictures=picture_settings(args),
        backend=backend,
        batch_size=batch_size,
        compile=compile,
    )


def picture_settings(args: argparse.Namespace) -> 'PictureSettings':
    """Return what pictures are taken.

    Raises:
        geochat.engine.ConfigError: If ``--stretch`` is none.
    """
    from geochat.apis import PictureSettings
    from geochat.engine import ConfigError

    stretch = args.stretch
    if stretch is not None and ',' in stretch:
        try:
            stretch = tuple(float(value) for value in stretch.split(','))
        except ValueError as error:
            raise ConfigError(f'--stretch has two numbers with a comma between them, not {args.stretch!r}') from error
    try:
        return PictureSettings(stretch=stretch, allow_urls=args.allow_urls)
    except ValueError as error:
        raise ConfigError(str(error)) from error
