"""Configs: read from a file, changed from the command line, and checked before anything is built.

A config that has been read holds plain values only: where the file names a class, the config holds its import path.
Names of the file that begin with an underscore are the file's own and do not become settings.
"""

import ast
import copy
import difflib
import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from geochat import registry as registries
from geochat.registry import PART_REGISTRIES, Registry, check_arguments, near_misses

logger = logging.getLogger(__name__)

PACKAGED_CONFIGS = Path(__file__).resolve().parents[1] / 'configs'

TOP_LEVEL_KEYS = (
    *PART_REGISTRIES,
    *('model', 'max_length', 'data_preparation', 'train_dataloader', 'val_dataloader', 'benchmarks'),
    'test_after_training',
    *('train_cfg', 'val_cfg', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'),
    *('optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'strategy', 'model_wrapper_cfg'),
    *('find_unused_parameters', 'default_hooks', 'custom_hooks', 'load_from', 'resume'),
    *('launcher', 'env_cfg', 'randomness', 'log_processor', 'log_level', 'visualizer', 'default_scope'),
    *('experiment_name', 'work_dir', 'custom_imports'),
)
"""Settings of a run: GeoChat's in the first three rows, MMEngine's in the others."""

SAID_ELSEWHERE = {
    'compile': 'compile=True in vision_encoder or llm',
    'activation_checkpointing': 'gradient_checkpointing=True in vision_encoder or llm',
}
"""Settings of MMEngine's runners that are GeoChat's parts' own, and what to set instead."""

DATALOADER_KEYS = (
    *('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch'),
    *('disable_subprocess_warning', 'batch_size'),
    *('num_workers', 'pin_memory', 'drop_last', 'timeout', 'multiprocessing_context', 'prefetch_factor'),
    'persistent_workers',
)
"""Settings of a data loader: MMEngine's seven, then those of PyTorch's ``DataLoader``."""

OPTIONAL_BENCHMARK_KEYS = ('max_new_tokens', 'shown', 'headline', 'version', 'source', 'published', 'scoring')
"""Settings that a benchmark may leave out."""

BENCHMARK_KEYS = ('reader', 'task', 'metrics', *OPTIONAL_BENCHMARK_KEYS)
"""Settings of a benchmark."""

REGISTRY_OF_KEY: dict[str, Registry] = {
    **PART_REGISTRIES,
    'source_codec': registries.BOX_CODECS,
    'chat_template': registries.CHAT_TEMPLATES,
    'model': registries.MODELS,
    **dict.fromkeys(('dataset', 'datasets', 'reader', 'data_preparation'), registries.DATASETS),
    **dict.fromkeys(('sampler', 'batch_sampler'), registries.DATA_SAMPLERS),
    **dict.fromkeys(('image_source', 'image_transform', 'processor'), registries.TRANSFORMS),
    'collate_fn': registries.FUNCTIONS,
    'metrics': registries.METRICS,
    **dict.fromkeys(('default_hooks', 'custom_hooks'), registries.HOOKS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), registries.LOOPS),
    'strategy': registries.STRATEGIES,
    'backend': registries.BACKENDS,
    'visualizer': registries.VISUALIZERS,
    'vis_backends': registries.VISBACKENDS,
    'optim_wrapper': registries.OPTIM_WRAPPERS,
    'param_scheduler': registries.PARAM_SCHEDULERS,
    'log_processor': registries.LOG_PROCESSORS,
}
"""Where the ``type`` of the dict (or of each dict of the list) at a config key is looked up."""

NAMED_DICTS = ('task_prompts', 'default_hooks')
"""Keys whose value is a dict of named dicts, each with a ``type``."""

TAKEN_BY_MMENGINE = {
    registries.HOOKS.name: ('priority',),
    registries.OPTIM_WRAPPERS.name: ('constructor', 'paramwise_cfg'),
    registries.PARAM_SCHEDULERS.name: ('convert_to_iter_based', 'epoch_length'),
}
"""Settings that MMEngine takes out of a part's dict before it builds the part, by the part's family."""


class ConfigError(ValueError):
    """Something in a config or on the command line that the user can mend; the message says where and how."""


def load_config(path: str | Path, cfg_options: Mapping[str, Any] | Sequence[str] = ()) -> Config:
    """Read a config file and change it.

    Args:
        path: A Python config (new or old style), or one in JSON or YAML.
        cfg_options: Changes: a dict of dotted keys, or ``KEY=VALUE`` texts as :func:`parse_options` takes them.

    Raises:
        FileNotFoundError: If there is no such file; the message names those with similar names.
        ConfigError: If a key is unknown.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(_missing_config(path))
    values = Config.fromfile(path).to_dict()
    cfg = as_config({key: value for key, value in values.items() if not key.startswith('_')}, path)
    return change_config(cfg, cfg_options)


def as_config(values: Mapping[str, Any], filename: str | Path | None) -> Config:
    """Make a config of plain values; its dump is not passed through a code formatter, which would take seconds."""
    return Config(dict(values), filename=filename, format_python_code=False)


def change_config(cfg: Config, cfg_options: Mapping[str, Any] | Sequence[str]) -> Config:
    """Return a changed copy of a config; see :func:`load_config`."""
    options = cfg_options if isinstance(cfg_options, Mapping) else parse_options(cfg_options)
    changed = apply_options(cfg, options)
    check_keys(changed)
    return changed


def _missing_config(path: Path) -> str:
    folders = dict.fromkeys((path.parent, PACKAGED_CONFIGS))
    there = {file.stem: file for folder in folders if folder.is_dir() for file in sorted(folder.glob('*.py'))}
    near = [str(there[stem]) for stem in near_misses(path.stem, there)]
    hint = f'; did you mean {" or ".join(near)}?' if near else ''
    return f'there is no config file {str(path)!r}{hint}'


def parse_options(assignments: Sequence[str]) -> dict[str, Any]:
    """Read the ``KEY=VALUE`` texts of ``--cfg-options``.

    A value is read as Python where it is Python (numbers, ``True``, ``None``, quoted strings, lists, dicts) and as a
    string otherwise. As in MMEngine, ``a,b`` is a list, words in brackets need no quotes, and ``true`` is ``True``.

    Raises:
        ConfigError: If a text has no ``=``.
    """
    options = {}
    for assignment in assignments:
        key, equals, value = assignment.partition('=')
        if not equals or not key:
            raise ConfigError(f'--cfg-options takes KEY=VALUE, not {assignment!r}')
        options[key] = _parse_value(value)
    return options


_BARE_WORD = re.compile(r'(?<=[\[(,])\s*([^\s\[\](){},\'"][^\[\](){},\'"]*?)\s*(?=[\]),])')


def _parse_value(text: str) -> Any:
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    is_bare_list = ',' in text and text[0] not in '[({\'"'
    wrapped = f'[{text}]' if is_bare_list else text
    for candidate in (wrapped, _BARE_WORD.sub(lambda match: repr(_parse_value(match[1])), wrapped)):
        try:
            return ast.literal_eval(candidate)
        except (ValueError, SyntaxError):
            continue
    return text


def apply_options(cfg: Config, options: Mapping[str, Any]) -> Config:
    """Return the config with the values at some dotted keys changed.

    A number in a key is an index into a list. Changes of a ``type`` come first: another part takes other settings, so
    those of the old part are dropped, and a warning says which.

    Args:
        cfg: A config from :func:`load_config`.
        options: New values by dotted key, such as ``{'llm.lora.r': 8, 'custom_hooks.0.interval': 5}``.

    Raises:
        ConfigError: If a key leads through something that is not a dict or a list, or past the end of a list.
    """
    values = copy.deepcopy(cfg.to_dict())
    by_type_first = sorted(options, key=lambda key: (key.rpartition('.')[2] != 'type', key.count('.')))
    for key in by_type_first:
        _changed(values, [], key.split('.'), options[key])
    return as_config(values, cfg.filename)


def _changed(node: Any, place: list[str], rest: list[str], value: Any) -> Any:
    """Return a node with a value set at the rest of a dotted key; dicts and lists are changed in place."""
    if isinstance(node, tuple):
        return tuple(_changed(list(node), place, rest, value))
    entry, rest = _next_entry(node, place, rest)
    if isinstance(node, dict) and entry not in node:
        _refuse_near_miss(node, place, entry)
    if rest:
        inner = node.get(entry) if isinstance(node, dict) else node[entry]
        # A group of settings that is absent or switched off begins empty.
        value = _changed({} if inner is None else inner, [*place, str(entry)], rest, value)
    elif entry == 'type':
        _drop_settings(node, place, value)
    node[entry] = value
    return node


def value_at(cfg: Config, key: str) -> Any:
    """Return the value at a dotted key of :func:`apply_options`."""
    node, place, rest = cfg.to_dict(), [], key.split('.')
    while rest:
        entry, rest = _next_entry(node, place, rest)
        node, place = node[entry], [*place, str(entry)]
    return node


def _refuse_near_miss(node: dict, place: list[str], key: str) -> None:
    """Refuse a new key that looks like a misspelt one, where no later check knows all keys that there may be."""
    if not place or ('type' in node and registry_at(place) is not None):
        return
    near = difflib.get_close_matches(key, [str(other) for other in node], n=1, cutoff=0.8)
    if near:
        raise ConfigError(f'{".".join(place)} has no setting {key!r}; did you mean {near[0]!r}?')


def _next_entry(node: Any, place: list[str], rest: list[str]) -> tuple[str | int, list[str]]:
    """Take the next key of a dict (which may have dots in it) or index of a list from a dotted key."""
    where = '.'.join(place)
    if isinstance(node, dict):
        for length in range(1, len(rest) + 1):
            if (joined := '.'.join(rest[:length])) in node:
                return joined, rest[length:]
        return rest[0], rest[1:]
    if isinstance(node, list | tuple):
        if not rest[0].isdecimal() or int(rest[0]) >= len(node):
            raise ConfigError(f'{where} is a list of {len(node)}: {rest[0]!r} is not one of its indices')
        return int(rest[0]), rest[1:]
    raise ConfigError(f'{where} is {node!r}: there is no {".".join(rest)!r} in it')


def _drop_settings(node: dict, place: list[str], new_type: str) -> None:
    """Empty a part's dict if the new type is another part than the one it describes."""
    if 'type' not in node or _same_part(node['type'], new_type, registry_at(place)):
        return
    dropped = [key for key in node if key != 'type']
    if dropped:
        logger.warning(
            '%s is now %s: dropped the settings of %s: %s', '.'.join(place), new_type, node['type'], ', '.join(dropped)
        )
    node.clear()


def _same_part(old: str, new: str, registry: Registry | None) -> bool:
    if registry is None:
        return str(old).rpartition('.')[2] == str(new).rpartition('.')[2]
    target = resolve(registry, new)
    try:
        return registry.resolve(old) is target
    except KeyError:  # the old part may be of a package that is not here, which is why it is replaced
        return False


def resolve(registry: Registry, name: str) -> Any:
    """Return the class or function that a config's ``type`` names.

    Raises:
        ConfigError: If there is none; the message names the nearest ones.
    """
    try:
        return registry.resolve(name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from error


def build_part(registry: Registry, settings: Mapping[str, Any], place: str) -> Any:
    """Build a part from its settings.

    Raises:
        ConfigError: If the part refuses a value, or a file that its settings name; the message begins with the place.
    """
    try:
        return registry.build(dict(settings))
    except (ImportError, ValueError) as error:
        raise ConfigError(f'{place}: {error}') from error


def registry_at(place: Sequence[str]) -> Registry | None:
    """Return the registry in which the ``type`` of the dict at a place of the config is looked up; None if unknown."""
    names = [name for name in place if not name.isdecimal()]
    if len(names) > 1 and names[-2] in NAMED_DICTS:
        return REGISTRY_OF_KEY[names[-2]]
    return REGISTRY_OF_KEY.get(names[-1]) if names else None


def check_keys(cfg: Config) -> None:
    """Refuse unknown settings of the run, of its data loaders and of its benchmarks.

    Raises:
        ConfigError: The message names the key, its place and the nearest known key.
    """
    for key, instead in SAID_ELSEWHERE.items():
        if key in cfg:
            raise ConfigError(f'{key} is not set for the whole run: set {instead}')
    _check_known('the config', cfg, TOP_LEVEL_KEYS)
    for name in ('train_dataloader', 'val_dataloader'):
        _check_known(name, cfg.get(name) or {}, DATALOADER_KEYS)
    for name, benchmark in (cfg.get('benchmarks') or {}).items():
        place = f'benchmarks.{name}'
        _check_known(place, benchmark, BENCHMARK_KEYS)
        for key in ('reader', 'task', 'metrics'):
            if key not in benchmark:
                near = near_misses(name, [other for other in cfg.benchmarks if other != name])
                hint = f'; did you mean benchmarks.{near[0]}?' if near else ''
                raise ConfigError(f'{place} has no {key!r}{hint}')
        prompts = cfg.get('task_prompts') or {}
        task = benchmark['task']
        for name in task.values() if isinstance(task, Mapping) else (task,):
            if name not in prompts:
                known = near_misses(name, prompts) or sorted(prompts)
                raise ConfigError(f'{place}.task: there is no {name!r} in task_prompts, but {", ".join(known)}')


def _check_known(place: str, settings: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in settings:
        if key not in known:
            near = near_misses(key, known)
            hint = f'did you mean {" or ".join(map(repr, near))}?' if near else f'it takes {", ".join(known)}'
            raise ConfigError(f'{place} has no setting {key!r}; {hint}')


def check_parts(cfg: Config) -> None:
    """Refuse parts that do not exist and settings that they do not take, before anything is built.

    Raises:
        ConfigError: The message names the place in the config, the key and the nearest known one.
    """
    if constructor := (cfg.get('optim_wrapper') or {}).get('constructor'):
        resolve(registries.OPTIM_WRAPPER_CONSTRUCTORS, constructor)
    for place, settings in _typed_dicts(cfg.to_dict()):
        registry = registry_at(place)
        if registry is not None:
            allowed = TAKEN_BY_MMENGINE.get(registry.name, ())
            arguments = {key: value for key, value in settings.items() if key not in ('type', '_scope_')}
            try:
                check_arguments(registry.resolve(settings['type']), arguments, allowed)
            except (KeyError, TypeError) as error:
                raise ConfigError(f'{".".join(place)}: {error.args[0]}') from error
    if 'llm' in cfg:
        _check_llm(cfg.llm)


def _check_llm(llm: Mapping[str, Any]) -> None:
    """Refuse unknown settings in the groups of an :class:`~geochat.models.HFCausalLM`."""
    from geochat.models.adapters import add_lora, quantize_linear_layers
    from geochat.models.llms import HFCausalLM
    from geochat.models.llms.start_values import set_start_values

    if resolve(registries.LLMS, llm['type']) is not HFCausalLM:
        return
    groups = {'lora': add_lora, 'quantization': quantize_linear_layers, 'start_values': set_start_values}
    for group, function in groups.items():
        settings = llm.get(group) or {}
        known = [name for name in inspect.signature(function).parameters if name not in ('model', 'vocabulary')]
        _check_known(f'llm.{group}', settings, known)


def _typed_dicts(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    if isinstance(node, dict):
        if 'type' in node:
            yield place, node
        for key, value in node.items():
            yield from _typed_dicts(value, (*place, key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _typed_dicts(value, (*place, str(index)))


def takes(registry: Registry, settings: Mapping[str, Any], name: str) -> bool:
    """Tell whether the part that a config dict describes takes an argument of this name."""
    return name in inspect.signature(resolve(registry, settings['type'])).parameters
