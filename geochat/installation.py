"""Is the installation sound: the OpenMMLab forks and their upstream packages must not lie over each other.

The forks that are maintained (``onedl-mmengine`` and others) install the same modules as upstream (``mmengine``). Where
pip put both, the second overwrote the first without a word, and removing either takes files of the other away.
"""

import importlib.util
from importlib.metadata import PackageNotFoundError, version

FORKS = {
    'mmengine': ('onedl-mmengine', ('mmengine', 'mmengine-lite')),
    'mmcv': ('onedl-mmcv', ('mmcv', 'mmcv-lite', 'mmcv-full')),
    'mmdet': ('onedl-mmdetection', ('mmdet',)),
    'mmrotate': ('onedl-mmrotate', ('mmrotate',)),
}
"""Module: the distribution it must come from, and upstream distributions that install the same files."""


class InstallationError(RuntimeError):
    """Something is missing or broken on this machine; the message says how to repair it."""


def check_installation() -> None:
    """Refuse to run where packages overwrite each other, or where OpenCV cannot be imported.

    Raises:
        InstallationError: If upstream OpenMMLab packages lie over (or took away) files of the forks, or a library of
            the system that OpenCV needs is missing.
    """
    _check_opencv()
    faults, remove, install = [], [], []
    for module, (fork, upstream) in FORKS.items():
        intruders = [name for name in upstream if _version(name)]
        fork_version = _version(fork)
        if intruders and fork_version:
            faults.append(f'{" and ".join(intruders)} and {fork} both install the module {module!r}')
        elif fork_version and importlib.util.find_spec(module) is None:
            faults.append(f'{fork} is listed, but its module {module!r} is gone')
        else:
            continue
        remove += [*intruders, fork]
        install.append(f'{fork}=={fork_version}')
    if faults:
        raise InstallationError(
            f'The installed packages are broken: {"; ".join(faults)}. Repair them with\n'
            f'    pip uninstall -y {" ".join(remove)} && pip install --no-deps {" ".join(install)}'
        )


def _check_opencv() -> None:
    """Refuse to run where OpenCV's build with windows, which mmcv brings, lacks a library of the system."""
    try:
        importlib.import_module('cv2')
    except ImportError as error:
        if '.so' not in str(error):
            raise
        windowless = f'opencv-python-headless=={_version("opencv-python")}'
        raise InstallationError(
            f'OpenCV cannot be imported: {error}. Install what it needs (apt-get install libgl1 libglib2.0-0), or put '
            f'the build without windows in its place:\n    pip install --no-deps --force-reinstall {windowless}'
        ) from error


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
