"""The `jaxsep` command: one module for each subcommand.

Each has `add(commands)`, which adds its parser, and `run(args)`, which returns the exit code: 2 for
wrong usage or unusable input, 1 for a failure midway, 130 after Ctrl-C. What takes long to import
is imported in `run`, so that --help and a misspelt flag are answered at once.

For others: `main.main`; `demo`, the built-in band's training, for `train.py`.
"""
