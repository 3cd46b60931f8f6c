"""Where curves go: the visualisation back ends that a config names need packages of their own."""

import importlib.util
import logging
from typing import Any

from mmengine.config import Config

from geochat.installation import InstallationError

logger = logging.getLogger(__name__)

PACKAGES = {
    'TensorboardVisBackend': 'tensorboard',
    'WandbVisBackend': 'wandb',
    'MLflowVisBackend': 'mlflow',
    'ClearMLVisBackend': 'clearml',
    'NeptuneVisBackend': 'neptune',
    'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim',
}
"""MMEngine's back ends and the packages that they import."""

LEFT_OUT_IF_MISSING = ('TensorboardVisBackend',)
"""Back ends that recipes name by default: a run goes on without them, and its log has the same numbers."""


def check_backends(cfg: Config) -> None:
    """Refuse back ends whose package is missing before the training begins; TensorBoard is left out with a warning.

    Raises:
        InstallationError: Names the back end and the command that installs its package.
    """
    visualizer = cfg.get('visualizer') or {}
    kept = [backend for backend in visualizer.get('vis_backends') or () if _is_usable(backend)]
    if 'vis_backends' in visualizer:
        visualizer.vis_backends = kept


def _is_usable(backend: dict[str, Any]) -> bool:
    name = str(backend['type']).rpartition('.')[2]
    package = PACKAGES.get(name)
    if package is None or importlib.util.find_spec(package) is not None:
        return True
    if name in LEFT_OUT_IF_MISSING:
        logger.warning('No curves for %s are written: it is not installed (pip install %s)', package, package)
        return False
    raise InstallationError(f'visualizer.vis_backends: {name} needs the package {package}: pip install {package}')
