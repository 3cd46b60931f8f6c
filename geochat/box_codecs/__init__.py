"""Box codecs: places on a picture written into text and read back."""

from geochat.box_codecs.base import BoxCodec
from geochat.box_codecs.brackets import (
    AllSeeingBoxCodec,
    EarthDialBoxCodec,
    EarthGPTBoxCodec,
    LHRSBoxCodec,
    TEOChatBoxCodec,
    VHMBoxCodec,
)
from geochat.box_codecs.florence import FlorenceBoxCodec, FlorencePolyCodec, FlorenceQuadCodec
from geochat.box_codecs.geochat import FitRSBoxCodec, GeoChatBoxCodec, MiniGPTBoxCodec
from geochat.box_codecs.ogc import GeoJSONBoxCodec, WKTBoxCodec
from geochat.box_codecs.qwen import Qwen2BoxCodec, Qwen3BoxCodec, Qwen25BoxCodec
from geochat.box_codecs.rscovlm import RSCoVLMQuadCodec, RSCoVLMRotatedCodec, RSCoVLMUprightCodec
from geochat.box_codecs.transcode import transcode

__all__ = [
    'AllSeeingBoxCodec',
    'BoxCodec',
    'EarthDialBoxCodec',
    'EarthGPTBoxCodec',
    'FitRSBoxCodec',
    'FlorenceBoxCodec',
    'FlorencePolyCodec',
    'FlorenceQuadCodec',
    'GeoChatBoxCodec',
    'GeoJSONBoxCodec',
    'LHRSBoxCodec',
    'MiniGPTBoxCodec',
    'Qwen2BoxCodec',
    'Qwen3BoxCodec',
    'Qwen25BoxCodec',
    'RSCoVLMQuadCodec',
    'RSCoVLMRotatedCodec',
    'RSCoVLMUprightCodec',
    'TEOChatBoxCodec',
    'VHMBoxCodec',
    'WKTBoxCodec',
    'transcode',
]
