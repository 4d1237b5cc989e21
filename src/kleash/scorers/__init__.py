"""What scores answers one by one: reward models, ensembles of them, rules and functions."""
