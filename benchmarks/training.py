"""How fast GeoChat trains, and in how much memory, beside Hugging Face's Trainer with its LLaVA.

    python benchmarks/training.py --json training.json
    python benchmarks/training.py --quick                # minutes less, and not to be quoted
    python benchmarks/training.py --shape 7b             # on a GPU

Both train the same random-weight model (the peer's is ``LlavaForConditionalGeneration``) on the same records: the
vision tower frozen, pictures read from JPEG files by a worker process, AdamW, gradients clipped. Ours packs the records
of a picture into one row that holds the picture once; the peer pads one row a record, has batches of like lengths,
PyTorch's SDPA, and of three micro-batch sizes the one it is fastest with. The whole way is timed: data loader, hooks,
optimizer. Each has a process of its own, and they make their optimizer steps in turn, so that a machine that is busy
slows both.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import geochat_instruct
from measuring import Gate, Side, in_own_process, machine, set_threads

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'geochat_tiny.py'
TOKENIZER = ROOT / 'geochat' / 'data' / 'tiny' / 'tokenizer'

TEXT_TOKENS = 60
"""Tokens of a record beside its picture, where each record asks one question."""

ANSWER_WORDS = 20
"""Of them, those of the answer; the end of the text is supervised as well."""

LEARNING_RATE = 1e-4
LORA = {'r': 64, 'alpha': 16, 'dropout': 0.05}
"""Adapters of the 7B shape, GeoChat's."""


@dataclass(frozen=True)
class Shape:
    """A model's shape and what is trained of it.

    Attributes:
        vision: Fields of the vision tower's config.
        llm: Fields of the LLM's config.
        sides: Picture sides in pixels.
        lora: Whether adapters are trained, in bfloat16 with gradient checkpointing; False trains the LLM in float32.
        peer_batches: Micro-batch sizes that the peer is tried with.
        our_batches: Our micro-batch size by questions a picture; 0 is GeoChat_Instruct's distribution.
        step_records: Records of an optimizer step.
    """

    vision: dict[str, Any]
    llm: dict[str, Any]
    sides: tuple[int, ...]
    lora: bool
    peer_batches: tuple[int, int, int]
    our_batches: dict[int, int]
    step_records: int


LLAMA = {
    'model_type': 'llama',
    'vocab_size': 32000,
    'max_position_embeddings': 4096,
    'rms_norm_eps': 1e-5,
    'tie_word_embeddings': False,
    'bos_token_id': 1,
    'eos_token_id': 2,
    'pad_token_id': 0,
}

SHAPES = {
    'cpu': Shape(
        vision={
            'hidden_size': 384,
            'intermediate_size': 1536,
            'num_hidden_layers': 12,
            'num_attention_heads': 6,
            'patch_size': 14,
            'projection_dim': 384,
        },
        llm={
            **LLAMA,
            'hidden_size': 512,
            'intermediate_size': 1408,
            'num_hidden_layers': 8,
            'num_attention_heads': 8,
            'num_key_value_heads': 8,
        },
        sides=(336, 504),
        lora=False,
        peer_batches=(1, 2, 4),
        our_batches={1: 1, 4: 4, 8: 8, 0: 4},
        step_records=16,
    ),
    'toy': Shape(  # to try the script out
        vision={
            'hidden_size': 32,
            'intermediate_size': 64,
            'num_hidden_layers': 2,
            'num_attention_heads': 2,
            'patch_size': 14,
            'projection_dim': 32,
        },
        llm={
            **LLAMA,
            'hidden_size': 32,
            'intermediate_size': 64,
            'num_hidden_layers': 2,
            'num_attention_heads': 2,
            'num_key_value_heads': 2,
        },
        sides=(56,),
        lora=False,
        peer_batches=(1, 2, 4),
        our_batches={1: 1, 4: 4, 8: 8, 0: 4},
        step_records=16,
    ),
    '7b': Shape(
        vision={
            'hidden_size': 1024,
            'intermediate_size': 4096,
            'num_hidden_layers': 24,
            'num_attention_heads': 16,
            'patch_size': 14,
            'projection_dim': 768,
        },
        llm={
            **LLAMA,
            'hidden_size': 4096,
            'intermediate_size': 11008,
            'num_hidden_layers': 32,
            'num_attention_heads': 32,
            'num_key_value_heads': 32,
        },
        sides=(504,),
        lora=True,
        peer_batches=(4, 8, 16),
        our_batches={1: 16, 4: 16, 8: 16, 0: 16},
        step_records=64,
    ),
}


