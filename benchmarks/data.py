"""What the way of the training data costs: the index of 318,000 records, memory of its readers, samples a second.

    python benchmarks/data.py --json data.json
    python benchmarks/data.py --share 0.1 --samples 320

The records are made up in GeoChat_Instruct's form (see ``geochat_instruct.py``), as a JSON list and as JSONL. Every
measurement has a process of its own. Memory is told by the kernel: what a process has for itself (USS), and its fair
share of what it has with others (PSS).
"""

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import geochat_instruct
from measuring import in_own_process, machine

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'geochat_tiny.py'
SIDE = 504
"""Pixels of a side of the model's picture, as GeoChat's."""


def memory_mb(pid: int | str = 'self') -> dict[str, float]:
    """Return a process's memory in MB: ``pss`` and ``uss``."""
    rows = Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='utf-8').splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (row.partition(':') for row in rows)}
    return {
        'pss': kilobytes['Pss'] / 1024,
        'uss': (kilobytes['Private_Clean'] + kilobytes['Private_Dirty']) / 1024,
    }


def write_data(folder: Path, share: float) -> dict[str, Any]:
    """Write the records in both forms."""
    made = geochat_instruct.make_records(share)
    for name in ('list.json', 'lines.jsonl'):
        geochat_instruct.write(folder / name, made)
    return {
        'records': len(made),
        'pictures': len({record['image'] for record in made}),
        'mb': round((folder / 'list.json').stat().st_size / 1e6, 1),
    }


def measure_index(path: Path) -> dict[str, float]:
    """Open an index, which is built if it is not there: seconds, and memory that it takes."""
    from geochat.datasets.record_index import RecordIndex

    before, start, processor = memory_mb(), time.perf_counter(), time.process_time()
    index = RecordIndex(path)
    seconds, processor_s = time.perf_counter() - start, time.process_time() - processor
    lengths = int(index.entries['length'].sum())  # as a sampler does, this reads all pages
    after = memory_mb()
    return {
        'records': len(index),
        'text_tokens': lengths,
        'seconds': round(seconds, 3),
        'processor_s': round(processor_s, 3),
        'pss_mb': round(after['pss'] - before['pss'], 1),
    }


ORDERS = {
    'mixed': ('geochat.datasets.LengthGroupedSampler', 'geochat.datasets.collate_samples'),
    'grouped': ('geochat.datasets.ImageGroupedSampler', 'geochat.datasets.pack_samples'),
}
"""Sampler and collate function: records as they come, or those of a picture together."""


def train_dataloader(folder: Path, workers: int, order: str, batch_size: int) -> dict[str, Any]:
    """Return the config of a training data loader, as the recipes have it, over pictures in files."""
    from geochat.engine import load_config
    from geochat.engine.link import link_parts

    options = {
        'vision_encoder.image_size': SIDE,
        'max_length': 2048,
        'train_dataloader.batch_size': batch_size,
        'train_dataloader.num_workers': workers,
        'train_dataloader.persistent_workers': workers > 0,
        'train_dataloader.dataset.data_file': str(folder / 'list.json'),
        'train_dataloader.dataset.image_source': {'type': 'ImageFolder', 'root': str(folder)},
        'train_dataloader.dataset.independent_turns': False,
        'train_dataloader.sampler': {'type': ORDERS[order][0], 'seed': 0},
        'train_dataloader.collate_fn': {'type': ORDERS[order][1]},
    }
    return link_parts(load_config(CONFIG, options)).train_dataloader.to_dict()


