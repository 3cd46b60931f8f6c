"""Image sources and image transforms: from a picture's name to a vision encoder's pixels."""

from geochat.datasets.transforms.geometry import ImageGeometry
from geochat.datasets.transforms.image_folder import ImageFolder, image_size
from geochat.datasets.transforms.pad_resize_normalize import PadResizeNormalize

__all__ = ['ImageFolder', 'ImageGeometry', 'PadResizeNormalize', 'image_size']
