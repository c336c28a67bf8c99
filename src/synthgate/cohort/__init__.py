"""Who the patients are: cases, readers, the phantom, checks, splits and the prepared store."""
