"""Time and peak memory of the converters over a model of any size, each direction in a process of its own.

python benchmarks/converters.py --size 4 --shard-size 2 --json converters.json

The model has the layout of GeoChat-7B (half precision, ``.bin`` shards) and zeros for weights. Memory is the largest
resident set of the process, memory-mapped pages of the files among it. The aim: under 1.2 times the largest shard and
1 GB.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measuring import in_own_process, machine, run_python

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / 'geochat' / 'data' / 'tiny' / 'tokenizer'
CONVERT = ROOT / 'tools' / 'model_converters' / 'convert.py'

WIDTH, INNER, VOCABULARY = 2048, 5504, 1031

DIRECTIONS = (
    ('original', 'geochat', 'geochat'),
    ('geochat', 'hf', 'hf'),
    ('hf', 'geochat again', 'geochat'),
)
"""Source, target and layout of the target."""


def layer_shapes(layer: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a Llama layer in the original's layout."""
    prefix = f'model.layers.{layer}.'
    attention = {f'{prefix}self_attn.{part}_proj.weight': (WIDTH, WIDTH) for part in 'qkvo'}
    mlp = {f'{prefix}mlp.{part}_proj.weight': (INNER, WIDTH) for part in ('gate', 'up')}
    norms = {f'{prefix}{part}_layernorm.weight': (WIDTH,) for part in ('input', 'post_attention')}
    return {**attention, **mlp, f'{prefix}mlp.down_proj.weight': (WIDTH, INNER), **norms}


def write_original(folder: Path, size_gb: float, shard_gb: float) -> None:
    """Write a folder in the original's layout."""
    import shutil

    import torch

    from geochat.converters.original import CLIP_LARGE_336, LARGE_NAME
    from geochat.models.vision_encoders import ClipVisionEncoder

    layers = max(1, round(size_gb * 1e9 / 2 / (4 * WIDTH**2 + 3 * WIDTH * INNER)))
    with torch.device('meta'):
        tower = ClipVisionEncoder(CLIP_LARGE_336, image_size=504).model.state_dict()
    shapes = {'model.embed_tokens.weight': (VOCABULARY, WIDTH), 'lm_head.weight': (VOCABULARY, WIDTH)}
    for layer in range(layers):
        shapes.update(layer_shapes(layer))
    shapes.update({'model.norm.weight': (WIDTH,), 'model.mm_projector.0.weight': (WIDTH, 1024)})
    shapes.update({f'model.mm_projector.{part}': (WIDTH,) for part in ('0.bias', '2.bias')})
    shapes['model.mm_projector.2.weight'] = (WIDTH, WIDTH)
    shapes.update(
        {f'model.vision_tower.vision_tower.vision_model.{name}': tuple(tensor.shape) for name, tensor in tower.items()}
    )
    shards: list[dict[str, torch.Tensor]] = [{}]
    for name, shape in shapes.items():
        tensor = torch.zeros(shape, dtype=torch.float16)
        if sum(held.nbytes for held in shards[-1].values()) + tensor.nbytes > shard_gb * 1e9:
            shards.append({})
        shards[-1][name] = tensor
    index = {}
    for number, shard in enumerate(shards, 1):
        file = f'pytorch_model-{number:05}-of-{len(shards):05}.bin'
        torch.save(shard, folder / file)
        index.update(dict.fromkeys(shard, file))
    (folder / 'pytorch_model.bin.index.json').write_text(json.dumps({'weight_map': index}))
    config = {
        'model_type': 'geochat',
        'vocab_size': VOCABULARY,
        'hidden_size': WIDTH,
        'intermediate_size': INNER,
        'num_hidden_layers': layers,
        'num_attention_heads': WIDTH // 128,
        'num_key_value_heads': WIDTH // 128,
        'max_position_embeddings': 4096,
        'bos_token_id': 1,
        'eos_token_id': 2,
        'pad_token_id': 0,
        'mm_projector_type': 'mlp2x_gelu',
        'mm_vision_tower': LARGE_NAME,
        'torch_dtype': 'float16',
    }
    (folder / 'config.json').write_text(json.dumps(config))
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder)


def largest_file(folder: Path) -> int:
    """Return the bytes of the largest file of weights."""
    return max(file.stat().st_size for file in folder.iterdir() if file.suffix in ('.bin', '.safetensors'))


def measure(source: Path, target: Path, layout: str, shard_gb: float) -> dict[str, Any]:
    """Convert in a process of its own."""
    command = [str(CONVERT), str(source), str(target), '--to', layout, '--shard-size', str(shard_gb)]
    run = run_python(command, PYTHONPATH=str(ROOT))
    shard = max(largest_file(source), largest_file(target))
    return {
        'wall_s': round(run['wall_s'], 1),
        'processor_s': round(run['processor_s'], 1),
        'peak_gb': round(run['peak_mb'] * 2**20 / 1e9, 3),
        'largest_shard_gb': round(shard / 1e9, 3),
        'limit_gb': round((1.2 * shard + 1e9) / 1e9, 3),
    }


def main() -> None:
    """Measure every direction, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=float, default=4, metavar='GB', help='of the LLM of the model')
    parser.add_argument('--shard-size', type=float, default=2, metavar='GB', help='most of a file of weights')
    parser.add_argument('--folder', help='where the models are written for the while; a temporary folder if not given')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory(prefix='geochat-converters-', dir=args.folder) as scratch:
        folder = Path(scratch)
        (folder / 'original').mkdir()
        in_own_process(write_original, folder / 'original', args.size, args.shard_size)
        for source, target, layout in DIRECTIONS:
            figures[f'{source} -> {target}'] = measure(folder / source, folder / target, layout, args.shard_size)
    print(f'{"direction":26} {"wall":>8} {"processor":>10} {"peak":>9} {"shard":>9} {"limit":>9}')
    for name, figure in figures.items():
        print(
            f'{name:26} {figure["wall_s"]:6.1f} s {figure["processor_s"]:8.1f} s {figure["peak_gb"]:6.2f} GB '
            f'{figure["largest_shard_gb"]:6.2f} GB {figure["limit_gb"]:6.2f} GB'
        )
    if args.json:
        content = {'machine': in_own_process(machine), 'size_gb': args.size, 'directions': figures}
        args.json.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
