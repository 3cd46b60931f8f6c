"""How well the quick start's vision encoder tells what each patch of a scene shows, on scenes it never saw.

python benchmarks/tiny_encoder.py --json tiny_encoder.json
python benchmarks/tiny_encoder.py --pretrain        # pretrain it anew first, as tools/pretrain_tiny_encoder.py does
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from geochat.datasets.scenes import make_scene
from geochat.datasets.scenes.encoder_pretraining import (
    CODES_FILE,
    PatchCodes,
    Pretraining,
    patch_features,
    pretrain,
    scene_batch,
)
from geochat.datasets.scenes.patches import CHOICES, NUMBERS, TARGETS, UNTOLD, center_patches
from geochat.evaluation.functional.rotated_iou import rotated_iou

SHIPPED = Path(__file__).resolve().parents[1] / 'geochat' / 'data' / 'tiny' / 'encoder'
BATCH = 50


def read_patches(encoder, codes: PatchCodes, scenes: list) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what the encoder reads in each patch and the truth, (N, L, targets) each, and milliseconds a picture."""
    size, patch = encoder.config.image_size, encoder.config.patch_size
    read, truth, seconds = [], [], 0.0
    firsts = [NUMBERS[name][0] if name in NUMBERS else 0 for name in TARGETS]
    for start in range(0, len(scenes), BATCH):
        pixels, targets = scene_batch(scenes[start : start + BATCH], size, size // patch)
        begin = time.perf_counter()
        with torch.no_grad():
            features = patch_features(encoder, pixels)
        seconds += time.perf_counter() - begin
        logits = codes(features)
        read.append(
            torch.stack([logits[name].argmax(-1) + first for name, first in zip(TARGETS, firsts, strict=True)], -1)
        )
        truth.append(targets)
    return torch.cat(read).numpy(), torch.cat(truth).numpy(), 1000 * seconds / len(scenes)


def patch_figures(read: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the share of right choices and the median error of the numbers, over the patches that have them."""
    figures = {}
    for index, name in enumerate(TARGETS):
        told = truth[..., index] != UNTOLD
        found, right = read[..., index][told], truth[..., index][told]
        value = np.mean(found == right) if name in CHOICES else np.median(np.abs(found - right))
        figures[f'{name} ({"share right" if name in CHOICES else "median error"})'] = round(float(value), 4)
    return figures


def object_figures(scenes: list, read: np.ndarray, side: int) -> dict[str, float]:
    """Return figures of objects as their centre patches tell them; overlap is exact rotated IoU."""
    rows = np.concatenate([read[number, center_patches(scene, side)] for number, scene in enumerate(scenes)])
    found = dict(zip(TARGETS, rows.T, strict=True))
    boxes = np.column_stack(
        [
            (found['left'] + found['right']) / 2,
            (found['top'] + found['bottom']) / 2,
            np.maximum(found['right'] - found['left'], 0),
            np.maximum(found['bottom'] - found['top'], 0),
            np.radians(found['angle']),
        ]
    )
    overlap = rotated_iou(boxes, np.concatenate([scene.boxes((100, 100)) for scene in scenes]))
    return {
        'objects': len(rows),
        'mean IoU': round(float(overlap.mean()), 4),
        'IoU >= 0.5': round(float(np.mean(overlap >= 0.5)), 4),
        'IoU >= 0.75': round(float(np.mean(overlap >= 0.75)), 4),
    }


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--scenes', type=int, default=1000, help='scenes of the split "val"')
    parser.add_argument('--pretrain', action='store_true', help='pretrain an encoder anew instead of the shipped one')
    parser.add_argument('--seed', type=int, default=0, help='seed of the new encoder')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = {'python': platform.python_version(), 'torch': torch.__version__, 'scenes': args.scenes}
    if args.pretrain:
        encoder, codes, seconds = pretrain(Pretraining(seed=args.seed))
        report['pretraining (s)'] = round(seconds, 1)
    else:
        from transformers import CLIPVisionModel

        encoder = CLIPVisionModel.from_pretrained(SHIPPED).eval()
        codes = PatchCodes(encoder.config.hidden_size)
        codes.load_state_dict(load_file(SHIPPED / CODES_FILE))
    report['parameters'] = sum(parameter.numel() for parameter in encoder.parameters())
    scenes = [make_scene('val', index) for index in range(args.scenes)]
    read, truth, milliseconds = read_patches(encoder, codes, scenes)
    side = encoder.config.image_size // encoder.config.patch_size
    report |= {'encoding a picture (ms)': round(milliseconds, 2)}
    report |= patch_figures(read, truth) | object_figures(scenes, read, side)
    for name, value in report.items():
        print(f'{name:32} {value}')
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
