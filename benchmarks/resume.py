"""Kill a training at random moments, again and again: does it go on as if nothing had happened?

python benchmarks/resume.py --kills 20 --json resume.json

A small model with LoRA dropout trains on built-in scenes and saves every second step. Each case first trains without
interruption. Then the same run is killed with SIGKILL, all its processes at once, at a random moment: a number of steps
and a part of a step after it begins, be it while it starts, learns or saves. It goes on with ``resume=True``, until it
was killed as often as asked; one that ends is begun anew. Every loss that any of these processes logged must be the
uninterrupted run's of that step.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import in_own_process, machine

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('DS_ACCELERATOR', 'cpu')

STEPS, SAVE_EVERY, PICTURES, IMAGE_SIZE = 30, 2, 24, 28
RECORDS_A_STEP = 4


@dataclass(frozen=True)
class Case:
    """What is trained how.

    Attributes:
        processes: Ranks; two train with DeepSpeed ZeRO-2, one without.
        workers: Worker processes of the data loader.
        sampler: Registered name of the sampler.
        tolerance: Relative difference that a loss may have; 0 asks for equality.
    """

    processes: int
    workers: int
    sampler: str
    tolerance: float

    @property
    def name(self) -> str:
        """What reports call it."""
        kind = 'plain' if self.processes == 1 else f'ZeRO-2 on {self.processes} processes'
        return f'{kind}, {self.workers} workers, {self.sampler}'


CASES = [
    Case(processes, workers, sampler, tolerance)
    for processes, tolerance in ((1, 0.0), (2, 1e-5))
    for workers in (0, 2)
    for sampler in ('LengthGroupedSampler', 'ImageGroupedSampler')
]


def write_records(folder: Path) -> str:
    """Write records about built-in scenes, several a picture, and return the file's name."""
    from geochat.datasets import SceneFiles

    SceneFiles(str(folder), IMAGE_SIZE, PICTURES, num_val=1, num_test=1).prepare()
    target = folder / 'records.jsonl'
    with target.open('w', encoding='utf-8') as file:
        for line in (folder / 'train.jsonl').read_text(encoding='utf-8').splitlines():
            record = json.loads(line)
            turns = record['conversations'][:8]
            for number in range(0, len(turns), 2):
                question, answer = (dict(turn) for turn in turns[number : number + 2])
                question['value'] = '<image>\n' + question['value'].replace('<image>', '').strip()
                file.write(
                    json.dumps({**record, 'id': f'{record["id"]}-{number}', 'conversations': [question, answer]})
                )
                file.write('\n')
    return str(target)


def config_of(case: Case, data_file: str) -> Any:
    """Return the config of a case."""
    import geochat
    from geochat.engine.config import as_config

    loader = {
        'batch_size': RECORDS_A_STEP // 2,
        'num_workers': case.workers,
        'dataset': {
            'type': 'InstructionDataset',
            'data_file': data_file,
            'image_source': {'type': 'SceneImages', 'size': IMAGE_SIZE},
        },
        'sampler': {'type': case.sampler},
        'collate_fn': {'type': 'geochat.datasets.collate_samples'},
    }
    settings = {
        'vision_encoder': {'type': 'ClipVisionEncoder', 'config': _VISION},
        'projector': {'type': 'MLPProjector'},
        'llm': {
            'type': 'HFCausalLM',
            'config': _LLM,
            'tokenizer': f'{Path(geochat.__file__).parent}/data/tiny/tokenizer',
            'chat_template': {'type': 'VicunaV1', 'system': ''},
            'lora': {'r': 4, 'alpha': 8, 'dropout': 0.2},
        },
        'task_prompts': {'vqa': {'type': 'VQAPrompt'}},
        'box_codec': {'type': 'GeoChatBoxCodec'},
        'model': {'type': 'GeoChat'},
        'max_length': 128,
        'train_dataloader': loader,
        'train_cfg': {'type': 'TrainLoop', 'max_iters': STEPS, 'accumulation': 2 // case.processes},
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-2}, 'clip_grad': {'max_norm': 1.0}},
        'param_scheduler': {'type': 'CosineWithWarmupLR', 'by_epoch': False},
        'default_hooks': {
            'sampler_seed': None,
            'logger': {'type': 'ProgressHook', 'interval': 1},
            'checkpoint': {'type': 'CheckpointHook', 'interval': SAVE_EVERY},
        },
        'log_processor': {'type': 'ProgressLine', 'window_size': 1},
        'env_cfg': {},
        'randomness': {'seed': 0},
    }
    if case.processes > 1:
        settings['strategy'] = {'type': 'DeepSpeedStrategy', 'zero_stage': 2}
    return as_config(settings, None)


