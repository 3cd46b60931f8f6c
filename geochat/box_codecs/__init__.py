"""Box codecs: places on a picture written into text and read back."""

from geochat.box_codecs.base import BoxCodec
from geochat.box_codecs.geochat import GeoChatBoxCodec
from geochat.box_codecs.transcode import transcode

__all__ = ['BoxCodec', 'GeoChatBoxCodec', 'transcode']
