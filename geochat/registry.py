"""Every registry of GeoChat: where a part is found by its name, and what the name's owner must be.

The seven families at the top are root registries of this project: MMEngine has no counterpart. Those below are children
of MMEngine's own, so that everything of OpenMMLab can be used here and everything here can be used there.
"""

import difflib
import importlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry as MMEngineRegistry
from mmengine.registry import build_from_cfg, build_model_from_cfg
from mmengine.utils import ManagerMixin

from geochat.plugins import load_plugins


def near_misses(name: str, candidates: Iterator[str] | list[str]) -> list[str]:
    """Return up to three candidates that look like ``name``, best first, whatever the case."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]


def known_names(name: str, candidates: Iterator[str] | list[str]) -> str:
    """Return how an error about an unknown name ends: ``did you mean A or B?``, or all names if none looks like it."""
    candidates = list(candidates)
    near = near_misses(name, candidates)
    return f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(sorted(candidates))}'


def check_arguments(target: Callable, arguments: Mapping[str, Any], allowed: tuple[str, ...] = ()) -> None:
    """Refuse keyword arguments that ``target`` does not take.

    Args:
        target: The class or function about to be called.
        arguments: Keyword arguments of the call.
        allowed: Keys that the caller takes out before the call.

    Raises:
        TypeError: If a key is unknown; the message names the key and the nearest known one.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # built-ins without a signature check their arguments themselves
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [*parameters, *allowed]
    for key in arguments:
        if key not in known:
            near = near_misses(key, known)
            hint = f'did you mean {" or ".join(map(repr, near))}?' if near else f'it takes {", ".join(known)}.'
            name = getattr(target, '__qualname__', repr(target))
            raise TypeError(f'{name} ({target.__module__}) has no setting {key!r}: {hint}')


def _build_checked(cfg: dict, registry: 'Registry', **kwargs) -> Any:
    """Build like MMEngine, after checking the name and the keys, so that a slip is answered with the near miss."""
    default_args = kwargs.get('default_args') or {}
    if not isinstance(cfg, Mapping) or ('type' not in cfg and 'type' not in default_args):
        raise TypeError(f'a {registry.name} is built from a dict with the key "type", not from {cfg!r}')
    arguments = {**default_args, **cfg}
    target = registry.resolve(arguments.pop('type'))
    arguments.pop('_scope_', None)
    check_arguments(target, arguments)
    if registry.parent is mmengine_registry.MODELS:
        return build_model_from_cfg({**cfg, 'type': target}, registry=registry, **kwargs)
    if '_scope_' in cfg or (inspect.isclass(target) and issubclass(target, ManagerMixin)):
        return build_from_cfg({**cfg, 'type': target}, registry=registry, **kwargs)
    # MMEngine's way does no more here than write a line into the debug log, for which it imports torch.
    return target(**arguments)


class Registry(MMEngineRegistry):
    """MMEngine's registry with answers to misspelt names and keys.

    Args:
        name: What the family is called in messages.
        parent: MMEngine's registry of the same family, if there is one.
        locations: Modules whose import registers the family's members.
    """

    def __init__(self, name: str, parent: MMEngineRegistry | None = None, locations: tuple[str, ...] = ()):
        super().__init__(name, build_func=_build_checked, parent=parent, scope='geochat', locations=list(locations))

    def import_from_location(self) -> None:
        """Import the family's own modules and the third-party packages."""
        if self._imported:
            return
        # Not by MMEngine's way, whose line for the debug log imports torch.
        for location in self._locations:
            importlib.import_module(location)
        self._imported = True
        try:
            load_plugins()
        except ImportError:
            self._imported = False  # the next look-up must fail alike, not go on without the plugin
            raise

    def _register_module(self, module: Callable, module_name: str | list[str] | None = None, force: bool = False):
        """Register a part; a stranger's part that came first under one of our names gives way to ours."""
        names = [module_name or module.__name__] if not isinstance(module_name, list) else module_name
        if module.__module__.startswith('geochat.'):
            for name in set(names) & set(self.module_dict):
                self._take_back(name)
        super()._register_module(module, module_name=names, force=force)

    def _take_back(self, name: str) -> None:
        owner = self.module_dict[name].__module__
        if not owner.startswith('geochat.'):
            self.module_dict.pop(name)
            warnings.warn(f'{name!r} is a {self.name} of GeoChat; the one of {owner} is left out', stacklevel=5)

    def names(self) -> dict[str, Callable]:
        """Return every name that can be built here, with its class or function."""
        self.import_from_location()
        inherited = dict(self.parent.module_dict) if self.parent is not None else {}
        return {**inherited, **self.module_dict}

    def resolve(self, key: str | Callable) -> Callable:
        """Return the class or function behind a config's ``type``.

        Args:
            key: A registered name, a scoped name (``my_plugin.Part``), an importable path, or the object itself.

        Raises:
            KeyError: If there is no such part; the message names the nearest ones and where they come from.
            TypeError: If ``key`` is neither a name nor something that can be called.
        """
        if callable(key):
            return key
        if not isinstance(key, str):
            raise TypeError(f'the type of a {self.name} is a name or a class, not {key!r}')
        found = _import_member(key) if '.' in key else None
        if found is None:
            found = self.names().get(key)
        if found is None and '.' in key:
            found = self._resolve_scoped(key)
        if found is None:
            raise KeyError(self._unknown(key))
        return found

    def _resolve_scoped(self, key: str) -> Callable | None:
        try:
            found = self.get(key)
        except Exception:  # the module is there and fails when imported, in any way; _unknown says how
            return None
        return found if callable(found) else None

    def _unknown(self, key: str) -> str:
        names = self.names()
        near = near_misses(key.rpartition('.')[2], names)
        known = ', '.join(f'{name!r} (from {names[name].__module__})' for name in near or sorted(names))
        message = f'{key!r} is not a registered {self.name}; ' + ('did you mean ' if near else 'there are ') + known
        reason = _why_not_importable(key) if '.' in key else ''
        return f'{message}. {reason}' if reason else message