_VISION = {
    'hidden_size': 16,
    'intermediate_size': 32,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'image_size': IMAGE_SIZE,
    'patch_size': 14,
    'projection_dim': 16,
}
_LLM = {
    'model_type': 'llama',
    'vocab_size': 1031,
    'hidden_size': 32,
    'intermediate_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'num_key_value_heads': 2,
    'max_position_embeddings': 256,
    'bos_token_id': 1,
    'eos_token_id': 2,
    'pad_token_id': 0,
}


def start(case: Case, data_file: str, work_dir: Path) -> list[int]:
    """Start a run's processes, which go on from a checkpoint if there is one, and return their ids.

    They are forked: what took seconds to import is there already.
    """
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    work_dir.mkdir(parents=True, exist_ok=True)
    processes = []
    for rank in range(case.processes):
        process = os.fork()
        if process == 0:
            _train(case, data_file, work_dir, rank, port)
        processes.append(process)
    return processes


def _train(case: Case, data_file: str, work_dir: Path, rank: int, port: int) -> None:
    """Train in this process and end it."""
    code = 1
    try:
        log = os.open(work_dir / f'log_{rank}.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        launcher = 'none'
        if case.processes > 1:
            launcher = 'pytorch'
            rendezvous = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'WORLD_SIZE': str(case.processes)}
            os.environ.update(rendezvous, RANK=str(rank), LOCAL_RANK=str(rank))
        from geochat.engine import build_runner

        resume = (work_dir / 'last_checkpoint').is_file()
        build_runner(config_of(case, data_file), work_dir=work_dir, launcher=launcher, resume=resume).train()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(processes: list[int], work_dir: Path, killed: bool = False) -> None:
    """Wait for the processes of a run.

    Raises:
        SystemExit: If one failed by itself; the end of its log is in the message.
    """
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    if any(code > 0 for code in codes) and not killed:
        raise SystemExit(f'a process failed with {codes}:\n{(work_dir / "log_0.txt").read_text()[-3000:]}')


