"""How fast GeoChat answers, and in how much memory, beside Hugging Face's LLaVA on the same exported weights.

    python benchmarks/inference.py --json inference.json
    python benchmarks/inference.py --quick                # minutes less, and not to be quoted
    python benchmarks/inference.py --shape 7b             # on a GPU

A random-weight model (the shapes of ``training.py``) is written as a model folder and exported for transformers. Ours
answers by the engine, which computes each picture once for all its questions; the peer by
``LlavaForConditionalGeneration.generate`` in left-padded batches of questions of like length, of three batch sizes with
the one it is fastest with. Both are greedy, write the same number of tokens a question, and are given the same prepared
pixels. Each has a process of its own, and they answer in turn, so that a machine that is busy slows both. What the peer
takes for a question does not depend on how many others show the same picture, so it answers one set of questions for
all. The answers must be the same tokens, but where the peer's two best logits are equal as far as their type can tell.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import geochat_instruct
import training
from measuring import Gate, Side, in_own_process, machine

QUESTION_WORDS = (4, 14)
"""Fewest and most words of a question: those of RSVQA-LR."""

ANSWER_TOKENS = 4
"""Tokens of each answer. RSVQA's are a word or a number; random weights do not end answers by themselves."""

OUR_BATCH = 128
"""Answers that our engine writes at a time."""

PREFIX_MEMORY_MB = {'cpu': 128, 'toy': 128, '7b': 8192}
"""What our engine may take for keys and values of pictures."""

PEER_BATCHES = {'cpu': (1, 4, 8), 'toy': (1, 4, 8), '7b': (4, 16, 32)}
"""Batch sizes that the peer is tried with."""

TIE = {'float32': 1e-5, 'bfloat16': 0.25}
"""Logits of each type that are nearer than this are equal as far as it can tell."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        shape: Name of the model's shape.
        side: Picture side in pixels.
        folder: Folder with ``ours`` and ``hf``, the exported weights.
        pictures: Pictures that are asked about.
        questions: Questions about each.
        batch: Questions that are answered at the same time.
        threads: PyTorch's threads for one operator; 0 leaves PyTorch's choice.
        tokens: Tokens of each answer.
        every: The peer answers each so many-th question.
    """

    shape: str
    side: int
    folder: str
    pictures: int
    questions: int
    batch: int
    threads: int
    tokens: int = ANSWER_TOKENS
    every: int = 1

    @property
    def count(self) -> int:
        """Questions in all."""
        return self.pictures * self.questions


def write_models(shape_name: str, side: int, folder: Path) -> None:
    """Write a random-weight model for both sides."""
    import torch

    from geochat.apis import build_model
    from geochat.converters.convert import convert
    from geochat.engine.checkpoint import save_model

    shape = training.SHAPES[shape_name]
    dtype = 'bfloat16' if shape.lora else 'float32'
    vision = {'config': {**shape.vision, 'image_size': side}, 'select_layer': -2, 'dtype': dtype}
    parts = {
        'vision_encoder': {'type': 'ClipVisionEncoder', **vision},
        'projector': {'type': 'mlp2x_gelu'},
        'llm': {
            'type': 'HFCausalLM',
            'config': shape.llm,
            'tokenizer': str(training.TOKENIZER),
            'chat_template': {'type': 'llava_v1'},
            'dtype': dtype,
        },
        'box_codec': {'type': 'GeoChatBoxCodec'},
    }
    torch.manual_seed(0)
    save_model(build_model(parts), parts, folder / 'ours')
    convert(folder / 'ours', folder / 'hf', 'hf')


def make_requests(job: Job) -> list[Any]:
    """Make up questions about pictures of noise; each picture is prepared once."""
    import numpy as np
    from PIL import Image

    from geochat.datasets import SampleProcessor
    from geochat.generation import GenerationSettings, Request
    from geochat.models.vision_encoders import ClipVisionEncoder
    from geochat.structures import Message

    transform = {'type': 'PadResizeNormalize', **ClipVisionEncoder.image_transform({'image_size': job.side})}
    processor = SampleProcessor(str(training.TOKENIZER), {'type': 'llava_v1'}, transform)
    rng = np.random.default_rng(0)
    words = geochat_instruct.Words(rng)
    settings = GenerationSettings(max_new_tokens=job.tokens)
    requests = []
    for number in range(job.pictures):
        image = Image.fromarray(rng.integers(256, size=(600, 600, 3), dtype=np.uint8))
        pictured = processor.prompt_sample([Message('user', '<image>')], [image])
        for _ in range(job.questions):
            text = f'<image>\n{words.draw(int(rng.integers(*QUESTION_WORDS)))}?'
            ids = processor.prompt_sample([Message('user', text)], [Image.new('RGB', (8, 8))])['input_ids']
            requests.append(Request(ids, pictured['pixels'], [str(number)], settings))
    return requests


