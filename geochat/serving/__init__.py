"""The API server: a model behind HTTP, as OpenAI's clients speak it. FastAPI and torch are imported when it starts."""

from geochat.serving.limits import Limits
from geochat.serving.server import serve

__all__ = ['Limits', 'serve']
