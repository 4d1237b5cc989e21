"""The language-model head and its log-probabilities, chunk by chunk: what makes large vocabularies affordable.

A batch's logits, tokens x vocabulary, are by far the largest tensor of a small model's training step. They are never
all kept: the forward pass reduces each chunk to two numbers per token, and the backward pass computes the chunk again.
Buffers are reused from call to call, because fresh memory costs the processor more (page faults) than the arithmetic
in it. What the body of the model does is `causal_lm.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kleash.maths.logprobs import LogprobsEntropy

_CHUNK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Logits of one chunk. On a processor 4 MiB of float32, about what stays in a core's cache; a card wants large ones."""

_LEAST_ROWS = 64
"""Of a chunk, however large the vocabulary: each chunk reads all the head's weights."""

_KEPT_ELEMENTS = 1 << 24
"""Probabilities kept from forward to backward: 64 MiB; small models then never compute a chunk twice."""

_BLOCK_ROWS = 4096
"""Of a bfloat16 head's weights: so many are float32 at a time, where the device cannot add products up in float32."""


class HeadWorkspace:
    """The buffers of one model's head, and whose probabilities lie in them.

    chunk_elements: logits computed at a time; None = by device.  kept_elements: probabilities that stay from forward
    to backward.
    """

    def __init__(self, *, chunk_elements: int | None = None, kept_elements: int = _KEPT_ELEMENTS) -> None:
        self.chunk_elements = chunk_elements
        self.kept_elements = kept_elements
        self.owner: object = None
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, num_rows: int, like_VD: Tensor) -> Tensor:
        """Return a (num_rows, V) float32 buffer on the device of like_VD; its content is what was last put there."""
        return self.matrix(name, num_rows, len(like_VD), like_VD.device)

    def matrix(self, name: str, num_rows: int, num_columns: int, device: torch.device) -> Tensor:
        size = num_rows * num_columns
        found = self._buffers.get(name)
        if found is None or found.device != device or found.numel() < size:
            found = self._buffers[name] = torch.empty(size, dtype=torch.float32, device=device)
        return found[:size].view(num_rows, -1)


def head_logprobs(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    target_N: Tensor,
    *,
    temperature: float = 1.0,
    workspace: HeadWorkspace | None = None,
) -> LogprobsEntropy:
    """Return each target's log-probability under softmax((hidden W^T + b) / temperature), and the entropy.

        logprob_n = z_n[target_n] - logsumexp(z_n)          with z = logits / temperature
        entropy_n = logsumexp(z_n) - sum_v p_nv z_nv        and p = softmax(z)

    Products are added up in float32 whatever the inputs' type, and the head's weights stay in theirs. Gradients flow
    from logprob_N into hidden_ND, weight_VD and bias_V; none from entropy_N, which is a diagnostic.
    """
    with torch.autocast(hidden_ND.device.type, enabled=False):
        arguments = (hidden_ND, weight_VD, bias_V, target_N, temperature, workspace or HeadWorkspace())
        return LogprobsEntropy(*_HeadLogprobs.apply(*arguments))


