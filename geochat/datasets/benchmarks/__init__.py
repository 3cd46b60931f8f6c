"""Readers of benchmark files, each in the form that the benchmark's authors publish it in."""

from geochat.datasets.benchmarks.base import BenchmarkReader
from geochat.datasets.benchmarks.boxes import ReferringBenchmark, RegionCaptionBenchmark
from geochat.datasets.benchmarks.captions import (
    CaptionBenchmark,
    GroundingDescriptionBenchmark,
    KarpathyCaptionBenchmark,
    NWPUCaptionBenchmark,
)
from geochat.datasets.benchmarks.choices import CircularChoiceBenchmark, GEOBenchBenchmark, HonestyBenchmark
from geochat.datasets.benchmarks.detection import DIORBenchmark, DOTABenchmark
from geochat.datasets.benchmarks.expressions import RefCOCOBenchmark, RSVGBenchmark, VOCReferringBenchmark
from geochat.datasets.benchmarks.words import SceneBenchmark, SceneFolderBenchmark, VQABenchmark

__all__ = [
    'BenchmarkReader',
    'CaptionBenchmark',
    'CircularChoiceBenchmark',
    'DIORBenchmark',
    'DOTABenchmark',
    'GEOBenchBenchmark',
    'GroundingDescriptionBenchmark',
    'HonestyBenchmark',
    'KarpathyCaptionBenchmark',
    'NWPUCaptionBenchmark',
    'RSVGBenchmark',
    'RefCOCOBenchmark',
    'ReferringBenchmark',
    'RegionCaptionBenchmark',
    'SceneBenchmark',
    'SceneFolderBenchmark',
    'VOCReferringBenchmark',
    'VQABenchmark',
]
