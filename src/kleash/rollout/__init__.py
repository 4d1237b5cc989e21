"""Generators: how a policy proposes answers."""
