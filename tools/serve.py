"""Serve a model over HTTP: ``python tools/serve.py FOLDER`` or ``python tools/serve.py CONFIG CHECKPOINT``."""

import argparse
import os
from dataclasses import fields
from typing import Any

from geochat.command_line import add_config_options, run_tool
from geochat.serving import Limits, serve

KEY_VARIABLE = 'GEOCHAT_API_KEY'


def parse_args() -> dict[str, Any]:
    """Read the command line, as arguments of :func:`geochat.serving.serve`."""
    parser = argparse.ArgumentParser(description="Serve a model over HTTP, as OpenAI's clients speak it.")
    parser.add_argument(
        'model', help='a model folder (ours, an original GeoChat, a LLaVA), a work directory, or a config'
    )
    parser.add_argument('checkpoint', nargs='?', help='for a config: its weights')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; by default this machine only')
    parser.add_argument('--port', type=int, default=8000)
    parser.add_argument('--api-key', help=f'what clients have to send; by default ${KEY_VARIABLE}, if it is set')
    parser.add_argument('--name', help='what clients call the model; by default the name of the folder or config')
    parser.add_argument('--device', help='such as cuda:1; by default a GPU if there is one')
    parser.add_argument('--dtype', help='of the weights, such as bfloat16; as they are stored if not given')
    parser.add_argument('--batch-size', type=int, default=32, help='most answers that are written at the same time')
    parser.add_argument('--prefix-memory-mb', type=float, default=1024, help='most memory for what is kept of pictures')
    parser.add_argument(
        '--max-picture-side', type=int, default=9000, help='most pixels of a picture; 9000 if not given'
    )
    parser.add_argument(
        '--stretch',
        choices=['full', 'minmax', 'percentile'],
        help='how values of more than 8 bits become 8; such pictures are refused if not given',
    )
    for limit in fields(Limits):
        option = f'--{limit.name.replace("_", "-")}'
        parser.add_argument(option, type=limit.type, default=limit.default, help=f'{limit.default} if not given')
    add_config_options(parser)
    args = vars(parser.parse_args())
    limits = {limit.name: args.pop(limit.name) for limit in fields(Limits)}
    try:
        args['limits'] = Limits(**limits)
    except ValueError as error:
        parser.error(str(error))
    args['api_key'] = args['api_key'] or os.environ.get(KEY_VARIABLE)
    return args


def main() -> None:
    """Serve until a signal ends it."""
    args = parse_args()
    picture_settings = {'max_side': args.pop('max_picture_side'), 'stretch': args.pop('stretch')}

    def work() -> None:
        from geochat.apis import PictureSettings

        serve(**args, pictures=PictureSettings(**picture_settings))

    run_tool(work)


if __name__ == '__main__':
    main()
