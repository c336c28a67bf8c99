"""Telling people: plots and tables for those who have something to tell."""
