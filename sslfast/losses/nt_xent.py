"""NT-Xent, the contrastive loss of SimCLR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import ops
from sslfast._autograd import distinct, first_order_only, side_gradient, unit_side
from sslfast._verdict import JointChecks, OptionsAround, spelled
from sslfast.distributed import count_rows, mean_over_ranks, strategy_of, takes_other_ranks
from sslfast.losses._debias import check_tau_plus, debiased
from sslfast.losses._few_pairs import few_samples, few_views
from sslfast.losses._inputs import check_pair, check_rows, temperature_of, without_autocast
from sslfast.losses._kept import check_memory_budget, half_of_logits, kept_logits
from sslfast.losses._self import self_softmax
from sslfast.losses._self_ranks import self_softmax_over_ranks
from sslfast.losses._shown import shown_options
from sslfast.losses.info_nce import info_nce_loss
from sslfast.losses.memory_bank import MemoryBank


class NTXentLoss(nn.Module):
    """NT-Xent as a module; see :func:`nt_xent_loss`.

    Called as lightly's is, ``criterion(out0, out1)``. With a memory bank the negatives of ``out0`` are the bank's
    embeddings instead of the batch's, and the loss is one-sided, MoCo's: see :func:`~sslfast.losses.info_nce_loss`.
    After each loss of an ``out0`` that requires a gradient, the normalised ``out1`` goes into the bank; evaluation
    leaves it as it is.

    Args:
        temperature: divides the cosine similarities. Default: 0.5, lightly's.
        memory_bank_size: ``(num, dim)`` of the memory bank, or 0 for none. Default: 0.
        gather_distributed: contrast with the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or
            ``"ring"``, see :func:`nt_xent_loss`; with a memory bank, the mean loss of all ranks, and ``out1`` of
            all ranks goes into the bank. Default: False.
        tau_plus: debiased NT-Xent: share of positives among the negatives. Default: 0.
        memory_budget: bytes of similarities that may be kept for the gradient; of no effect with a memory bank, whose
            gradient needs none, and over several ranks. Default: None, see :func:`nt_xent_loss`.

    Attributes:
        memory_bank: the :class:`~sslfast.losses.MemoryBank`, or None. It starts with the entries that lightly's has
            after the same ``torch.manual_seed``; unlike lightly's it keeps a batch whole when the ring is full, and is
            saved in ``state_dict``.

    Raises:
        TypeError: if ``temperature`` or ``tau_plus`` is not a number, ``memory_bank_size`` is neither 0 nor a pair of
            ints, or ``memory_budget`` is neither None nor an int.
        ValueError: if ``abs(temperature)`` is below 1e-8, ``memory_bank_size`` is another int or below 1,
            ``gather_distributed`` is none of these, ``tau_plus`` is not in [0, 1), or ``memory_budget`` is negative.

    Example:
        >>> criterion = NTXentLoss(temperature=0.1)
        >>> loss = criterion(model(view0), model(view1))
        >>> loss.backward()
    """

    def __init__(
        self,
        temperature: float = 0.5,
        memory_bank_size: int | Sequence[int] = 0,
        gather_distributed: bool | str = False,
        *,
        tau_plus: float = 0.0,
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature_of("NTXentLoss", temperature)
        strategy_of("NTXentLoss", gather_distributed)
        self.gather_distributed = gather_distributed
        self.tau_plus = check_tau_plus("NTXentLoss", tau_plus)
        self.memory_budget = check_memory_budget("NTXentLoss", memory_budget)
        whole = takes_other_ranks(gather_distributed)
        self.memory_bank = None
        if isinstance(memory_bank_size, int) and not isinstance(memory_bank_size, bool):
            if memory_bank_size != 0:
                expected = f"0 or a pair (num, dim), as ({memory_bank_size}, dim)"
                raise ValueError(f"NTXentLoss: memory_bank_size must be {expected}, got {memory_bank_size}")
        elif not isinstance(memory_bank_size, Sequence) or isinstance(memory_bank_size, str):
            got = type(memory_bank_size).__name__
            raise TypeError(f"NTXentLoss: memory_bank_size must be 0 or a pair (num, dim), got {got}")
        elif len(memory_bank_size) != 2:
            numbers = tuple(memory_bank_size)
            raise TypeError(f"NTXentLoss: memory_bank_size must be 0 or a pair (num, dim), got {numbers}")
        elif tuple(memory_bank_size[:1]) != (0,):
            self.memory_bank = MemoryBank(memory_bank_size, whole)

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        """The loss of two views of a batch, (N, D) each: ``z0`` and ``z1`` of :func:`nt_xent_loss`."""
        if self.memory_bank is None:
            return nt_xent_loss(
                out0,
                out1,
                self.temperature,
                tau_plus=self.tau_plus,
                gather_distributed=self.gather_distributed,
                memory_budget=self.memory_budget,
            )
        with JointChecks("NTXentLoss", self.memory_bank.gather_distributed, out0):
            check_rows("NTXentLoss", "out0", out0)
            num, dim = self.memory_bank.size
            if out0.shape[1] != dim:
                expected = f"(num, {out0.shape[1]}), as out0 is wide"
                raise ValueError(f"NTXentLoss: memory_bank_size must be {expected}, got {(num, dim)}")
        with OptionsAround(memory_bank_size=self.memory_bank.size):
            loss = info_nce_loss(
                out0,
                out1,
                queue=self.memory_bank.bank,
                temperature=self.temperature,
                tau_plus=self.tau_plus,
                gather_distributed=self.memory_bank.gather_distributed,
            )
        if out0.requires_grad:
            self.memory_bank.enqueue(F.normalize(out1.detach().float(), dim=1))
        return loss

    def extra_repr(self) -> str:
        return shown_options(self, NTXentLoss, "temperature", "gather_distributed")


def nt_xent_loss(
    z0: Tensor,
    z1: Tensor,
    temperature: float = 0.5,
    *,
    tau_plus: float = 0.0,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views of a batch.

    Every one of the 2N views has to pick the other view of its sample among the 2N - 1 others, by cosine similarity:

    ``z = F.normalize(torch.cat([z0, z1]), dim=1)``;
    ``loss = F.cross_entropy((z @ z.T / temperature).fill_diagonal_(-inf), [N, ..., 2N - 1, 0, ..., N - 1])``

    with the value and the gradients of lightly's ``NTXentLoss``, in O(N D) memory: the 2N x 2N similarities are made
    in tiles, half of them because they are symmetric, and made again for the gradient unless they are kept. (Up to 256
    samples on the CPU are one tile.) Accumulates in float32 (float64 inputs in float64). bfloat16 inputs, but few on
    the CPU, and float16 ones on a GPU, are multiplied as such, and of what is made of them only the weights of the
    gradient are rounded, over several ranks as on one. Small losses keep their relative precision (log1p of the
    negatives' share).

    Args:
        z0: embeddings of the first views, shape (N, D), floating point, any strides; need not be normalised.
        z1: embeddings of the second views, same shape and device.
        temperature: divides the similarities; a negative one turns them round, as in lightly. Default: 0.5.
        tau_plus: debiased NT-Xent: the probability that a negative is of the view's own class, whose part is taken out
            of the sum over the 2N - 2 negatives. Default: 0.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank computes a share of half the similarities, an equal one where shards are equal. (lightly returns
            the rank's share of the loss, whose mean over ranks this is.) True or ``"all_gather"`` gathers the
            embeddings of all ranks; ``"ring"`` passes them round while the ranks compute, so that none ever holds all
            of them at once. False or ``"local"``: this rank's samples alone. Forward and backward communicate: one that
            only some ranks call waits for ever. Without a process group, or with one rank, it changes nothing. Default:
            False.
        memory_budget: how many bytes of similarities may be kept for the gradient, instead of being made again; 0 keeps
            none. All are kept, and a quarter of the FLOPs saved, from about 8 N^2 bytes (16 N^2 for float64, 4 N^2 for
            bfloat16). On a GPU and over several ranks none are kept, whatever it says, and up to 256 samples on the
            CPU, whose gradient is made with the loss, need none. Default: None, 2 MiB or 8 bytes (16 for float64) for
            every number of z0 and z1, which is O(N D).

    Returns:
        Scalar loss, float32, or float64 if an input is. With N = 1 there are no negatives and the loss is 0.

    Raises:
        TypeError: if z0 or z1 is not a floating-point tensor, or is float64 on a GPU, ``temperature`` or ``tau_plus``
            is not a number, or ``memory_budget`` is neither None nor an int.
        ValueError: if z0 is not (N, D) with N, D >= 1, z1 differs in shape or device, ``abs(temperature)`` is below
            1e-8, ``tau_plus`` is not in [0, 1), ``memory_budget`` is negative, ``gather_distributed`` is none of these,
            or D, a dtype or an option is not the same on every rank. Where one of several ranks raises, all do: the
            others a ValueError that names it.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020; Chuang
    et al., "Debiased Contrastive Learning", NeurIPS 2020.
    """
    name = "nt_xent_loss"
    with JointChecks(name, gather_distributed, z0):
        strategy = strategy_of(name, gather_distributed)
        check_pair(name, "z0", z0, "z1", z1)
        temperature = temperature_of(name, temperature)
        scale = 1.0 / temperature
        tau_plus = check_tau_plus(name, tau_plus)
        budget = check_memory_budget(name, memory_budget)
    if strategy == "local" and tau_plus == 0.0 and few_samples(z0, z1):
        return few_views(name, z0, z1, scale)
    with without_autocast(z0):  # which would not let float16 be put together on a CPU
        z0, z1 = distinct(z0, z1)
        if strategy != "local" or tau_plus > 0.0:
            return _composed(name, z0, z1, temperature, tau_plus, strategy)
        loss: Tensor = _FusedNTXent.apply(z0, z1, scale) if z0.is_cuda else _NTXent.apply(z0, z1, scale, budget)
        return loss


