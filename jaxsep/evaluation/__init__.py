"""Scores of separators on songs whose true stems are known.

For others: `evaluate.evaluate`, `methods.make_methods`, `tables` (reports in Markdown).
"""
