"""Models from configs and folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geochat.models import GeoChat


def build_model(config: str | Path | Mapping[str, Any]) -> 'GeoChat':
    """Build the model that a config describes, with random weights.

    Args:
        config: A config file, a loaded config, or a mapping of ``vision_encoder``, ``projector`` and ``llm``.

    Raises:
        FileNotFoundError: If the config file is not there.
        KeyError: If a part's name is not registered; TypeError if a part does not take a key.
    """
    from geochat.engine import link_parts, load_config
    from geochat.registry import MODELS

    if isinstance(config, str | Path):
        config = load_config(config)
    if 'model' in config:
        return MODELS.build(link_parts(config)['model'])
    parts = {key: config[key] for key in ('vision_encoder', 'projector', 'llm')}
    return MODELS.build({'type': 'GeoChat', **parts})


def load_model(folder: str | Path) -> 'GeoChat':
    """Load a model folder of ours, of the original GeoChat or LLaVA-1.5, or of Hugging Face's LLaVA.

    Reads JSON and tensors only: part names are looked up among registered ones; code beside the weights, or hidden in
    them, is never run.

    Args:
        folder: The folder; an original's vision tower may be inside its weights, or a folder in it or beside it.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: If there is no such folder, config or weight file.
        ValueError: If the folder is of another kind.
        geochat.models.weights.WeightsError: If the weights are damaged, hold code or do not fit.
    """
    from transformers.initialization import no_init_weights

    from geochat.converters import read_parts
    from geochat.engine.checkpoint import load_checkpoint

    parts = read_parts(folder)
    with no_init_weights():  # every tensor is loaded; load_checkpoint checks it
        model = build_model(parts)
    load_checkpoint(model, folder)
    return model.eval()