def measure_loading(folder: Path, workers: int, order: str, batch_size: int, samples: int) -> dict[str, Any]:
    """Load samples in training's order: samples a second, memory of the main process and what the workers add."""
    import torch
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from geochat.datasets.collate import count_records
    from geochat.engine.batches import TrainBatches

    warnings.filterwarnings('ignore', message='This DataLoader will create')  # more workers than cores
    torch.set_num_threads(1)
    init_default_scope('geochat')
    settings = train_dataloader(folder, workers, order, batch_size)
    alone = memory_mb()
    loader = Runner.build_dataloader(settings)
    write_pictures(folder, loader, samples + batch_size * 3 * max(1, workers))
    before = memory_mb()
    batches = TrainBatches(loader, seed=0).epoch(0, 0)
    for _ in range(max(1, workers)):  # every worker has given a batch
        next(batches)
    start, processor = time.perf_counter(), _processor_s()
    loaded = sum(count_records(batch) for batch in itertools.islice(batches, samples // batch_size))
    seconds = time.perf_counter() - start
    report = {
        'samples': loaded,
        'batch_size': batch_size,
        'seconds': round(seconds, 2),
        'samples_per_s': round(loaded / seconds, 1),
        'dataset_mb': round(before['pss'] - alone['pss'], 1),
        'main_mb': round(before['pss'], 1),
    }
    if not workers:
        return {**report, 'processor_s_per_sample': round((_processor_s() - processor) / loaded, 4)}
    time.sleep(2)  # the workers fill their queues, and rest
    of_workers = [memory_mb(process.pid) for process in multiprocessing.active_children()]
    together = memory_mb()['pss'] + sum(memory['pss'] for memory in of_workers)
    return {
        **report,
        'added_mb_per_worker': round((together - before['pss']) / workers, 1),
        'largest_worker_uss_mb': round(max(memory['uss'] for memory in of_workers), 1),
        'in_flight_mb_per_worker': round(loader.prefetch_factor * batch_size * 3 * SIDE**2 * 4 / 2**20, 1),
    }


def write_pictures(folder: Path, loader: Any, samples: int) -> None:
    """Write the pictures of the first samples: JPEG files as large as GeoChat_Instruct's, but FloodNet's smaller."""
    loader.sampler.set_epoch(0)
    dataset = loader.dataset
    names = {name for index in itertools.islice(loader.sampler, samples) for name in dataset.records[index].images}
    for source, settings in geochat_instruct.SOURCES.items():
        of_source = sorted(name for name in names if name.startswith(source))
        geochat_instruct.write_pictures(folder, of_source, min(settings.side, 1024))


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system


def print_figures(report: dict[str, Any]) -> None:
    """Print the figures as they stand in the documentation."""
    data = report['data']
    print(f'\n{data["records"]:,} records on {data["pictures"]:,} pictures, {data["mb"]} MB')
    for form, index in report['index'].items():
        built, opened = index['built'], index['opened']
        print(
            f'  {form:12} index built in {built["seconds"]:6.2f} s ({built["processor_s"]:.2f} s of a processor), '
            f'opened in {opened["seconds"]:.3f} s, holds {opened["pss_mb"]:.1f} MB'
        )
    for name, loading in report['loading'].items():
        print(f'  {name:12} {loading["samples_per_s"]:8.1f} samples/s', end='')
        print(f'   dataset, sampler and loader {loading["dataset_mb"]:.1f} MB', end='')
        if 'added_mb_per_worker' in loading:
            print(
                f', a worker adds {loading["added_mb_per_worker"]:.1f} MB (largest USS '
                f'{loading["largest_worker_uss_mb"]:.1f} MB, of which batches in flight '
                f'{loading["in_flight_mb_per_worker"]:.1f} MB)',
                end='',
            )
        print(flush=True)


def main() -> None:
    """Measure, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--share', type=float, default=1.0, help='share of the 318,000 records')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 8], help='worker processes of the data loader')
    parser.add_argument('--batch-size', type=int, default=4, help='records of a batch')
    parser.add_argument('--samples', type=int, default=640, help='records that are loaded')
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed, which transformers imports, warns
    report: dict[str, Any] = {'machine': in_own_process(machine)}
    with tempfile.TemporaryDirectory(prefix='geochat-data-') as scratch:
        folder = Path(scratch)
        print('writing records', flush=True)
        report['data'] = in_own_process(write_data, folder, args.share)
        report['index'] = {}
        for name in ('list.json', 'lines.jsonl'):
            print(f'indexing {name}', flush=True)
            built = in_own_process(measure_index, folder / name)
            report['index'][name] = {'built': built, 'opened': in_own_process(measure_index, folder / name)}
        report['loading'] = {}
        for workers, order in itertools.product(args.workers, ORDERS):
            print(f'loading with {workers} workers, {order}', flush=True)
            loading = in_own_process(measure_loading, folder, workers, order, args.batch_size, args.samples)
            report['loading'][f'{workers} {order}'] = loading
    print_figures(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