@dataclass(frozen=True)
class Job:
    """One training to be timed.

    Attributes:
        shape: Name of the shape.
        side: Picture side in pixels.
        records: File of the records; their pictures lie beside it.
        micro_batch: Records that are computed at a time.
        step_records: Records of an optimizer step.
        steps: Optimizer steps, the warm-up's among them.
        threads: PyTorch's threads for one operator; 0 leaves PyTorch's choice.
    """

    shape: str
    side: int
    records: str
    micro_batch: int
    step_records: int
    steps: int
    threads: int


# Records


def question_records(count: int, questions: int) -> list[dict[str, Any]]:
    """Make up records of :data:`TEXT_TOKENS` tokens, ``questions`` of them on each picture."""
    import numpy as np

    words = geochat_instruct.Words(np.random.default_rng(questions))
    task = geochat_instruct.Task(count, 1, _question_words(words), ANSWER_WORDS)
    return [
        geochat_instruct.record(f'{number}', f'{questions}/{number // questions}.jpg', task, words)
        for number in range(count)
    ]


def _question_words(words: geochat_instruct.Words) -> int:
    """Count the words that a question must have for a record of :data:`TEXT_TOKENS` tokens, the chat template's too."""
    from geochat.datasets.instruction_record import parse_record

    task = geochat_instruct.Task(1, 1, 0, ANSWER_WORDS)
    empty = parse_record(geochat_instruct.record('', 'a.jpg', task, words), '')
    return TEXT_TOKENS + 1 - len(dialogue_tokens(empty).input_ids)


def dialogue_tokens(record: Any) -> Any:
    """Return a record's token ids and labels, one token for the picture."""
    from geochat.prompts import VicunaV1
    from geochat.prompts.tokenization import load_tokenizer, tokenize_dialogue

    return tokenize_dialogue(VicunaV1(system='').segments(record.messages), load_tokenizer(str(TOKENIZER)))


def write_records(path: Path, made: list[dict[str, Any]]) -> None:
    """Write records and their pictures."""
    geochat_instruct.write(path, made)
    geochat_instruct.write_pictures(path.parent, sorted({record['image'] for record in made}), side=600)


# Ours


