"""The card of a test run: everything that its figures depend on, so that they can be had again."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geochat
from geochat.engine.files import replace_text

if TYPE_CHECKING:
    from geochat.engine.benchmark import Benchmark

CARD = 'run_card.json'

LIBRARIES = (
    *('torch', 'transformers', 'tokenizers', 'peft', 'mmengine', 'onedl-mmengine', 'onedl-mmcv', 'numpy', 'pillow'),
    *('scipy', 'shapely', 'pycocotools', 'rouge-score', 'pycocoevalcap'),
)
"""Packages whose version may change a figure."""

Card = dict[str, Any]


def now() -> str:
    """Return the time as text, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')


def digest(value: Any) -> str:
    """Return the SHA-256 of plain values, the same for equal ones."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with Path(path).open('rb') as file:
        return _hash_blocks(iter(lambda: file.read(1 << 20), b''))


def _hash_blocks(blocks: Iterable[bytes]) -> str:
    hashed = hashlib.sha256()
    for block in blocks:
        hashed.update(block)
    return hashed.hexdigest()


def code_digest() -> str:
    """Return the SHA-256 of this package's source files and their names."""
    root = Path(geochat.__file__).parent
    sources = sorted(path for path in root.rglob('*.py') if 'configs' not in path.parts)
    return _hash_blocks(part for path in sources for part in (str(path.relative_to(root)).encode(), path.read_bytes()))


def describe_machine() -> dict[str, Any]:
    """Return what the answers were computed with."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        'platform': platform.platform(),
        'python': platform.python_version(),
        'processor': platform.processor() or platform.machine(),
        'cores': os.cpu_count(),
        'gpus': gpus,
    }


def library_versions() -> dict[str, str]:
    """Return the versions of :data:`LIBRARIES` that are installed."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_benchmark(benchmark: 'Benchmark', settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the figures of a benchmark depend on, beside the model and its answers.

    Args:
        benchmark: The benchmark.
        settings: Its settings in the config.
    """
    # Metrics that are MMEngine's own have no version and no protocol.
    metrics = [
        {**chosen, 'protocol': getattr(metric, 'protocol', 'exact'), 'version': getattr(metric, 'version', 1)}
        for metric, chosen in zip(benchmark.metrics, settings['metrics'], strict=True)
    ]
    return {
        'version': benchmark.version,
        'source': benchmark.source,
        'questions': len(benchmark.reader),
        'files': {path: file_digest(path) for path in benchmark.files},
        'metrics': metrics,
    }


def card_of(benchmarks: Sequence['Benchmark'], config: Mapping[str, Any], **further: Any) -> Card:
    """Put a card together.

    Args:
        benchmarks: The benchmarks that are scored.
        config: The config with them, of plain values.
        further: What else it says.
    """
    return {
        'geochat': geochat.__version__,
        'code_sha256': code_digest(),
        'libraries': library_versions(),
        'written': now(),
        **further,
        'benchmarks': {
            benchmark.name: describe_benchmark(benchmark, config['benchmarks'][benchmark.name])
            for benchmark in benchmarks
        },
        'config': config,
    }


MODEL_KEYS = ('vision_encoder', 'projector', 'llm', 'box_codec', 'model', 'max_length')
"""What of a config decides how a model is asked and answers, in every benchmark."""


def add_origins(card: Card, backend: Mapping[str, str]) -> None:
    """Write into a card what the answers depend on: ``origins`` of the model and of each benchmark, as hashes.

    Answers of another run can be taken over if these are the same.

    Args:
        card: The card.
        backend: What they depend on of who writes them: its ``origin``.
    """
    config = card['config']
    card['origins'] = {
        **backend,
        'config of the model': digest({key: config.get(key) for key in MODEL_KEYS}),
    }
    for name, entry in card['benchmarks'].items():
        settings = config['benchmarks'][name]
        tasks = settings['task'].values() if isinstance(settings['task'], Mapping) else [settings['task']]
        asked = {key: settings.get(key) for key in ('reader', 'task', 'max_new_tokens', 'scoring')}
        entry['origins'] = {
            'config of the benchmark': digest([asked, [config['task_prompts'][task] for task in tasks]]),
            'files of the benchmark': digest(sorted(entry['files'].values())),
        }


@dataclass(frozen=True)
class TakenOver:
    """What holds of an earlier run in the same work directory.

    Attributes:
        kept: Benchmarks whose answers are taken over.
        changed: Why the answers to other benchmarks are not, by benchmark.
        metrics: What the earlier ``metrics.json`` says of benchmarks that this run does not ask.
        message: What was done, for the user; None if there was no earlier run.
    """

    kept: tuple[str, ...] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    message: str | None = None


def take_over(folder: Path, card: Card, journals: Sequence[str]) -> TakenOver:
    """Find out which answers in a work directory are those that this run would get.

    If there are others, copies of all files of the earlier run are put into ``earlier/TIME``.

    Args:
        folder: The work directory.
        card: This run's card, with its origins; the entries of benchmarks that it does not ask but whose answers hold
            are added.
        journals: Names of the files of answers.
    """
    from geochat.engine.journal import journal_files

    files = [path for name in journals for path in journal_files(folder, name)]
    if not files:
        return TakenOver()
    old = read_card(folder) or {}
    changed = _changed_origins(old, card)
    kept = tuple(name for name in old.get('benchmarks', {}) if name not in changed)
    lines = []
    if kept:
        lines.append(f'Answers to {", ".join(kept)} are taken over from an interrupted or earlier run in {folder}.')
        if old.get('code_sha256') != card['code_sha256']:
            lines.append('They were made by another state of the code: delete them if it answers differently.')
        card['taken_over'] = {key: old.get(key) for key in ('written', 'geochat', 'code_sha256')}
    if changed or not kept:
        place = _put_aside([*files, folder / CARD, folder / 'metrics.json'], folder)
        reasons = '; '.join(f'{name}: {reason}' for name, reason in changed.items()) or 'no run card tells their origin'
        lines.append(f'Other answers in {folder} are not used ({reasons}); that run is now in {place}.')
    unasked = [name for name in kept if name not in card['benchmarks']]
    card['benchmarks'].update({name: old['benchmarks'][name] for name in unasked})
    return TakenOver(kept, changed, _sections(folder / 'metrics.json', unasked), ' '.join(lines))


def _changed_origins(old: Card, card: Card) -> dict[str, str]:
    """Return by benchmark of an old card what its answers depend on that is now different."""
    changed = {}
    for name, entry in old.get('benchmarks', {}).items():
        now = {**card['origins'], **card['benchmarks'].get(name, {}).get('origins', {})}
        before = {**old.get('origins', {}), **entry.get('origins', {})}
        other = [key for key, value in now.items() if before.get(key) != value]
        if other:
            changed[name] = f'other {" and ".join(other)}'
    return changed


def _put_aside(files: Sequence[Path], folder: Path) -> Path:
    time = datetime.datetime.now().strftime('%Y-%m-%d_%H-%M-%S')
    place = folder / 'earlier' / time
    place.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.is_file():
            shutil.copy2(file, place / file.name)
    return place


def _sections(path: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what a ``metrics.json`` says of some benchmarks, by section."""
    if not names or not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding='utf-8'))
    sections = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    return {key: {name: value[name] for name in names if name in value} for key, value in sections.items()}


def write_card(card: Card, folder: Path) -> None:
    """Write a card into a work directory."""
    replace_text(folder / CARD, json.dumps(card, indent=2, default=str))


def read_card(folder: Path) -> Card | None:
    """Read the card of a work directory; None if there is none, or none that can be read."""
    try:
        return json.loads((folder / CARD).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
