"""Trains the toy model in a process of its own: ``run_toy.py SETTINGS`` with a JSON of settings for the runner.

It writes the losses of all steps into ``losses.json`` of the work directory.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault('DS_ACCELERATOR', 'cpu')


def main() -> None:
    from mmengine.config import Config
    from mmengine.dist import is_main_process
    from toy_training import toy_config

    from geochat.engine.distributed import close_process_group
    from geochat.engine.runner import GeoChatFlexibleRunner, GeoChatRunner

    settings = {**toy_config(), **json.loads(sys.argv[1])}
    settings['launcher'] = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    runner = (GeoChatFlexibleRunner if 'strategy' in settings else GeoChatRunner).from_cfg(Config(settings))
    runner.train()
    if is_main_process():
        hub = runner.message_hub
        scalars = {name: hub.get_scalar(name).data[0].tolist() for name in hub.log_scalars if 'loss' in name}
        (Path(settings['work_dir']) / 'losses.json').write_text(json.dumps(scalars))
    close_process_group()


if __name__ == '__main__':
    main()
