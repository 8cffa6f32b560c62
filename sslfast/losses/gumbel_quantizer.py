"""The Gumbel vector quantiser of wav2vec 2.0: rows of codebooks picked by number, without the one-hot product."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._arguments import numbered_rows, of_dtype
from sslfast._autograd import distinct, first_order_only
from sslfast.losses._inputs import (
    check_device,
    check_floating,
    check_kernel_dtype,
    divisor,
    not_negative,
    without_autocast,
)
from sslfast.losses._inputs import positive as check_positive
from sslfast.random import Generator, check_generator, seed_tensor


class QuantizerOutput(NamedTuple):
    """What a quantiser gives.

    Attributes:
        quantized: (B, T, G * d), the picked vectors of all groups, in the dtype of the codebook.
        codes: int64 (B, T, G), the picked numbers in [0, V); -1 where logits have no softmax: there ``quantized`` is
            NaN.
        perplexity: scalar, ``prob_perplexity`` in training and ``code_perplexity`` in evaluation: transformers'.
        prob_perplexity: scalar, the sum over groups of exp of the entropy of the mean softmax (without noise and
            temperature); the gradient of the diversity loss goes through it.
        code_perplexity: scalar, detached, the same of how often each code has the largest logit.
    """

    quantized: Tensor
    codes: Tensor
    perplexity: Tensor
    prob_perplexity: Tensor
    code_perplexity: Tensor


class GumbelVectorQuantizer(nn.Module):
    """Quantises features with a codebook for each of some groups: a linear layer makes logits, noise picks, vectors
    of all groups stand side by side. :func:`gumbel_quantize` says how.

    Parameters have the names, shapes and initial values of transformers' Wav2Vec2GumbelVectorQuantizer, whose
    ``state_dict`` fits; fairseq's ``vars`` are ``codevectors``.

    Args:
        dim: width of the features.
        num_vars: V, vectors of a codebook. Default: 320.
        groups: G. Default: 2.
        vq_dim: width of the quantised features, a multiple of ``groups``. Default: 256.
        temperature: at least 1e-8, or ``(start, stop, decay)`` of fairseq's schedule, which :meth:`set_num_updates`
            follows. Default: 2.0.
        combine_groups: all groups share one codebook. Default: False.
        perplexity_eps: added to what logarithms are taken of: 1e-7 for fairseq's numbers. Default: 0.0, transformers'.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range.

    Example:
        >>> quantizer = GumbelVectorQuantizer(512)
        >>> out = quantizer(features, mask, generator=step_seed(seed, step))
        >>> loss = contrastive + 0.1 * diversity_loss(out.perplexity, quantizer.num_codevectors, mask)
    """

    def __init__(
        self,
        dim: int,
        num_vars: int = 320,
        groups: int = 2,
        vq_dim: int = 256,
        *,
        temperature: float | tuple[float, float, float] = 2.0,
        combine_groups: bool = False,
        perplexity_eps: float = 0.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        dim = _check.integer(name, "dim", dim, 1)
        self.num_vars = _check.integer(name, "num_vars", num_vars, 1, 2**32)
        self.groups = _check.integer(name, "groups", groups, 1)
        vq_dim = _check.integer(name, "vq_dim", vq_dim, 1)
        if vq_dim % groups:
            raise ValueError(f"{name}: vq_dim must be a multiple of groups, got {vq_dim} and {groups}")
        combine_groups = _check.boolean(name, "combine_groups", combine_groups)
        self.perplexity_eps = not_negative(name, "perplexity_eps", perplexity_eps)
        schedule = temperature if isinstance(temperature, (tuple, list)) else (temperature, temperature, 1.0)
        if len(schedule) != 3:
            expected = "a number or (start, stop, decay)"
            raise ValueError(f"{name}: temperature must be {expected}, got {tuple(schedule)}")
        start, stop, decay = schedule
        ends = divisor(name, "temperature", start), divisor(name, "temperature", stop)
        self.schedule = (*ends, check_positive(name, "temperature", decay))
        self.temperature = self.schedule[0]
        self.weight_proj = nn.Linear(dim, self.groups * self.num_vars)
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)
        books = 1 if combine_groups else self.groups
        self.codevectors = nn.Parameter(torch.empty(1, books * self.num_vars, vq_dim // groups))
        nn.init.uniform_(self.codevectors)

    @property
    def num_codevectors(self) -> int:
        """G * V, the largest perplexity."""
        return self.groups * self.num_vars

    def set_num_updates(self, num_updates: int) -> None:
        """Sets the temperature to that of the schedule after so many updates: ``max(start * decay**n, stop)``."""
        start, stop, decay = self.schedule
        self.temperature = max(
            start * decay ** _check.integer(type(self).__name__, "num_updates", num_updates, 0), stop
        )

    def forward(
        self,
        hidden_states: Tensor,
        mask_time_indices: Tensor | None = None,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> QuantizerOutput:
        """(B, T, dim) features, and the frames that count in the perplexities, bool (B, T); the rest goes to
        :func:`gumbel_quantize`."""
        check_floating(type(self).__name__, "hidden_states", hidden_states)
        logits = self.weight_proj(hidden_states).unflatten(-1, (self.groups, self.num_vars))
        return gumbel_quantize(
            logits,
            self.codevectors.view(-1, self.num_vars, self.codevectors.shape[2]),
            mask_time_indices,
            temperature=self.temperature,
            training=self.training,
            perplexity_eps=self.perplexity_eps,
            generator=generator,
            row_offset=row_offset,
            sample_ids=sample_ids,
        )

    def extra_repr(self) -> str:
        return f"num_vars={self.num_vars}, groups={self.groups}, temperature={self.temperature}"


def gumbel_quantize(
    logits: Tensor,
    codebook: Tensor,
    mask_time_indices: Tensor | None = None,
    *,
    temperature: float = 2.0,
    training: bool = True,
    perplexity_eps: float = 0.0,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> QuantizerOutput:
    """Picks a vector of a codebook by logits with noise, and lets the gradient straight through.

    With Gumbel noise n, and y = softmax((l + n) / temperature) of a group's logits l, the code is the largest of
    l + n and the result that row of the codebook. The gradient is that of ``sum_v (hard - y.detach() + y)_v c_v`` over
    the vectors c_v: of ``F.gumbel_softmax(hard=True)`` and what the peers take as a product (B T, G V, d) with ones and
    zeros. Here rows are read by number, and the backward pass is one matrix product and one pass over the logits. In
    evaluation the code is the largest logit, and no gradient goes through it to the logits.

    The noise of a code depends on (seed, number of the utterance, frame, group, code) alone and is drawn again in
    backward. Codes are decided in portable arithmetic: the same logits give the same codes on every device.

    Args:
        logits: (B, T, G, V), floating point; float64 is rounded to float32 where codes are drawn.
        codebook: (G, V, d), floating point, or (1, V, d), one for all groups.
        mask_time_indices: bool (B, T), the frames that count in the perplexities. Default: None, all.
        temperature: at least 1e-8. Default: 2.0.
        training: whether noise is added. Default: True.
        perplexity_eps: added to what the logarithms of the perplexities are taken of. Default: 0.0.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global number of utterance 0 in the draws. Default: 0.
        sample_ids: int64 (B,), the number of each utterance in the draws, in [0, 2^31). Default: None, ``row_offset``
            and up.

    Returns:
        :class:`QuantizerOutput`. Where no frame counts, both perplexities are G, their least (transformers': NaN).

    Raises:
        TypeError: if a tensor has another kind of dtype than above, float64 is on a GPU, or a number is none.
        ValueError: if a shape, a device or a number is out of what is said above.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 2; Jang et al., "Categorical Reparameterization with
    Gumbel-Softmax", ICLR 2017; transformers' Wav2Vec2GumbelVectorQuantizer; fairseq's GumbelVectorQuantizer.
    """
    name = "gumbel_quantize"
    check_floating(name, "logits", logits)
    check_floating(name, "codebook", codebook)
    if logits.dim() != 4 or 0 in logits.shape[2:]:
        raise ValueError(f"{name}: logits must have shape (B, T, G, V) with G, V >= 1, got {tuple(logits.shape)}")
    batch, length, groups, width = logits.shape
    if codebook.dim() != 3 or codebook.shape[0] not in (1, groups) or codebook.shape[1] != width:
        expected = f"({groups}, {width}, d) or (1, {width}, d)"
        raise ValueError(f"{name}: codebook must have shape {expected}, got {tuple(codebook.shape)}")
    check_device(name, "logits", logits, "codebook", codebook)
    check_kernel_dtype(name, logits, codebook)
    mask = mask_time_indices
    if mask is not None:
        of_dtype(name, "mask_time_indices", mask, torch.bool)
        if mask.shape != (batch, length):
            raise ValueError(
                f"{name}: mask_time_indices must have shape ({batch}, {length}), like logits, got {tuple(mask.shape)}"
            )
        check_device(name, "logits", logits, "mask_time_indices", mask)
        mask = mask.flatten().contiguous()
    temperature = divisor(name, "temperature", temperature)
    training = _check.boolean(name, "training", training)
    eps = not_negative(name, "perplexity_eps", perplexity_eps)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch, logits.device)
    seed = numbers = None
    if training:
        seed = seed_tensor(generator, function=name, device=logits.device)
        utterances = torch.arange(batch, device=logits.device) + row_offset if sample_ids is None else sample_ids
        numbers = ((utterances << 32)[:, None] + torch.arange(length * groups, device=logits.device)).flatten()
    else:
        check_generator(generator, function=name, device=logits.device)
    options = (temperature, torch.is_grad_enabled())
    quantized, codes, probs, counts = _Quantize.apply(
        name, *distinct(logits.flatten(0, 1), codebook, mask, seed, numbers), options
    )
    frames = batch * length if mask is None else mask.sum()
    prob, code = (_perplexity(sums, frames, eps) for sums in (probs, counts))
    return QuantizerOutput(
        quantized.view(batch, length, groups * codebook.shape[2]),
        codes.view(batch, length, groups),
        prob if training else code,
        prob,
        code,
    )


def _perplexity(sums: Tensor, frames: Tensor | int, eps: float) -> Tensor:
    """Of sums (G, V) over frames."""
    mean = sums / (frames.clamp_min(1) if isinstance(frames, Tensor) else max(frames, 1))
    logarithm = torch.log(mean + eps) if eps else torch.log(mean.clamp_min(torch.finfo(mean.dtype).tiny))
    return torch.exp(-(mean * logarithm).sum(-1)).sum()


class _Quantize(torch.autograd.Function):
    """(N, G, d) picked vectors and their codes, and the sums over frames of softmax and largest logits (G, V)."""

    @staticmethod
    def forward(ctx, function, logits, codebook, mask, seed, numbers, options):  # type: ignore[no-untyped-def]
        packed = logits.detach().contiguous()
        codes, lse, probs, counts = ops.gumbel_quantize(packed, mask)
        if seed is not None:
            drawn = packed.float() if packed.dtype == torch.float64 else packed
            codes = ops.gumbel_sample(drawn.flatten(0, 1), None, seed, numbers, 1.0, 0).view(codes.shape)
        books, width, dim = codebook.shape
        at = codes.clamp_min(0)
        if books > 1:
            at = at + width * torch.arange(books, device=at.device)
        picked = codebook.detach().flatten(0, 1).index_select(0, at.flatten()).view(*codes.shape, dim)
        picked = picked.masked_fill((codes < 0).unsqueeze(2), torch.nan)
        ctx.save_for_backward(logits, codebook, mask, seed, numbers, lse, at)
        ctx.function, (ctx.temperature, _) = function, options
        counts = counts.sum(0)
        ctx.mark_non_differentiable(codes, counts)
        ctx.set_materialize_grads(False)
        return picked, codes, probs.sum(0), counts

    @staticmethod
    def backward(ctx, grad, _, d_probs, __):  # type: ignore[no-untyped-def]
        logits, codebook, mask, seed, numbers, lse, at = ctx.saved_tensors
        wide = lse.dtype
        d_logits = d_codebook = None
        with torch.no_grad(), without_autocast(logits):
            products = None
            if grad is not None:
                rows = grad.to(torch.promote_types(wide, codebook.dtype))
                if ctx.needs_input_grad[2]:
                    d_codebook = torch.ops.aten.embedding_dense_backward(
                        rows.flatten(0, 1), at.flatten(), codebook.shape[0] * codebook.shape[1], -1, False
                    )
                    d_codebook = d_codebook.view(codebook.shape).to(codebook.dtype)
                if ctx.needs_input_grad[1] and seed is not None:
                    book = codebook.to(rows.dtype).expand(rows.shape[1], -1, -1)
                    products = torch.bmm(rows.transpose(0, 1), book.mT).to(wide).contiguous()
            if ctx.needs_input_grad[1] and (products is not None or d_probs is not None):
                shares = None if d_probs is None else d_probs.contiguous()
                given = (logits.detach().contiguous(), mask, lse, products, shares)
                if seed is None:  # there are no products, and nothing is drawn
                    seed, numbers = torch.zeros((), dtype=torch.int64), at.flatten()
                d_logits = ops.gumbel_quantize_backward(*given, seed, numbers, ctx.temperature)
        inputs = [x for x in (logits, codebook, grad, d_probs) if x is not None]
        found = [None if g is None else first_order_only(ctx.function, g, *inputs) for g in (d_logits, d_codebook)]
        return None, *found, None, None, None, None