class _HeadLogprobs(torch.autograd.Function):
    """Forward: two numbers per token. Backward: with g the gradient of logprob,

        d logits_nv = g_n (1[v = target_n] - p_nv) / temperature

    The probabilities p of the first rows, as many as the workspace keeps, are still there unless another forward has
    used the workspace since; the others are computed again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        temperature: float,
        workspace: HeadWorkspace,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, target_N)
        ctx.temperature, ctx.workspace, ctx.owner = temperature, workspace, object()
        workspace.owner = ctx.owner
        logprob_N = torch.empty(len(target_N), device=hidden_ND.device)
        entropy_N = torch.empty_like(logprob_N)
        chunks = _Chunks(hidden_ND, weight_VD, bias_V, temperature, workspace)
        for rows in chunks.slices():
            logits_cV = chunks.logits(rows)
            probability_cV = torch.softmax(logits_cV, dim=1, out=chunks.probability_buffer(rows))
            # The largest logit and its probability give the logsumexp without another pass of exponentials.
            total_c = logits_cV.amax(1) - probability_cV.amax(1).log()
            logprob_N[rows] = logits_cV.gather(1, target_N[rows, None])[:, 0] - total_c
            entropy_N[rows] = total_c - torch.linalg.vecdot(probability_cV, logits_cV)
        ctx.mark_non_differentiable(entropy_N)
        return logprob_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, target_N = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden_ND = torch.empty_like(hidden_ND, dtype=torch.float32) if needs_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
        grad_bias_V = torch.zeros_like(bias_V, dtype=torch.float32) if needs_bias else None
        chunks = _Chunks(hidden_ND, weight_VD, bias_V, ctx.temperature, ctx.workspace)
        are_kept = ctx.workspace.owner is ctx.owner
        ctx.workspace.owner = None  # below, the probabilities turn into gradients in place
        scale_N1 = (grad_N / ctx.temperature)[:, None]
        for rows in chunks.slices():
            grad_cV = chunks.probability_buffer(rows)
            if not (are_kept and chunks.is_kept(rows)):
                torch.softmax(chunks.logits(rows), dim=1, out=grad_cV)
            grad_cV.mul_(-scale_N1[rows]).scatter_add_(1, target_N[rows, None], scale_N1[rows])
            if grad_hidden_ND is not None:
                chunks.times_weight(grad_cV, out_cD=grad_hidden_ND[rows])
            if grad_weight_VD is not None:
                grad_weight_VD.addmm_(grad_cV.T, chunks.hidden_ND[rows])
            if grad_bias_V is not None:
                grad_bias_V += grad_cV.sum(0)
        return grad_hidden_ND, grad_weight_VD, grad_bias_V, None, None, None


class _Chunks:
    """The rows of one call in chunks (c rows each), and the buffers they are computed in."""

    def __init__(
        self, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, temperature: float, workspace: HeadWorkspace
    ) -> None:
        self.hidden_ND, self.weight_VD = hidden_ND.float(), weight_VD
        self.bias_V, self.temperature, self.workspace = bias_V, temperature, workspace
        self.num_rows = len(hidden_ND)
        elements = workspace.chunk_elements or _CHUNK_ELEMENTS.get(weight_VD.device.type, 1 << 20)
        self.chunk_rows = max(1 if workspace.chunk_elements else _LEAST_ROWS, elements // len(weight_VD))
        self.num_kept_rows = min(self.num_rows, workspace.kept_elements // len(weight_VD))
        self.adds_up_in_float32 = weight_VD.dtype != torch.float32 and weight_VD.is_cuda

    def slices(self) -> Iterator[slice]:
        for start in range(0, self.num_rows, self.chunk_rows):
            yield slice(start, min(start + self.chunk_rows, self.num_rows))

    def is_kept(self, rows: slice) -> bool:
        return rows.stop <= self.num_kept_rows

    def logits(self, rows: slice) -> Tensor:
        logits_cV = self.workspace.buffer("logits", rows.stop - rows.start, self.weight_VD)
        hidden_cD = self.hidden_ND[rows]
        if self.adds_up_in_float32:
            logits_cV.copy_(torch.mm(hidden_cD.to(self.weight_VD.dtype), self.weight_VD.T, out_dtype=torch.float32))
        else:
            for part, weight_KD in self._blocks():
                torch.mm(hidden_cD, weight_KD.T, out=logits_cV[:, part])
        if self.bias_V is not None:
            logits_cV += self.bias_V
        return logits_cV if self.temperature == 1.0 else logits_cV.div_(self.temperature)

    def times_weight(self, grad_cV: Tensor, *, out_cD: Tensor) -> None:
        """Write the gradient of the states that a gradient of the logits gives."""
        if self.adds_up_in_float32:
            out_cD.copy_(torch.mm(grad_cV.to(self.weight_VD.dtype), self.weight_VD, out_dtype=torch.float32))
            return
        for part, weight_KD in self._blocks():
            torch.addmm(out_cD, grad_cV[:, part], weight_KD, beta=float(bool(part.start)), out=out_cD)

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the head's weights in float32, a block of rows after the other; float32 ones as they are, whole."""
        if self.weight_VD.dtype == torch.float32:
            yield slice(None), self.weight_VD
            return
        for start in range(0, len(self.weight_VD), _BLOCK_ROWS):
            weight_KD = self.weight_VD[start : start + _BLOCK_ROWS]
            block_KD = self.workspace.matrix("block", len(weight_KD), weight_KD.shape[1], weight_KD.device)
            yield slice(start, start + len(weight_KD)), block_KD.copy_(weight_KD)

    def probability_buffer(self, rows: slice) -> Tensor:
        if self.is_kept(rows):
            return self.workspace.buffer("kept", self.num_kept_rows, self.weight_VD)[rows]
        return self.workspace.buffer("passing", rows.stop - rows.start, self.weight_VD)
