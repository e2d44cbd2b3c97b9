"""From a collection of songs to a data set of TFRecord shards. Needs no JAX.

For others: `prepare.prepare`, `examples.Settings`, `command` (for the doors in `data_prep/`).
"""
