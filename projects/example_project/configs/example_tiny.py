"""The tiny model with the parts of this package; run it with ``python tools/train.py`` from GeoChat's folder."""

from mmengine.config import read_base

with read_base():
    from geochat.configs.geochat_tiny import *

from geochat_example import CentreBoxCodec, PoolingProjector

projector = dict(type=PoolingProjector, stride=2)
box_codec = dict(type=CentreBoxCodec)
