"""Judging batches: one module per axis, and the verdict."""
