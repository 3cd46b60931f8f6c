"""From a config to a run: linking, runners, loops, strategies, hooks and checkpoint rules."""

from geochat.engine.build import build_runner
from geochat.engine.config import ConfigError, load_config, parse_options
from geochat.engine.link import link_parts

__all__ = ['ConfigError', 'build_runner', 'link_parts', 'load_config', 'parse_options']
