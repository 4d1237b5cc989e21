"""The web routes, by who uses them. Each parses, calls one function, renders; rules and SQL are elsewhere."""
