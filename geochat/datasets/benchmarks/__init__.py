"""Readers of benchmark files in the formats of GeoChat-Bench."""

from geochat.datasets.benchmarks.base import BenchmarkReader
from geochat.datasets.benchmarks.boxes import ReferringBenchmark, RegionCaptionBenchmark
from geochat.datasets.benchmarks.words import SceneBenchmark, VQABenchmark

__all__ = ['BenchmarkReader', 'ReferringBenchmark', 'RegionCaptionBenchmark', 'SceneBenchmark', 'VQABenchmark']
