"""Songs with stems, as they lie on a disk: MUSDB18, folders of stems, MIR-1K, the built-in band.

For others: `source` (`Source`, `Track`, `Song`), `open.open_collection`, and each collection.
"""
