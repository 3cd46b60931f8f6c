"""Third-party packages: how their parts come to be known without touching this code.

An installed package names a module in the entry point group ``geochat.plugins``; one that is not installed is named in
the environment variable ``GEOCHAT_PLUGINS`` (modules, separated by commas). Importing the module registers its parts.
"""

import functools
import importlib
import os
import warnings
from importlib.metadata import entry_points

ENTRY_POINT_GROUP = 'geochat.plugins'
ENVIRONMENT_VARIABLE = 'GEOCHAT_PLUGINS'


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Import every third-party module once and return the names of those that could be imported.

    An installed package that is broken warns, with its whole trace, and does not stop the others. A module that the
    user named in ``GEOCHAT_PLUGINS`` was asked for, so its failure is an error.

    Raises:
        ImportError: If a module named in ``GEOCHAT_PLUGINS`` cannot be imported.
    """
    loaded = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            importlib.import_module(point.module)
        except Exception as error:  # whatever a stranger's module raises must not take the program down
            _warn_broken(point.name, point.module, error)
        else:
            loaded.append(point.module)
    for module in filter(None, map(str.strip, os.environ.get(ENVIRONMENT_VARIABLE, '').split(','))):
        try:
            importlib.import_module(module)
        except Exception as error:
            raise ImportError(f'{ENVIRONMENT_VARIABLE} names {module!r}, which cannot be imported: {error}') from error
        loaded.append(module)
    return tuple(loaded)


def _warn_broken(name: str, module: str, error: Exception) -> None:
    import traceback

    trace = ''.join(traceback.format_exception(error))
    warnings.warn(f'the plugin {name!r} (module {module}) is broken and left out:\n{trace}', stacklevel=2)