def _composed(function: str, z0: Tensor, z1: Tensor, temperature: float, tau_plus: float, strategy: str) -> Tensor:
    scale = 1.0 / temperature
    z = torch.cat([z0, z1])
    positives = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    if strategy == "local":
        lse, positive = self_softmax(function, z, scale, positives)
    else:
        options = spelled(gather_distributed=strategy, temperature=temperature, tau_plus=tau_plus, z0=z0, z1=z1)
        lse, positive = self_softmax_over_ranks(function, z, scale, positives, strategy, options)
    if tau_plus > 0.0:
        lse = debiased(lse, positive, count_rows(z, strategy) - 2, tau_plus, scale)
    losses = F.softplus(lse - positive, threshold=50.0)
    return losses.mean() if strategy == "local" else mean_over_ranks(losses)


class _NTXent(torch.autograd.Function):
    """loss_i = softplus(n_i - s_i) with n the log-sum-exp over the negatives and s the positive's logit.

    Its derivatives are a_i = sigmoid(n_i - s_i) in n_i and -a_i in s_i, exact however small the loss is.
    """

    @staticmethod
    def forward(ctx, z0, z1, scale, budget):  # type: ignore[no-untyped-def]
        z = torch.cat([z0, z1])
        rows, norm, factors = unit_side(z, z.dtype)
        positives = torch.arange(len(z), device=z.device).roll(len(z0))
        needed = any(ctx.needs_input_grad)
        keep = kept_logits(budget if needed else 0, half_of_logits(len(z)), rows.dtype, rows)
        lse, positive_logits, kept = ops.similarity_softmax_forward(
            rows, positives, scale, 1.0, keep.numbers, factors, keep.packed
        )
        margin = lse - positive_logits
        ctx.save_for_backward(z0, z1, rows, norm, factors, positives, lse, margin, kept)
        ctx.scale = scale
        return F.softplus(margin, threshold=50.0).mean()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z0, z1, rows, norm, factors, positives, lse, margin, kept = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        with torch.no_grad():
            share = torch.sigmoid(margin) * (grad / len(margin))
            vectors = (positives, lse, share, -share, kept)
            grad_z = ops.similarity_softmax_backward(rows, *vectors, ctx.scale, 1.0, factors, None, None, *needs)
            dtype = torch.promote_types(z0.dtype, z1.dtype)
            if not all(needs):  # the rows of the other view have no gradient that could go through their norms
                grad_z, rows, norm, factors = (
                    None if t is None else t[: len(z0)] if needs[0] else t[len(z0) :]
                    for t in (grad_z, rows, norm, factors)
                )
            grads = iter(side_gradient(grad_z, rows, norm, factors, dtype).split(len(z0)))
        grad_z0, grad_z1 = (
            first_order_only("nt_xent_loss", next(grads).to(z.dtype), z0, z1, grad) if needed else None
            for z, needed in zip((z0, z1), needs, strict=True)
        )
        return grad_z0, grad_z1, None, None


class _FusedNTXent(torch.autograd.Function):
    """The same where launches are what a small batch waits for: 4 forward and 1 backward."""

    @staticmethod
    def forward(ctx, z0, z1, scale):  # type: ignore[no-untyped-def]
        loss, *saved = ops.nt_xent_forward(z0, z1, scale)
        ctx.save_for_backward(z0, z1, *saved)
        ctx.scale = scale
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z0, z1, *saved = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        with torch.no_grad():
            grads = ops.nt_xent_backward(z0, z1, *saved, grad, ctx.scale, *needs)
        grad_z0, grad_z1 = (
            first_order_only("nt_xent_loss", part, z0, z1, grad) if needed else None
            for part, needed in zip(grads, needs, strict=True)
        )
        return grad_z0, grad_z1, None
