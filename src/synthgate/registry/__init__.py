"""Approving models: candidates, rules, the manifest and versions."""
