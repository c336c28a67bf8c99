"""Pure numbers: neighbours, distances, intervals and permutation nulls; no files."""
