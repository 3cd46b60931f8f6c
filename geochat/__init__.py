"""GeoChat: a modular framework for grounded vision-language models of remote sensing."""

__version__ = '0.1.0'
