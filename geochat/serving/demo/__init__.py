"""The web demo: a page to ask a model about pictures. Gradio and torch are imported when it starts."""

from geochat.serving.demo.server import serve_demo

__all__ = ['serve_demo']
