"""Data: instruction records, benchmark questions, pictures, batches and the built-in scenes."""

from geochat.datasets.benchmarks import (
    BenchmarkReader,
    CaptionBenchmark,
    CircularChoiceBenchmark,
    DIORBenchmark,
    DOTABenchmark,
    GEOBenchBenchmark,
    GroundingDescriptionBenchmark,
    HonestyBenchmark,
    KarpathyCaptionBenchmark,
    NWPUCaptionBenchmark,
    RefCOCOBenchmark,
    ReferringBenchmark,
    RegionCaptionBenchmark,
    RSVGBenchmark,
    SceneBenchmark,
    SceneFolderBenchmark,
    VOCReferringBenchmark,
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
    'CaptionBenchmark',
    'CircularChoiceBenchmark',
    'DIORBenchmark',
    'DOTABenchmark',
    'DataError',
    'GEOBenchBenchmark',
    'GroundingDescriptionBenchmark',
    'HonestyBenchmark',
    'ImageFolder',
    'ImageGeometry',
    'ImageGroupedSampler',
    'InstructionDataset',
    'KarpathyCaptionBenchmark',
    'LengthGroupedSampler',
    'NWPUCaptionBenchmark',
    'PadResizeNormalize',
    'RSVGBenchmark',
    'RefCOCOBenchmark',
    'ReferringBenchmark',
    'RegionCaptionBenchmark',
    'SampleProcessor',
    'SceneBenchmark',
    'SceneFiles',
    'SceneFolderBenchmark',
    'SceneImages',
    'VOCReferringBenchmark',
    'VQABenchmark',
    'collate_samples',
    'pack_samples',
]
