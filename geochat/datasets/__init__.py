"""Data: instruction records, benchmark questions, pictures, batches and the built-in scenes."""

from geochat.datasets.benchmarks import (
    BenchmarkReader,
    ReferringBenchmark,
    RegionCaptionBenchmark,
    SceneBenchmark,
    VQABenchmark,
)
from geochat.datasets.collate import collate_samples
from geochat.datasets.errors import DataError
from geochat.datasets.instruction import InstructionDataset
from geochat.datasets.packing import pack_samples
from geochat.datasets.processor import SampleProcessor
from geochat.datasets.samplers import ImageGroupedSampler, LengthGroupedSampler
from geochat.datasets.scenes import SceneFiles, SceneImages
from geochat.datasets.transforms import ImageFolder, ImageGeometry, PadResizeNormalize

__all__ = [
    'BenchmarkReader',
    'DataError',
    'ImageFolder',
    'ImageGeometry',
    'ImageGroupedSampler',
    'InstructionDataset',
    'LengthGroupedSampler',
    'PadResizeNormalize',
    'ReferringBenchmark',
    'RegionCaptionBenchmark',
    'SampleProcessor',
    'SceneBenchmark',
    'SceneFiles',
    'SceneImages',
    'VQABenchmark',
    'collate_samples',
    'pack_samples',
]
