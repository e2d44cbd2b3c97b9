"""Doors to the preparation: one command for each kind of source, `python -m data_prep.NAME`."""
