"""Weight files: read as tensors only, loaded into a bare model by name, with a report of what did not fit.

No file is ever unpickled beyond tensors and plain containers: a stranger's weights cannot run code here.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geochat.models.adapters import start_magnitudes
from geochat.models.devices import whole_state_dict
from geochat.models.partitioned import gathered, whole_shape

INDEX_FILES = ('model.safetensors.index.json', 'pytorch_model.bin.index.json')
SINGLE_FILES = ('model.safetensors', 'pytorch_model.bin')
CONSTANT_SUFFIXES = ('rotary_emb.inv_freq', 'embeddings.position_ids')
"""Constants that old transformers wrote beside the weights; they are computed, never loaded."""


class WeightsError(ValueError):
    """A weight file cannot be read, or does not fit the model."""


@dataclass
class LoadReport:
    """What loading did.

    Attributes:
        source: The file or folder.
        loaded: Names copied into the model.
        missing: Parameters of the model that the source lacks.
        unexpected: Tensors of the source that the model does not have.
        misshapen: Name to (shape in the source, shape in the model), for tensors that do not fit.
        interpolated: Names that were resized to fit.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    interpolated: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{len(self.loaded)} tensors loaded from {self.source}']
        for title in ('interpolated', 'missing', 'unexpected'):
            if names := getattr(self, title):
                lines.append(f'  {title} ({len(names)}): {_shorten(names)}')
        if self.misshapen:
            lines.append(f'  misshapen ({len(self.misshapen)}): ' + _shorten(map(_shape_line, self.misshapen.items())))
        return '\n'.join(lines)

    def check(self) -> 'LoadReport':
        """Return the report if everything fitted.

        Raises:
            WeightsError: If something is missing, unexpected or misshapen; names and shapes are in the message.
        """
        if self.missing or self.unexpected or self.misshapen:
            advice = ''
            if any(is_adapter(name) for name in self.unexpected):
                advice = (
                    '\nThere are adapters among the weights, but not in the model: set its llm.lora as in training, or '
                    'merge them first (tools/model_converters/merge_lora.py)'
                )
            raise WeightsError(f'the weights do not fit the model: {self}{advice}')
        return self


def _shape_line(item: tuple[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    name, (found, wanted) = item
    return f'{name} is {found}, the model has {wanted}'


def _shorten(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    rest = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + rest


def stream_weights(path: str | Path, constants: bool = False) -> Iterator[tuple[str, torch.Tensor]]:
    """Read the weights of a file or a Hugging Face folder one after the other.

    Tensors stay memory-mapped where the format allows it, and a shard is let go before the next is opened: if the
    caller keeps none of the tensors, one shard is in memory at a time, of which only what was looked at.

    Args:
        path: A ``.safetensors``, ``.bin`` or ``.pth`` file, or a folder with one such file or with shards and an index.
        constants: True gives the constants, too, that old transformers wrote beside the weights.

    Yields:
        Name and tensor on the CPU.

    Raises:
        FileNotFoundError: If there are no weights, or a shard that the index names is not there.
        WeightsError: If a file is damaged, or holds anything but tensors and plain containers.
    """
    for file in _weight_files(Path(path)):
        for name, tensor in _read_safetensors(file) if file.suffix == '.safetensors' else _read_pickle(file):
            if constants or not is_constant(name):
                yield name, tensor


def is_constant(name: str) -> bool:
    """Tell whether a tensor is a constant that old transformers wrote beside the weights."""
    return name.endswith(CONSTANT_SUFFIXES)


def has_weights(folder: Path) -> bool:
    """Tell whether a folder has weights as Hugging Face names their files."""
    return any((folder / name).is_file() for name in INDEX_FILES + SINGLE_FILES)


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f'there are no weights at {str(path)!r}')
    for name in INDEX_FILES:
        if (path / name).is_file():
            return _shards(path / name)
    for name in SINGLE_FILES:
        if (path / name).is_file():
            return [path / name]
    raise FileNotFoundError(f'the folder {str(path)!r} has none of {", ".join(INDEX_FILES + SINGLE_FILES)}')


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding='utf-8'))['weight_map'].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f'{index} is not a weight index: {error}') from error
    shards = [index.parent / Path(name).name for name in names]  # an index may not point outside its folder
    for shard in shards:
        if not shard.is_file():
            raise FileNotFoundError(f'{index} names {shard.name}, which is not there')
    return shards


