"""What compiled steps are worth: tokens a second of one answer at a time, by the engine as it is and compiled.

    python benchmarks/compiled.py --json compiled.json
    python benchmarks/compiled.py --shape 7b            # on a GPU

A random-weight model (the shapes of ``training.py``) answers questions about a picture whose keys and values are there
already. The first answer of the compiled engine waits for ``torch.compile``; how long is told apart. Each side has a
process of its own, and they answer in turn. The answers must be the same tokens.
"""

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import inference
import training
from measuring import Gate, Side, in_own_process, machine

QUESTIONS = 4
"""Questions of a turn."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        questions: What is asked, and of which model.
        compiled: Whether the steps are compiled.
        threads: PyTorch's threads for one operator; 0 leaves PyTorch's choice.
    """

    questions: inference.Job
    compiled: bool
    threads: int


def answer(job: Job, gate: Gate) -> None:
    """Answer the questions one by one, each time the gate opens."""
    import torch

    from geochat.apis import load_model
    from geochat.generation import GenerationEngine

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = load_model(f'{job.questions.folder}/ours').to(device)
    model.llm.stop_ids = ()  # every answer has the same number of tokens
    requests = inference.make_requests(job.questions)
    engine = GenerationEngine(model, batch_size=1, compile=job.compiled)
    warm = inference.make_requests(replace(job.questions, questions=1, tokens=1))  # the picture, and no step
    engine.generate(warm)
    gate.done()
    while gate.opens():
        answers = [engine.generate([request])[0].ids for request in requests]
        gate.done(answers=answers)


def summary(rounds: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
    """Put the figures of a side's rounds together; the first is the warm-up."""
    later = rounds[1:]
    return {
        'tokens_per_s': round(tokens / statistics.median(one['seconds'] for one in later), 2),
        'processor_ms_a_token': round(1000 * statistics.mean(one['processor_s'] for one in later) / tokens, 3),
        'first_turn_s': round(rounds[0]['seconds'], 2),
        'seconds': [round(one['seconds'], 3) for one in later],
        'peak_mb': round(max(one['peak_mb'] for one in rounds)),
    }


def main() -> None:
    """Compare, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--shape', choices=list(inference.PEER_BATCHES), default='cpu', help='which model')
    parser.add_argument('--tokens', type=int, default=64, help='tokens of each answer')
    parser.add_argument('--rounds', type=int, default=3, help='rounds that are measured, after one warm-up')
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's threads for one operator; 0: its choice")
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed, which transformers imports, warns
    side = max(training.SHAPES[args.shape].sides)
    with tempfile.TemporaryDirectory(prefix='geochat-compiled-') as scratch:
        in_own_process(inference.write_models, args.shape, side, Path(scratch))
        questions = inference.Job(args.shape, side, scratch, 1, QUESTIONS, 1, args.threads, args.tokens)
        sides = {name: Side(answer, Job(questions, name == 'compiled', args.threads)) for name in ('plain', 'compiled')}
        turns = [{name: one.turn() for name, one in sides.items()} for _ in range(1 + args.rounds)]
        for one in sides.values():
            one.finish()
    tokens = QUESTIONS * args.tokens
    report = {name: summary([turn[name] for turn in turns], tokens) for name in sides}
    same = all(turn['plain']['answers'] == turn['compiled']['answers'] for turn in turns)
    report |= {'machine': in_own_process(machine, args.threads), 'shape': args.shape, 'side': side, 'same_tokens': same}
    for name in sides:
        figures = report[name]
        print(
            f'{name:8}: {figures["tokens_per_s"]:8.2f} tokens/s, {figures["processor_ms_a_token"]:.2f} ms of the '
            f'processor a token; first turn {figures["first_turn_s"]} s; {figures["peak_mb"]} MB'
        )
    print('the same tokens' if same else 'OTHER TOKENS')
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
