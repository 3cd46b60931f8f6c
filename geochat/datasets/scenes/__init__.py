"""Built-in scenes: overhead pictures drawn by code, with exact boxes, instructions and benchmark files."""

from geochat.datasets.scenes.drawing import draw_scene
from geochat.datasets.scenes.files import SceneFiles
from geochat.datasets.scenes.images import SceneImages
from geochat.datasets.scenes.layout import Scene, SceneObject, make_scene

__all__ = ['Scene', 'SceneFiles', 'SceneImages', 'SceneObject', 'draw_scene', 'make_scene']