# Ours


def run_ours(job: Job, gate: Gate) -> None:
    """Answer all questions by the engine, each time the gate opens."""
    from geochat.apis import load_model
    from geochat.generation import GenerationEngine

    model = load_model(f'{job.folder}/ours').to(_device())
    model.llm.stop_ids = ()  # every answer has the same number of tokens
    requests = make_requests(job)
    gate.done()
    while gate.opens():
        engine = GenerationEngine(model, job.batch, prefix_memory_mb=PREFIX_MEMORY_MB[job.shape])
        answers = engine.generate(requests)
        gate.done(questions=job.count, answers=[answer.ids for answer in answers])


# The peer


def run_peer(job: Job, gate: Gate) -> None:
    """Answer all questions by transformers' LLaVA in batches of like length, each time the gate opens."""
    import torch
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(f'{job.folder}/hf', dtype='auto').to(_device()).eval()
    requests = make_requests(job)[:: job.every]
    order = sorted(range(len(requests)), key=lambda number: len(requests[number].input_ids))
    batches = [order[start : start + job.batch] for start in range(0, len(order), job.batch)]
    gate.done()
    while gate.opens():
        answers: dict[int, Any] = {}
        gaps: dict[int, list[float]] = {}
        for batch in batches:
            inputs = _peer_inputs([requests[number] for number in batch], job.side, model)
            with torch.inference_mode():
                output = model.generate(
                    **inputs,
                    max_new_tokens=job.tokens,
                    do_sample=False,
                    eos_token_id=None,
                    return_dict_in_generate=True,
                    output_logits=True,
                )
            written = output.sequences[:, inputs['input_ids'].shape[1] :].tolist()
            best = torch.stack([logits.float().topk(2).values for logits in output.logits], 1)
            answers.update(zip(batch, written, strict=True))
            gaps.update(zip(batch, (best[..., 0] - best[..., 1]).tolist(), strict=True))
        numbers = range(len(requests))
        gate.done(questions=len(requests), answers=[answers[n] for n in numbers], gaps=[gaps[n] for n in numbers])


