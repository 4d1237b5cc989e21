"""The ten slices of the sandbox: what is asked in each, which answers are right, and which mistakes are typical.

`question.py` holds the record; `truth.py` the slices where the answer is a matter of fact; `conduct.py` those where it
is a matter of conduct. `kleash.sandbox.world` joins them and splits training from evaluation.
"""
