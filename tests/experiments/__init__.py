"""Tests of the experiments on the sandbox."""
