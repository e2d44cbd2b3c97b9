"""Pictures of spectra, errors and layers.

For others: `figures` (PNG files), `spectra` (what is in them).
"""
