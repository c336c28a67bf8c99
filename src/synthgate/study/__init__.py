"""Using batches: arms, their comparison and the evidence."""
