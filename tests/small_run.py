"""A whole run in a folder: five small parts, a few pictures, instruction records and two benchmarks."""

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from PIL import Image
from small_parts import small_parts

from geochat.engine.config import as_config

COLORS = {'red': (200, 30, 30), 'green': (30, 200, 30), 'blue': (30, 30, 200)}


class ShareRight(BaseMetric):
    """Share of the answers whose words are the true ones."""

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        right = [answer.parsed.text == answer.question.truth['text'] for answer in results]
        return {'right': sum(right) / len(right)}


class MeanAngle(BaseMetric):
    """Number of boxes, and the mean of their angles."""

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        angles = [angle for answer in results for angle in answer.parsed.boxes[:, 4]]
        return {'boxes': len(angles), 'angle': sum(angles) / max(1, len(angles))}


def write_lines(path: Path, rows: list[dict]) -> str:
    path.write_text(''.join(f'{json.dumps(row)}\n' for row in rows), encoding='utf-8')
    return str(path)


def write_data(folder: Path) -> None:
    """Write three pictures (the last one wide), twelve records and two benchmark files."""
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    for number, (name, color) in enumerate(COLORS.items()):
        Image.new('RGB', (28 * (1 + number // 2), 28), color).save(folder / 'images' / f'{name}.png')
    records = [
        {
            'id': f'{color}-{number}',
            'image': f'{color}.png',
            'conversations': [
                {'from': 'human', 'value': f'<image>\nIs a {color} ship present?'},
                {'from': 'gpt', 'value': ('yes', 'no', 'two ships')[number % 3]},
            ],
        }
        for number in range(4)
        for color in COLORS
    ]
    write_lines(folder / 'train.jsonl', records)
    scenes = [
        {
            'question_id': f's{number}',
            'image': f'{color}.png',
            'text': 'Is a ship present? ' * (3 - number),
            'ground_truth': ('yes', 'no', 'yes')[number],
        }
        for number, color in enumerate(COLORS)
    ]
    write_lines(folder / 'scene.jsonl', scenes)
    corners = [[4, 4], [12, 4], [12, 8], [4, 8]]
    write_lines(
        folder / 'refer.jsonl',
        [
            {
                'question_id': f'r{number}',
                'image_id': color,
                'question': 'the red ship',
                'ground_truth': [corners],
                'type': 'ref',
                'size_group': 'small',
            }
            for number, color in enumerate(COLORS)
        ],
    )


class SmallData:
    """Data preparation: see :func:`write_data`."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def prepare(self):
        write_data(self.folder)


def small_run(folder: Path, **changes) -> Config:
    """Write the data and return the config, not yet linked."""
    write_data(folder)
    parts = small_parts()
    parts['llm']['chat_template'] = {'type': 'vicuna_v1'}
    images = {'type': 'ImageFolder', 'root': str(folder / 'images')}
    loader = {
        'batch_size': 2,
        'num_workers': 0,
        'dataset': {'type': 'InstructionDataset', 'data_file': str(folder / 'train.jsonl'), 'image_source': images},
        'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'collate_fn': {'type': 'geochat.datasets.collate_samples'},
    }
    settings = {
        **parts,
        'task_prompts': {'scene': {'type': 'SceneClassificationPrompt'}, 'refer': {'type': 'ReferPrompt'}},
        'box_codec': {'type': 'geochat'},
        'model': {'type': 'GeoChat'},
        'max_length': 96,
        'train_dataloader': loader,
        'train_cfg': {'type': 'TrainLoop', 'max_iters': 2},
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-3}},
        'param_scheduler': {'type': 'CosineWithWarmupLR', 'by_epoch': False},
        'default_hooks': {
            'sampler_seed': None,
            'logger': {'type': 'ProgressHook'},
            'checkpoint': {'type': 'CheckpointHook', 'interval': 2},
        },
        'log_processor': {'type': 'ProgressLine'},
        'randomness': {'seed': 0},
        'benchmarks': {
            'scene': {
                'reader': {'type': 'SceneBenchmark', 'data_file': str(folder / 'scene.jsonl'), 'image_source': images},
                'task': 'scene',
                'metrics': [{'type': 'small_run.ShareRight'}],
                'max_new_tokens': 8,
            },
            'refer': {
                'reader': {
                    'type': 'ReferringBenchmark',
                    'data_file': str(folder / 'refer.jsonl'),
                    'image_source': images,
                },
                'task': 'refer',
                'metrics': [{'type': 'small_run.MeanAngle'}],
                'max_new_tokens': 8,
            },
        },
        'test_cfg': {'type': 'BenchmarkLoop', 'batch_size': 2},
        'work_dir': str(folder / 'run'),
    }
    return as_config({**settings, **changes}, None)