def _peer_inputs(requests: list[Any], side: int, model: Any) -> dict[str, Any]:
    """Pad a batch on the left, one image token a patch."""
    import numpy as np
    import torch

    rows = []
    for request in requests:
        is_image = request.input_ids < 0
        ids = np.where(is_image, model.config.image_token_index, request.input_ids)
        rows.append(torch.from_numpy(ids.repeat(np.where(is_image, (side // 14) ** 2, 1))))

    def pad(tensors: list[Any]) -> Any:
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_side='left').to(model.device)

    pixels = torch.stack([torch.from_numpy(request.pixels[0]) for request in requests])
    return {
        'input_ids': pad(rows),
        'attention_mask': pad([torch.ones_like(row) for row in rows]),
        'pixel_values': pixels.to(model.device, model.dtype),
    }


def _device() -> str:
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


# The whole comparison


def compare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Find the peer's best batch size, then let both sides answer questions of each kind in turn."""
    side = max(training.SHAPES[args.shape].sides)
    first = Job(args.shape, side, str(folder), 8, 1, 1, args.threads)
    best, speeds = (PEER_BATCHES[args.shape][1], {}) if args.quick else best_batch(first, args)
    report: dict[str, Any] = {'side': side, 'peer_batches': speeds, 'questions_a_picture': {}}
    for questions in args.questions:
        count = max(args.peer_questions, min(2, args.pictures) * questions)
        pictures = -(-count // questions)
        job = replace(first, pictures=pictures, questions=questions, batch=OUR_BATCH)
        every = max(1, job.count // args.peer_questions)
        ours, peer = Side(run_ours, job), Side(run_peer, replace(job, batch=best, every=every))
        rounds = [(ours.turn(), peer.turn()) for _ in range(1 + args.rounds)]
        ours.finish()
        peer.finish()
        figures = {
            'pictures': pictures,
            'ours': summary([one for one, _ in rounds[1:]]),
            'peer': summary([other for _, other in rounds[1:]]),
            **same_tokens(rounds[-1][0]['answers'][::every], rounds[-1][1], training.SHAPES[args.shape].lora),
        }
        figures['speed'] = round(figures['ours']['questions_per_s'] / figures['peer']['questions_per_s'], 2)
        by_processor = figures['peer']['processor_s_a_question'] / figures['ours']['processor_s_a_question']
        figures['processor'] = round(by_processor, 2)
        figures['memory'] = round(figures['ours']['peak_mb'] / figures['peer']['peak_mb'], 3)
        report['questions_a_picture'][questions] = figures
        print(
            f'  {questions:4} questions a picture: ours {figures["ours"]["questions_per_s"]:8.2f}, peer '
            f'{figures["peer"]["questions_per_s"]:8.2f} questions/s; {figures["ours"]["peak_mb"]:6}, '
            f'{figures["peer"]["peak_mb"]:6} MB; {figures["speed"]:.2f} times as fast '
            f'({figures["processor"]:.2f} by processor time); of {figures["compared"]} answers {figures["different"]} '
            f'differ, {figures["ties"]} in ties',
            flush=True,
        )
    return report


def best_batch(job: Job, args: argparse.Namespace) -> tuple[int, dict[int, float]]:
    """Let the peer answer with each of its batch sizes; return the fastest, and questions a second of each."""
    sizes = PEER_BATCHES[args.shape]
    job = replace(job, pictures=max(args.peer_questions, *sizes))
    answerers = [Side(run_peer, replace(job, batch=size)) for size in sizes]
    speeds = {}
    for _ in range(2):  # the first is the warm-up
        for size, answerer in zip(sizes, answerers, strict=True):
            figures = answerer.turn()
            speeds[size] = round(figures['questions'] / figures['seconds'], 4)
    for answerer in answerers:
        answerer.finish()
    print(f'{job.side} px; the peer by batch size: {speeds} questions/s', flush=True)
    return max(speeds, key=speeds.get), speeds


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the figures of a side's rounds together."""
    seconds = statistics.median(one['seconds'] for one in rounds)
    return {
        'seconds': [round(one['seconds'], 3) for one in rounds],
        'questions': rounds[0]['questions'],
        'questions_per_s': round(rounds[0]['questions'] / seconds, 3),
        'processor_s_a_question': round(statistics.mean(one['processor_s'] / one['questions'] for one in rounds), 4),
        'peak_mb': round(max(one['peak_mb'] for one in rounds)),
    }


def same_tokens(ours: list[list[int]], peer: dict[str, Any], half: bool) -> dict[str, int]:
    """Count the answers that differ, and of them those that do first where the peer's best two logits are equal."""
    tie = TIE['bfloat16' if half else 'float32']
    different = ties = 0
    for one, other, gaps in zip(ours, peer['answers'], peer['gaps'], strict=True):
        if one != other:
            different += 1
            ties += gaps[next(n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)] <= tie
    return {'compared': len(ours), 'different': different, 'ties': ties}


def main() -> None:
    """Compare, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--shape', choices=list(PEER_BATCHES), default='cpu', help='which model')
    parser.add_argument('--questions', type=int, nargs='+', default=[1, 10, 100], help='questions a picture')
    parser.add_argument('--pictures', type=int, default=2, help='pictures of each kind, more for few questions')
    parser.add_argument('--peer-questions', type=int, default=8, help='questions of each kind that the peer answers')
    parser.add_argument('--rounds', type=int, default=2, help='rounds that are measured, after one warm-up')
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's threads for one operator; 0: its choice")
    parser.add_argument('--quick', action='store_true', help='one round, one picture, one batch size')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.pictures, args.peer_questions = 1, 1, 4
    os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed, which transformers imports, warns
    start = time.perf_counter()
    report: dict[str, Any] = {
        'machine': in_own_process(machine, args.threads),
        'shape': asdict(training.SHAPES[args.shape]),
        'answer_tokens': ANSWER_TOKENS,
    }
    with tempfile.TemporaryDirectory(prefix='geochat-inference-') as scratch:
        side = max(training.SHAPES[args.shape].sides)
        in_own_process(write_models, args.shape, side, Path(scratch))
        report.update(compare(args, Path(scratch)))
    report['minutes'] = round((time.perf_counter() - start) / 60, 1)
    print(f'{report["minutes"]} minutes')
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
