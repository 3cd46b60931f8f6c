"""Trains small models in a process of its own: ``run_toy.py RUNS`` with a JSON list of settings for the runner.

Each run writes ``losses.json`` into its work directory: the losses of all its steps, and in ``held`` the share of the
weights that this process held when the model was built; and ``weights.safetensors``. One that cannot write its
checkpoint leaves ``error_RANK.txt`` of each process instead.
"""

import json
import os
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault('DS_ACCELERATOR', 'cpu')


def main() -> None:
    from geochat.engine.distributed import close_process_group

    for number, settings in enumerate(json.loads(sys.argv[1])):
        train(f'run_{number}', settings)
    close_process_group()


def train(name: str, settings: dict) -> None:
    from mmengine.config import Config
    from mmengine.dist import get_rank, is_main_process
    from safetensors.torch import save_file
    from toy_training import toy_config

    from geochat.engine.checkpoint import gather_tensors
    from geochat.engine.files import WriteError
    from geochat.engine.loops.step import bare_model
    from geochat.engine.runner import GeoChatFlexibleRunner, GeoChatRunner

    launcher = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    settings = {**toy_config(), **settings, 'launcher': launcher, 'experiment_name': name}
    runner = (GeoChatFlexibleRunner if 'strategy' in settings else GeoChatRunner).from_cfg(Config(settings))
    held = share_held(runner.model)
    try:
        runner.train()
    except WriteError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (Path(settings['work_dir']) / f'error_{get_rank()}.txt').write_text(str(error))
        return
    weights = gather_tensors(bare_model(runner.model).state_dict(keep_vars=True))
    if is_main_process():
        hub, folder = runner.message_hub, Path(settings['work_dir'])
        scalars = {name: hub.get_scalar(name).data[0].tolist() for name in hub.log_scalars if 'loss' in name}
        (folder / 'losses.json').write_text(json.dumps({**scalars, 'held': held}))
        save_file(weights, folder / 'weights.safetensors')


def share_held(model) -> float:
    """Return the share of the weights that this process holds, of which ZeRO-3 has spread some."""
    from geochat.models.partitioned import whole_shape

    weights = list(model.parameters())
    held = sum(weight.numel() + (weight.ds_tensor.numel() if hasattr(weight, 'ds_id') else 0) for weight in weights)
    return held / sum(whole_shape(weight).numel() for weight in weights)


if __name__ == '__main__':
    main()
