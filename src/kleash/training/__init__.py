"""Change a policy's weights: the reference engine, its optimiser, and checkpoints that resume exactly."""
