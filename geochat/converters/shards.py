"""Safetensors written one tensor at a time, so that a model of any size passes through little memory."""

import json
import struct
from collections.abc import Iterable, Iterator
from io import RawIOBase
from pathlib import Path

import torch
from tqdm import tqdm

Weights = Iterable[tuple[str, torch.Tensor]]

SHARD_BYTES = 5_000_000_000
"""Most bytes of a shard, as transformers has it."""

DTYPES = {
    torch.float64: 'F64',
    torch.float32: 'F32',
    torch.float16: 'F16',
    torch.bfloat16: 'BF16',
    torch.int64: 'I64',
    torch.int32: 'I32',
    torch.int16: 'I16',
    torch.int8: 'I8',
    torch.uint8: 'U8',
    torch.bool: 'BOOL',
}
"""Names of dtypes in the format, https://github.com/huggingface/safetensors."""


def write_shards(plan: Weights, weights: Weights, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write weights as ``model.safetensors``, or as shards with an index.

    Args:
        plan: Names and tensors of no content (device ``meta``), in the order of ``weights``.
        weights: Names and tensors of the same shapes and dtypes.
        folder: Where to.
        shard_bytes: Most bytes of a shard; a larger tensor is one of its own.

    Raises:
        OSError: If a file cannot be written; it is named.
        ValueError: If the weights are not those of the plan.
    """
    shards = _split(plan, shard_bytes)
    total = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    stream = iter(weights)
    index: dict[str, str] = {}
    with tqdm(total=total, unit='B', unit_scale=True, disable=None) as progress:
        for number, shard in enumerate(shards, 1):
            name = f'model-{number:05}-of-{len(shards):05}.safetensors' if len(shards) > 1 else 'model.safetensors'
            with (folder / name).open('wb', buffering=0) as file:
                _write_shard(file, shard, stream, progress)
            index.update(dict.fromkeys(shard, name))
    if len(shards) > 1:
        content = {'metadata': {'total_size': total}, 'weight_map': index}
        (folder / 'model.safetensors.index.json').write_text(json.dumps(content, indent=2), encoding='utf-8')


def _split(plan: Weights, shard_bytes: int) -> list[dict[str, torch.Tensor]]:
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in plan:
        if size and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        if any(name in shard for shard in shards):
            raise ValueError(f'the tensor {name!r} would be written twice')
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _write_shard(
    file: RawIOBase, shard: dict[str, torch.Tensor], weights: Iterator[tuple[str, torch.Tensor]], progress: tqdm
) -> None:
    places, start = {}, 0
    for name in sorted(shard, key=lambda name: -shard[name].element_size()):  # wide numbers stay aligned
        places[name] = (start, start + shard[name].nbytes)
        start += shard[name].nbytes
    header: dict = {'__metadata__': {'format': 'pt'}}
    for name, tensor in shard.items():
        header[name] = {
            'dtype': DTYPES[tensor.dtype],
            'shape': list(tensor.shape),
            'data_offsets': places[name],
        }
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    _put(file, struct.pack('<Q', len(text)) + text)
    for name, planned in shard.items():
        found, tensor = next(weights, ('nothing', planned))
        if (found, tensor.shape, tensor.dtype) != (name, planned.shape, planned.dtype):
            raise ValueError(f'{name!r} was to be written, but {found!r} came: did the source change meanwhile?')
        file.seek(8 + len(text) + places[name][0])
        _put(file, memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy()))
        progress.update(tensor.nbytes)


def _put(file: RawIOBase, content: bytes | memoryview) -> None:
    """Write all of it, which a file without a buffer may do in parts."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:  # of a full disk, Python says neither which nor for what
        raise OSError(error.errno, error.strerror, file.name) from error