def _read_safetensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, 'pt') as content:
            for name in content.keys():  # noqa: SIM118 (it is no mapping)
                yield name, content.get_tensor(name)
    except SafetensorError as error:
        raise WeightsError(f'{file} is not a whole safetensors file: {error}') from error


def _read_pickle(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    content = read_tensors_only(file)
    if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
        content = content['state_dict']  # MMEngine's checkpoints
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f'{file} does not hold a dictionary of tensors')
    yield from content.items()


def read_tensors_only(file: Path) -> object:
    """Read a file of ``torch.save``, memory-mapped, that holds tensors, arrays and plain containers.

    Raises:
        WeightsError: If it is damaged, or holds anything else.
    """
    try:
        return _load_tensors_only(file)
    except Exception as error:  # torch raises many kinds for files that are damaged or hold code
        raise WeightsError(
            f'{file} cannot be read as tensors only (it is damaged, or holds objects that could run code): '
            f'{type(error).__name__}: {str(error).splitlines()[0]}'
        ) from error


def _load_tensors_only(file: Path) -> object:
    with torch.serialization.safe_globals(_array_types()):
        try:
            return torch.load(file, map_location='cpu', weights_only=True, mmap=True)
        except (RuntimeError, ValueError) as error:
            if 'mmap' not in str(error):
                raise
            return torch.load(file, map_location='cpu', weights_only=True)  # the format before torch 1.6


def _array_types() -> list:
    """What numpy arrays and numbers are pickled with; none of it runs code of the file's choosing."""
    dtypes = [type(np.dtype(name)) for name in ('float64', 'int64', 'float32', 'int32', 'bool')]
    return [np.dtype, np.ndarray, np._core.multiarray._reconstruct, np._core.multiarray.scalar, *dtypes]


def load_weights(module: nn.Module, weights: Iterable[tuple[str, torch.Tensor]], source: str) -> LoadReport:
    """Copy weights into a bare module by name, as they come.

    A layer that PEFT has wrapped takes the weights of the layer it wraps. If the source has no adapter weights at all,
    those of the module are not missing: they start new, on top of the weights just loaded. Nothing is copied unless the
    shape agrees; the caller decides by the report. Weights that ZeRO-3 has spread are brought together one at a time;
    every process must load.

    Args:
        module: The module, before any strategy wraps it.
        weights: Names and tensors.
        source: What messages call the weights' origin.
    """
    report = LoadReport(source)
    wanted = {unwrapped_name(name): tensor for name, tensor in module.state_dict(keep_vars=True).items()}
    with torch.no_grad():
        for name, found in ((unwrapped_name(name), tensor) for name, tensor in weights):
            target = wanted.get(name)
            if target is None:
                report.unexpected.append(name)
            elif found.shape != whole_shape(target):
                report.misshapen[name] = (tuple(found.shape), tuple(whole_shape(target)))
            else:
                with gathered(target, written=True):
                    target.copy_(found)
                report.loaded.append(name)
    seen = {*report.loaded, *report.misshapen}
    shared = {id(wanted[name]) for name in seen}  # an LM head may be the embeddings under another name
    with_adapters = any(is_adapter(name) for name in seen)
    report.missing = [
        name
        for name, target in wanted.items()
        if name not in seen and id(target) not in shared and (with_adapters or not is_adapter(name))
    ]
    if not with_adapters:
        start_magnitudes(module)
    return report


def unwrapped_name(name: str) -> str:
    """Return the name that a weight has without adapters around its layer."""
    return name.replace('.base_layer.', '.')


def is_adapter(name: str) -> bool:
    """Tell whether a weight is one of PEFT's adapters."""
    return '.lora_' in name


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights as they are in memory, whatever files they came from."""

    def of_tensor(item: tuple[str, torch.Tensor]) -> str:
        name, tensor = item
        flat = tensor.detach().reshape(-1).cpu().contiguous()
        content = hashlib.sha256(flat.view(torch.uint8).numpy()).hexdigest()
        return f'{name} {tuple(tensor.shape)} {tensor.dtype} {content}'

    weights = {name: value for name, value in whole_state_dict(model).items() if isinstance(value, torch.Tensor)}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing lets go of Python's lock
        lines = sorted(pool.map(of_tensor, weights.items()))
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
