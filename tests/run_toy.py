"""Trains small models in a process of its own: ``run_toy.py RUNS`` with a JSON list of settings for the runner.

Each run writes the losses of all its steps into ``losses.json`` of its work directory.
"""

import json
import os
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
    from mmengine.dist import is_main_process
    from toy_training import toy_config

    from geochat.engine.runner import GeoChatFlexibleRunner, GeoChatRunner

    launcher = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    settings = {**toy_config(), **settings, 'launcher': launcher, 'experiment_name': name}
    runner = (GeoChatFlexibleRunner if 'strategy' in settings else GeoChatRunner).from_cfg(Config(settings))
    runner.train()
    if is_main_process():
        hub = runner.message_hub
        scalars = {name: hub.get_scalar(name).data[0].tolist() for name in hub.log_scalars if 'loss' in name}
        (Path(settings['work_dir']) / 'losses.json').write_text(json.dumps(scalars))


if __name__ == '__main__':
    main()
