"""The way in for Python users: build a model from a config, load one from a folder."""

from geochat.apis.models import build_model, load_model

__all__ = ['build_model', 'load_model']