def _import_member(key: str) -> Callable | None:
    """Return what a dotted name leads to; None if that is nothing, or no part.

    The names of a family are not looked up for it, since some of its modules are heavy.
    """
    module_name, _, member = key.rpartition('.')
    try:
        if importlib.util.find_spec(module_name) is None:
            return None
        found = getattr(importlib.import_module(module_name), member, None)
    except Exception:  # a module may fail in any way when it is imported; _why_not_importable says how
        return None
    return found if callable(found) else None


def _why_not_importable(key: str) -> str:
    """Say why a dotted name leads to no part: its module cannot be imported, or has no such member."""
    module_name, _, member = key.rpartition('.')
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a plugin's module may fail in any way; the user must see which
        return f'Importing {module_name!r} failed: {type(error).__name__}: {error}'
    near = near_misses(member, dir(module))
    hint = f'; it has {" and ".join(near)}' if near else ''
    return f'{module_name!r} has no callable {member!r}{hint}'


# The five parts of a model and its task, and how an LLM family writes a dialogue.
VISION_ENCODERS = Registry('vision encoder', locations=('geochat.models.vision_encoders',))
PROJECTORS = Registry('projector', locations=('geochat.models.projectors',))
LLMS = Registry('LLM', locations=('geochat.models.llms',))
TASK_PROMPT_TEMPLATES = Registry('task prompt template', locations=('geochat.prompts',))
BOX_CODECS = Registry('box codec', locations=('geochat.box_codecs',))
CHAT_TEMPLATES = Registry('chat template', locations=('geochat.prompts',))

# Who writes answers instead of the engine in this process.
BACKENDS = Registry('back end', locations=('geochat.generation.openai_backend',))

# Whole models and data preprocessors.
MODELS = Registry('model', parent=mmengine_registry.MODELS, locations=('geochat.models',))
# Instruction data, benchmark readers and what prepares their files.
DATASETS = Registry('dataset', parent=mmengine_registry.DATASETS, locations=('geochat.datasets', 'mmengine.dataset'))
# Which records form a batch, and in which order.
DATA_SAMPLERS = Registry(
    'data sampler', parent=mmengine_registry.DATA_SAMPLERS, locations=('geochat.datasets', 'mmengine.dataset')
)
# Image sources, image transforms and the sample processor.
TRANSFORMS = Registry('transform', parent=mmengine_registry.TRANSFORMS, locations=('geochat.datasets',))
# Collate functions.
FUNCTIONS = Registry('function', parent=mmengine_registry.FUNCTIONS, locations=('geochat.datasets', 'mmengine.dataset'))
# Scores of answers.
METRICS = Registry('metric', parent=mmengine_registry.METRICS, locations=('geochat.evaluation.metrics',))
# What happens around a training step.
HOOKS = Registry('hook', parent=mmengine_registry.HOOKS, locations=('geochat.engine.hooks',))
# Training, validation and benchmark loops.
LOOPS = Registry('loop', parent=mmengine_registry.LOOPS, locations=('geochat.engine.loops',))
# How a model is spread over processes.
STRATEGIES = Registry('strategy', parent=mmengine_registry.STRATEGIES, locations=('geochat.engine.strategies',))
# How gradients become updates, and how the learning rate runs.
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper', parent=mmengine_registry.OPTIM_WRAPPERS, locations=('geochat.engine.optimization',)
)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler', parent=mmengine_registry.PARAM_SCHEDULERS, locations=('geochat.engine.optimization',)
)
# The lines that a run prints.
LOG_PROCESSORS = Registry('log processor', parent=mmengine_registry.LOG_PROCESSORS, locations=('geochat.engine.hooks',))
# Pictures of boxes and phrases.
VISUALIZERS = Registry(
    'visualizer',
    parent=mmengine_registry.VISUALIZERS,
    locations=('geochat.visualization.visualizer', 'mmengine.visualization'),
)
OPTIMIZERS = Registry('optimizer', parent=mmengine_registry.OPTIMIZERS, locations=('geochat.engine.muon',))
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    locations=('geochat.engine.muon', 'geochat.engine.partwise'),
)
# Families without members of our own: MMEngine looks for each under the default scope, and warns where it finds none.
MODEL_WRAPPERS = Registry('model wrapper', parent=mmengine_registry.MODEL_WRAPPERS)
VISBACKENDS = Registry(
    'visualization back end', parent=mmengine_registry.VISBACKENDS, locations=('mmengine.visualization',)
)

PART_REGISTRIES = {
    'vision_encoder': VISION_ENCODERS,
    'projector': PROJECTORS,
    'llm': LLMS,
    'task_prompts': TASK_PROMPT_TEMPLATES,
    'box_codec': BOX_CODECS,
}
"""The config keys of the five parts and where each is looked up; ``task_prompts`` holds one template a task."""
