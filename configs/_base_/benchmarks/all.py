"""Every benchmark of the other files here, except those on built-in scenes. Nothing is read before one of them runs."""

from mmengine.config import read_base

with read_base():
    from .captions import benchmarks as _captions
    from .choices import benchmarks as _choices
    from .detection import benchmarks as _detection
    from .geochat_bench import benchmarks as _geochat_bench
    from .honesty import benchmarks as _honesty
    from .scene_folders import benchmarks as _scene_folders
    from .visual_grounding import benchmarks as _visual_grounding
    from .vrsbench import benchmarks as _vrsbench

benchmarks = {
    **_geochat_bench,
    **_vrsbench,
    **_visual_grounding,
    **_captions,
    **_scene_folders,
    **_choices,
    **_honesty,
    **_detection,
}
