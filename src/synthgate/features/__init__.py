"""What can be measured on a case: descriptors and fixed feature spaces."""
