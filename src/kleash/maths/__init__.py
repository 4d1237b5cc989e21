"""The equations of RLHF as pure functions of tensors and floats: never a config, a model or a process group.

Shape letters, at the end of a tensor's name:

    B sequences   T tokens   P prompts   G samples per prompt   N pairs, items or positions
    V vocabulary   K ranked answers   L labellers

A mask says what counts: True = counts, everywhere. Whatever stands in a masked cell, NaN included, changes neither a
result nor a gradient. A loss returns a sum (`total`) and a `count`, never a mean, so that micro-batches and ranks add
up exactly. Double precision in gives double precision out.

This file imports nothing. `agreement` and `intervals`, which the services use, do without torch, and so do `best_of_n`,
`diagnostics`, `overoptimisation` and `schedules`. Start with `masked`, then `kl`, `advantages` and `policy_losses`.
"""