def our_config(job: Job) -> Any:
    """Return the config of our training."""
    from geochat.engine import load_config

    shape = SHAPES[job.shape]
    dtype = 'bfloat16' if shape.lora else 'float32'
    llm = {
        'type': 'HFCausalLM',
        'config': shape.llm,
        'tokenizer': str(TOKENIZER),
        'chat_template': {'type': 'VicunaV1', 'system': ''},
        'dtype': dtype,
    }
    if shape.lora:
        llm.update(lora=LORA, gradient_checkpointing=True)
    vision = {'config': {**shape.vision, 'image_size': job.side}, 'select_layer': -2, 'frozen': True, 'dtype': dtype}
    optimizer = {'type': 'AdamW', 'lr': LEARNING_RATE, 'weight_decay': 0.0, 'fused': True}
    options = {
        'vision_encoder': {'type': 'ClipVisionEncoder', **vision},
        'llm': llm,
        'max_length': 2048,
        'data_preparation': [],
        'train_dataloader': {
            'batch_size': job.micro_batch,
            'num_workers': 1,
            'persistent_workers': True,
            'pin_memory': shape.lora,
            'dataset': {
                'type': 'InstructionDataset',
                'data_file': job.records,
                'image_source': {'type': 'ImageFolder', 'root': str(Path(job.records).parent)},
            },
            'sampler': {'type': 'ImageGroupedSampler'},
            'collate_fn': {'type': 'geochat.datasets.pack_samples'},
        },
        'train_cfg': {'type': 'TrainLoop', 'max_iters': job.steps, 'accumulation': job.step_records // job.micro_batch},
        'val_dataloader': None,
        'val_cfg': None,
        'optim_wrapper': {
            'type': 'AmpOptimWrapper' if shape.lora else 'OptimWrapper',
            'optimizer': optimizer,
            'clip_grad': {'max_norm': 1.0},
        },
        'param_scheduler': None,
        'env_cfg.cpu_threads': job.threads or None,
        'default_hooks.checkpoint': None,
        'default_hooks.logger.interval': 10,
        'custom_hooks': [{'type': 'FirstSampleHook'}, {'type': 'DataReportHook'}],
        'test_after_training': False,
        'log_level': 'WARNING',
    }
    return load_config(CONFIG, options)


def run_ours(job: Job, gate: Gate) -> None:
    """Train with our runner, a step each time the gate opens."""
    from mmengine.hooks import Hook

    from geochat.datasets.collate import count_records
    from geochat.engine import build_runner

    class GateHook(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            gate.done(
                loss=outputs['loss'],
                records=sum(count_records(batch) for batch in data_batch),
                supervised=sum(int((batch['labels'][:, 1:] >= 0).sum()) for batch in data_batch),
                computed=sum(_computed_tokens(batch, job) for batch in data_batch),
            )
            gate.opens()

    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        runner = build_runner(our_config(job), work_dir=f'{scratch}/run')
        runner.register_hook(GateHook())
        gate.done()
        gate.opens()
        runner.train()


def _computed_tokens(batch: Any, job: Job) -> int:
    """Count the tokens that the LLM computes for a batch, padding included."""
    images, patches = int((batch['input_ids'] < 0).sum()), (job.side // 14) ** 2
    return batch['input_ids'].numel() + images * (patches - 1)


# The peer


def build_peer(job: Job) -> Any:
    """Build the peer's model: trained are the projector and the LLM, or its adapters."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    shape = SHAPES[job.shape]
    text = LlamaConfig(**{key: value for key, value in shape.llm.items() if key != 'model_type'})
    vision = CLIPVisionConfig(**shape.vision, image_size=job.side)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=text.vocab_size - 1,  # the tokenizer has no such id
        vision_feature_layer=-2,
        vision_feature_select_strategy='default',
        attn_implementation='sdpa',
    )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with torch.device(device), _default_dtype(torch.bfloat16 if shape.lora else torch.float32):
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.requires_grad_(False)
    model.config.use_cache = False
    if not shape.lora:
        return model
    model.gradient_checkpointing_enable({'use_reentrant': False})
    return _with_adapters(model)


@contextlib.contextmanager
def _default_dtype(dtype: Any) -> Any:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _with_adapters(model: Any) -> Any:
    """Put GeoChat's adapters into the LLM's linear layers; the projector stays trained."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=LORA['r'],
        lora_alpha=LORA['alpha'],
        lora_dropout=LORA['dropout'],
        target_modules=r'.*language_model\..*_proj',
    )
    adapted = get_peft_model(model, settings)
    for name, parameter in adapted.named_parameters():
        if 'multi_modal_projector' in name:
            parameter.requires_grad_(True)
    return adapted


class PeerDataset:
    """Records as the peer's processor prepares them: picture and text, one image token a patch."""

    def __init__(self, job: Job):
        from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

        from geochat.datasets.instruction_record import parse_record

        self.folder, self.side = Path(job.records).parent, job.side
        content = json.loads(Path(job.records).read_text(encoding='utf-8'))
        self.records = [parse_record(value, str(number)) for number, value in enumerate(content)]
        self.image_token = SHAPES[job.shape].llm['vocab_size'] - 1
        size = {'height': job.side, 'width': job.side}
        self.processor = LlavaImageProcessorPil(size=size, do_center_crop=False, do_pad=True)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import numpy as np
        from PIL import Image

        record = self.records[index]
        tokens = dialogue_tokens(record)
        repeats = np.where(tokens.input_ids < 0, (self.side // 14) ** 2, 1)
        with Image.open(self.folder / record.images[0]) as image:
            pixels = self.processor(image.convert('RGB'), return_tensors='np')['pixel_values'][0]
        return {
            'input_ids': np.where(tokens.input_ids < 0, self.image_token, tokens.input_ids).repeat(repeats),
            'labels': tokens.labels.repeat(repeats),
            'pixel_values': pixels,
        }

    def lengths(self) -> list[int]:
        """Return the length of each record, which groups like ones."""
        return [len(dialogue_tokens(record).input_ids) for record in self.records]


def collate_for_peer(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Pad samples on the right."""
    import numpy as np
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.from_numpy(sample['input_ids']) for sample in samples]
    labels = [torch.from_numpy(sample['labels']) for sample in samples]
    return {
        'input_ids': pad_sequence(ids, batch_first=True),
        'attention_mask': pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        'labels': pad_sequence(labels, batch_first=True, padding_value=-100),
        'pixel_values': torch.from_numpy(np.stack([sample['pixel_values'] for sample in samples])),
    }


def run_peer(job: Job, gate: Gate) -> None:
    """Train with Hugging Face's Trainer, a step each time the gate opens."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_pt_utils import LengthGroupedSampler

    shape = SHAPES[job.shape]
    counts = {'records': 0, 'supervised': 0, 'computed': 0}

    class LengthGroupedTrainer(Trainer):
        """The Trainer's own grouping by length reads every picture to learn the lengths; here they are given."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return LengthGroupedSampler(job.step_records, lengths=self.train_dataset.lengths())

        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            counts['records'] += len(inputs['input_ids'])
            counts['supervised'] += int((inputs['labels'] >= 0).sum())
            counts['computed'] += inputs['input_ids'].numel()
            return super().training_step(model, inputs, *rest)

    class GateCallback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            gate.done(**counts)
            gate.opens()
            counts.update(dict.fromkeys(counts, 0))

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=job.micro_batch,
            gradient_accumulation_steps=job.step_records // job.micro_batch,
            max_steps=job.steps,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type='constant',
            weight_decay=0.0,
            optim='adamw_torch_fused',
            max_grad_norm=1.0,
            logging_steps=10,
            save_strategy='no',
            report_to='none',
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=1,
            dataloader_persistent_workers=True,
            dataloader_prefetch_factor=2,
            dataloader_pin_memory=shape.lora,
            use_cpu=not torch.cuda.is_available(),
            bf16=shape.lora,
        )
        trainer = LengthGroupedTrainer(
            model=build_peer(job),
            args=arguments,
            train_dataset=PeerDataset(job),
            data_collator=collate_for_peer,
            callbacks=[GateCallback()],
        )
        trainer.remove_callback(PrinterCallback)
        gate.done()
        gate.opens()
        trainer.train()


# The same loss


def check_losses(job: Job) -> dict[str, float]:
    """Compute the loss of the same records with the same weights in both ways.

    Raises:
        SystemExit: If they or their supervised tokens differ.
    """
    import torch
    from mmengine.registry import init_default_scope

    from geochat.datasets import pack_samples
    from geochat.engine.link import link_parts
    from geochat.registry import DATASETS, MODELS

    init_default_scope('geochat')
    set_threads(job.threads)
    cfg = link_parts(our_config(job))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    torch.manual_seed(0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    ours, peer = MODELS.build(cfg.model).to(device).eval(), build_peer(job).eval()
    peer_model = peer.get_base_model() if SHAPES[job.shape].lora else peer
    copy_weights(ours, peer_model)
    indices = range(job.micro_batch)
    our_batch = ours.data_preprocessor(pack_samples([dataset[index] for index in indices]))
    peer_dataset = PeerDataset(job)
    peer_batch = collate_for_peer([peer_dataset[index] for index in indices])
    peer_batch = {name: tensor.to(device) for name, tensor in peer_batch.items()}
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=SHAPES[job.shape].lora):
        our_loss = ours(**our_batch, mode='loss')
        peer_loss = peer(**peer_batch).loss
    result = {'ours': float(our_loss['loss']), 'peer': float(peer_loss)}
    supervised = int(our_loss['num_supervised']), int((peer_batch['labels'] >= 0).sum())
    tolerance = 2e-2 if SHAPES[job.shape].lora else 1e-4
    if supervised[0] != supervised[1] or abs(result['ours'] / result['peer'] - 1) > tolerance:
        raise SystemExit(f'the losses are not the same: {result}, of {supervised} supervised tokens')
    return {**result, 'supervised': supervised[0]}


def copy_weights(ours: Any, peer: Any) -> None:
    """Give the peer our weights; adapters, which start as nothing, aside."""
    names = {
        'vision_encoder.model.': 'model.vision_tower.',
        'projector.0.': 'model.multi_modal_projector.linear_1.',
        'projector.2.': 'model.multi_modal_projector.linear_2.',
        'llm.model.lm_head.': 'lm_head.',
        'llm.model.model.': 'model.language_model.',
    }
    weights = {}
    for name, tensor in ours.state_dict().items():
        if 'lora_' in name:
            continue
        prefix = next(prefix for prefix in names if name.startswith(prefix))
        weights[names[prefix] + name[len(prefix) :]] = tensor
    expected = {name for name in peer.state_dict() if 'lora_' not in name}
    if expected != set(weights):
        raise SystemExit(f'weights without a counterpart: {sorted(expected ^ set(weights))[:5]}')
    peer.load_state_dict(weights, strict=False)


# Steps in turn


def in_turn(trainees: list[Side]) -> list[list[dict[str, float]]]:
    """Let trainings make their steps in turn; return each one's figures after its first step, the warm-up."""
    rounds = [[trainee.turn() for trainee in trainees] for _ in range(trainees[0].job.steps)]
    for trainee in trainees:
        trainee.finish()
    return [list(figures) for figures in zip(*rounds[1:], strict=True)]


def summary(steps: list[dict[str, float]], tokens: float) -> dict[str, float]:
    """Put the figures of a training's steps together.

    Args:
        steps: Figures of its steps.
        tokens: Tokens of the average record if it stands alone, the picture's among them.
    """
    seconds, records = (sum(step[key] for step in steps) for key in ('seconds', 'records'))
    return {
        'seconds': [round(step['seconds'], 3) for step in steps],
        'records': records,
        'samples_per_s': round(records / seconds, 4),
        'tokens_per_s': round(tokens * records / seconds, 1),
        'computed_tokens_per_s': round(sum(step['computed'] for step in steps) / seconds, 1),
        'processor_s_per_sample': round(sum(step['processor_s'] for step in steps) / records, 4),
        'supervised_per_sample': round(sum(step['supervised'] for step in steps) / records, 2),
        'peak_mb': round(max(step['peak_mb'] for step in steps)),
    }


def ratios(ours: list[dict[str, float]], peer: list[dict[str, float]]) -> dict[str, float]:
    """How much faster ours is: by the median of the steps' time a record, and by the processor's time."""

    def per_record(steps: list[dict[str, float]], key: str) -> list[float]:
        return [step[key] / step['records'] for step in steps]

    return {
        'speed': round(
            statistics.median(per_record(peer, 'seconds')) / statistics.median(per_record(ours, 'seconds')), 3
        ),
        'processor': round(sum(per_record(peer, 'processor_s')) / sum(per_record(ours, 'processor_s')), 3),
        'memory': round(ours[-1]['peak_mb'] / peer[-1]['peak_mb'], 3),
    }


# The whole comparison


def compare(side: int, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare at one picture side: losses, the peer's micro-batch sizes, then the kinds of records."""
    first = Job(args.shape, side, str(folder / 'mixed.json'), 4, 4, 1 + args.rounds, args.threads)
    losses = in_own_process(check_losses, first)
    print(f'{side} px: the loss of 4 records is {losses["ours"]:.6f} and {losses["peer"]:.6f} (peer)', flush=True)
    best, speeds = best_batch(first, SHAPES[args.shape])
    report = {'loss': losses, 'peer_batches': speeds}
    report.update(compare_kinds(first, best, args.questions, 'mixed'))
    if args.instruct and side == max(args.sides):
        report.update(compare_kinds(first, best, [0], '0'))
    return report


def compare_kinds(job: Job, peer_batch: int, kinds: list[int], of_peer: str) -> dict[str, Any]:
    """Let our training on each kind of records and the peer's make their steps in turn.

    The peer trains on the records of all kinds, mixed: a row a record, each costs it the same, whether or not others
    show the same picture.
    """
    shape, folder = SHAPES[job.shape], Path(job.records).parent
    job = replace(job, step_records=shape.step_records)
    trainees = [
        Side(run_ours, replace(job, records=str(folder / f'{kind}.json'), micro_batch=shape.our_batches[kind]))
        for kind in kinds
    ]
    trainees.append(Side(run_peer, replace(job, records=str(folder / f'{of_peer}.json'), micro_batch=peer_batch)))
    *ours, peer = in_turn(trainees)
    report = {}
    for kind, figures in zip(kinds, ours, strict=True):
        name = f'{kind} a picture' if kind else 'GeoChat_Instruct'
        tokens = (job.side // 14) ** 2 + average_text_tokens(folder / f'{kind}.json')
        report[name] = {'ours': summary(figures, tokens), 'peer': summary(peer, tokens), **ratios(figures, peer)}
        print_figures(name, report[name])
    return report


def best_batch(job: Job, shape: Shape) -> tuple[int, dict[int, float]]:
    """Let the peer make a step with each of its micro-batch sizes; return the fastest, and samples a second of each."""
    records = max(shape.peer_batches)
    sizes = [
        Side(run_peer, replace(job, micro_batch=size, step_records=records, steps=2)) for size in shape.peer_batches
    ]
    speeds = {
        size: round(records / step['seconds'], 4)
        for size, (step,) in zip(shape.peer_batches, in_turn(sizes), strict=True)
    }
    print(f'  the peer by micro-batch size: {speeds} samples/s', flush=True)
    return max(speeds, key=speeds.get), speeds


def average_text_tokens(path: Path) -> float:
    """Count the tokens of the records of a file, the pictures' aside."""
    from geochat.datasets.instruction_record import parse_record

    content = json.loads(path.read_text(encoding='utf-8'))
    return statistics.mean(len(dialogue_tokens(parse_record(value, '')).input_ids) - 1 for value in content)


def write_all(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write each kind of records into a file of its own, as many as are trained on, and all but the last into one."""
    step_records = SHAPES[args.shape].step_records
    mixed = []
    for questions in args.questions:
        made = question_records(step_records * (1 + args.rounds), questions)
        write_records(folder / f'{questions}.json', made)
        mixed += made
    geochat_instruct.write(folder / 'mixed.json', mixed)
    if not args.instruct:
        return {}
    total = sum(source.num_records for source in geochat_instruct.SOURCES.values())
    made = geochat_instruct.make_records(step_records * args.rounds / total)
    write_records(folder / '0.json', made)
    return {'records': len(made), 'pictures': len({record['image'] for record in made})}


def print_figures(name: str, figures: dict[str, Any]) -> None:
    """Print what was measured of one kind of records."""
    ours, peer = figures['ours'], figures['peer']
    print(
        f'  {name:26} ours {ours["samples_per_s"]:8.3f}, peer {peer["samples_per_s"]:8.3f} samples/s; '
        f'{ours["tokens_per_s"]:9.0f}, {peer["tokens_per_s"]:9.0f} tokens/s; '
        f'{ours["peak_mb"]:6}, {peer["peak_mb"]:6} MB; {figures["speed"]:.2f} times as fast '
        f'({figures["processor"]:.2f} by processor time), {figures["memory"]:.2f} of the memory',
        flush=True,
    )


def main() -> None:
    """Compare, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--shape', choices=list(SHAPES), default='cpu', help='which model')
    parser.add_argument('--sides', type=int, nargs='+', help='picture sides in pixels; by default those of the shape')
    parser.add_argument('--questions', type=int, nargs='+', default=[1, 4, 8], help='questions a picture')
    parser.add_argument('--rounds', type=int, default=2, help='optimizer steps that are measured, after one warm-up')
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's threads for one operator; 0: its choice")
    parser.add_argument('--quick', action='store_true', help='336 px, 1 and 8 questions, one round, nothing else')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    args.instruct = not args.quick
    args.sides = args.sides or list(SHAPES[args.shape].sides)
    if args.quick:
        args.sides, args.questions, args.rounds = args.sides[:1], [1, 8], 1
    os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed, which transformers imports, warns
    start = time.perf_counter()
    report: dict[str, Any] = {'machine': in_own_process(machine, args.threads), 'shape': asdict(SHAPES[args.shape])}
    with tempfile.TemporaryDirectory(prefix='geochat-training-') as scratch:
        report['GeoChat_Instruct'] = in_own_process(write_all, args, Path(scratch))
        report['sides'] = {str(side): compare(side, args, Path(scratch)) for side in args.sides}
    report['minutes'] = round((time.perf_counter() - start) / 60, 1)
    print(f'{report["minutes"]} minutes')
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
