"""One check that every function of tensors makes first: do the shapes fit the letters in the names?"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kleash.errors import ShapeError


def check_shapes(letters: str, sizes: Mapping[str, int] | None = None, /, **tensors: Tensor) -> dict[str, int]:
    """Check that tensors have the dimensions that `letters` names, and the same size for the same letter.

    letters: dimensions apart by spaces, such as "B T". sizes: what an earlier call returned, to tie two calls together.
    Returns the size of each letter.
    Raises ShapeError naming the argument, its shape and the shape expected.

        sizes = check_shapes("B T", logprob_BT=logprob_BT, mask_BT=mask_BT)
        check_shapes("B", sizes, score_B=score_B)
    """
    names = letters.split()
    known = dict(sizes or {})
    for argument, tensor in tensors.items():
        shape = tuple(tensor.shape)
        fits = len(shape) == len(names) and all(
            known.get(name, size) == size for name, size in zip(names, shape, strict=True)
        )
        if not fits:
            expected = ", ".join(f"{name}={known[name]}" if name in known else name for name in names)
            raise ShapeError(
                f"{argument} has shape {shape}, expected ({expected}) as in the arguments before it. "
                f"Pass {argument} with {len(names)} dimension(s) of these sizes."
            )
        known.update(zip(names, shape, strict=True))
    return known
