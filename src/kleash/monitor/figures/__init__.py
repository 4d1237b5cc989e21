"""The charts, as plotly's JSON: what is drawn of findings, made of the parts in `marks`."""
