"""Weights that others trained, made into models of jaxsep, and back.

For others: `openunmix`, `openunmix_export`, `spleeter`; `torch_files.read_arrays` reads weights
without running what a file may ask for.
"""
