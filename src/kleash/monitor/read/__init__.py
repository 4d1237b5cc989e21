"""What a run's folder says, as records and sentences: nothing is drawn here and nothing is written.

`reader` and `live` read files, `findings` gathers the figures, `verdict` and `checks` say what they mean.
"""
