"""The benchmarks of a config as a table: what each asks, and whether its files are here."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geochat.engine.benchmark import check_names

_WIDTH = 50
"""Of the column that says where the files come from."""


def benchmark_table(cfg: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    """Lay out the benchmarks of a config as a table.

    Args:
        cfg: The config.
        names: Which benchmarks; None takes all.

    Raises:
        ConfigError: If there is no benchmark of a name.
    """
    from terminaltables import AsciiTable

    benchmarks = cfg.get('benchmarks') or {}
    check_names(benchmarks, names or ())
    rows = [['benchmark', 'task', 'files', 'version', 'source']]
    for name in names or benchmarks:
        settings = benchmarks[name]
        task = settings['task']
        tasks = task if isinstance(task, str) else ', '.join(dict.fromkeys(task.values()))
        source = textwrap.fill(settings.get('source', ''), _WIDTH, break_long_words=False, break_on_hyphens=False)
        rows.append([name, tasks, _presence(settings['reader']), settings.get('version', 1), source])
    return AsciiTable(rows).table


def _presence(reader: Mapping[str, Any]) -> str:
    """Tell which of the files and folders are missing that the settings of a reader name."""
    named = [value for key, value in reader.items() if value and (key.endswith('_file') or key == 'annotations')]
    pictures = reader.get('image_source', {}).get('root')
    there = dict.fromkeys((*named, *([pictures] if pictures else [])))
    missing = [path for path in there if not Path(path).exists()]
    return '\n'.join(['missing:', *missing]) if missing else 'here'
