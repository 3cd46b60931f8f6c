"""Third-party parts for GeoChat. Importing this module registers them."""

from geochat_example.box_codec import CentreBoxCodec
from geochat_example.projector import PoolingProjector

__all__ = ['CentreBoxCodec', 'PoolingProjector']