def kill_at_random(processes: list[int], work_dir: Path, rng: random.Random) -> bool:
    """Kill processes at a random moment after the first checkpoint; return False if they had ended by themselves."""
    at_start = len(list(logged_losses(work_dir)))
    begin, end = time.monotonic(), None
    # Some are killed before their first step.
    wanted = rng.randrange(STEPS // 2)
    while end is None or time.monotonic() < end:
        # WNOWAIT leaves an ended process to be waited for.
        if os.waitid(os.P_PID, processes[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        made = len(list(logged_losses(work_dir))) - at_start
        if end is None and made >= wanted and (work_dir / 'last_checkpoint').is_file():
            end = time.monotonic() + rng.uniform(0, (time.monotonic() - begin) / max(1, made) + 0.5)
        time.sleep(0.01)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    return True


def logged_losses(work_dir: Path) -> Iterator[tuple[int, float]]:
    """Yield step and loss of every line that the processes of a run logged."""
    for path in work_dir.glob('*/vis_data/scalars.json'):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut off by a kill
                continue
            if 'loss' in entry:
                yield entry['step'], entry['loss']


def final_weights(work_dir: Path) -> dict[str, Any]:
    """Read the weights of a run's last step."""
    from safetensors.torch import load_file

    return load_file(work_dir / f'iter_{STEPS}' / 'model.safetensors')


class Comparison:
    """How far what killed runs did is from the uninterrupted run."""

    def __init__(self, reference: Path):
        self.losses = dict(logged_losses(reference))
        self.weights = final_weights(reference)
        self.logged, self.loss_difference, self.weight_difference = 0, 0.0, 0.0

    def add(self, work_dir: Path) -> None:
        """Compare a run that ended.

        Raises:
            SystemExit: If a step was logged by none of its processes.
        """
        seen = set()
        for step, loss in logged_losses(work_dir):
            seen.add(step)
            self.logged += 1
            self.loss_difference = max(self.loss_difference, abs(loss / self.losses[step] - 1))
        if missing := set(self.losses) - seen:
            raise SystemExit(f'{work_dir}: nobody made the steps {sorted(missing)}')
        for name, weight in final_weights(work_dir).items():
            difference = (weight - self.weights[name]).abs().max() / self.weights[name].abs().max().clamp(min=1e-12)
            self.weight_difference = max(self.weight_difference, float(difference))


def run_case(case: Case, kills: int, data_file: str, folder: Path, rng: random.Random) -> dict[str, Any]:
    """Train a case once in peace, then kill it ``kills`` times."""
    begin = time.monotonic()
    reference = folder / 'reference'
    finish(start(case, data_file, reference), reference)
    comparison = Comparison(reference)
    done, resumed, runs = 0, 0, 0
    while done < kills:
        runs += 1
        work_dir = folder / f'run_{runs}'
        ended = False
        while not ended:
            resumed += (work_dir / 'last_checkpoint').is_file()
            processes = start(case, data_file, work_dir)
            killed = done < kills and kill_at_random(processes, work_dir, rng)
            finish(processes, work_dir, killed)
            done += killed
            ended = not killed
        comparison.add(work_dir)
        shutil.rmtree(work_dir)
    is_equal = comparison.loss_difference <= case.tolerance
    figures = {
        **asdict(case),
        'kills': done,
        'resumed': resumed,
        'runs': runs,
        'steps_compared': comparison.logged,
        'largest_relative_loss_difference': comparison.loss_difference,
        'largest_relative_weight_difference': comparison.weight_difference,
        'equal': is_equal,
        'seconds': round(time.monotonic() - begin, 1),
    }
    print(
        f'{case.name}: {done} kills, {resumed} resumed, {comparison.logged} steps compared, loss differs by '
        f'{comparison.loss_difference:.1e}, weights by {comparison.weight_difference:.1e}: '
        f'{"as asked" if is_equal else "NOT as asked"} ({figures["seconds"]:.0f} s)',
        flush=True,
    )
    return figures


def main() -> None:
    """Run the cases, print a line for each and write the figures; exit code 1 if one does not go on as asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20, help='kills a case')
    parser.add_argument('--cases', nargs='+', type=int, choices=range(len(CASES)), help='numbers of cases; all if not')
    parser.add_argument('--seed', type=int, default=0, help='of the moments of the kills')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    cases = [CASES[number] for number in args.cases] if args.cases else CASES
    _import_what_runs_need(any(case.processes > 1 for case in cases))
    rng = random.Random(args.seed)
    figures = []
    with tempfile.TemporaryDirectory(prefix='geochat-resume-') as scratch:
        data_file = write_records(Path(scratch) / 'data')
        for number, case in enumerate(cases):
            figures.append(run_case(case, args.kills, data_file, Path(scratch) / f'case_{number}', rng))
            if args.json:
                args.json.write_text(
                    json.dumps({'machine': in_own_process(machine), 'cases': figures}, indent=2) + '\n',
                    encoding='utf-8',
                )
    sys.exit(0 if all(figure['equal'] for figure in figures) else 1)


def _import_what_runs_need(deepspeed: bool) -> None:
    import peft  # noqa: F401
    import torch
    import transformers.models.clip.modeling_clip
    import transformers.models.llama.modeling_llama  # noqa: F401

    import geochat.engine.runner
    import geochat.models

    torch.set_num_threads(1)
    if deepspeed:
        import geochat.engine.strategies  # noqa: F401


if __name__ == '__main__':
    main()
