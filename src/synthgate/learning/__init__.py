"""Training and applying a segmenter; shared by the judge, the arms and the served model."""
