"""The way in for Python users: ask a model about pictures, build one from a config, load one from a folder."""

from geochat.apis.dialogue import Dialogue, History
from geochat.apis.errors import InputError, PictureError, PictureTooLargeError
from geochat.apis.inferencer import GeoChatInferencer
from geochat.apis.interpreter import Asked, Interpreter, Prepared
from geochat.apis.loading import Assistant, Conventions, load_assistant, load_conventions
from geochat.apis.models import build_model, load_model
from geochat.apis.pictures import PictureSettings, read_picture
from geochat.apis.predictions import Prediction

__all__ = [
    'Asked',
    'Assistant',
    'Conventions',
    'Dialogue',
    'GeoChatInferencer',
    'History',
    'InputError',
    'Interpreter',
    'PictureError',
    'PictureSettings',
    'PictureTooLargeError',
    'Prediction',
    'Prepared',
    'build_model',
    'load_assistant',
    'load_conventions',
    'load_model',
    'read_picture',
]
