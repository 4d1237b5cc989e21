"""One file per stage of the recipe; `round` runs them in order."""
