"""What the console command ``geochat`` and the scripts in ``tools/`` do; a module a command.

Each has ``DESCRIPTION``, ``add_arguments(parser)`` and ``run(args)``, and imports nothing heavy before ``run``.
"""
