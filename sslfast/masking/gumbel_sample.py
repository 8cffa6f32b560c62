"""Replacements that a generator proposes, and the discriminator's inputs and labels, as in ELECTRA."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.host.gumbel_sample import check_temperature
from sslfast.masking._arguments import in_range, numbered_rows, strided
from sslfast.random import Generator, seed_tensor


def sample_replacements(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    positions: Tensor | None = None,
    mode: str = "exact",
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """Samples one id from every row of logits: ``softmax(logits / temperature).multinomial(1)``, in one pass.

    The id with the largest ``logits / temperature + noise``, where the noise is ``-log(-log(u))`` with 32 random bits a
    logit: exactly the softmax, but that an id of less than 1e-9 of the row's probability is drawn yet more rarely.
    Neither noise nor probabilities are stored, and nearly no logit costs a logarithm: one is compared with the best
    score first by a bound that needs none.

    The noise depends on (seed, number of the row, id) alone and scores are compared in portable double precision, so
    the same logits give the same ids on every device. Not differentiable, as in ELECTRA: no gradient goes from the
    discriminator to the generator. One launch and no host synchronisation on a GPU.

    Args:
        logits: shape (R, V) with V >= 1, float32, bfloat16 or float16, any strides.
        temperature: divides the logits, positive. Default: 1.0.
        positions: int64 (R,), where the rows belong, such as the third result of :func:`mask_tokens`: rows below 0 are
            not read, which keeps the size fixed. Default: None, all rows are sampled.
        mode: ``"exact"`` or ``"compat"``; both are the peer's distribution, the same bits. Default: ``"exact"``.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (R,), the number of each row in the draws; ``sample * L + position`` makes a token's
            replacement depend on its sample alone. Default: None, ``row_offset`` and up.

    Returns:
        int64 (R,): an id in [0, V); -1 for a row below 0 in ``positions``, and for one without a distribution: with NaN
        or +inf in it, or nothing but -inf. An embedding refuses -1, so such a row cannot go unnoticed.

    Raises:
        TypeError: a tensor has another dtype than above, or a number the wrong type.
        ValueError: a shape, device or number is out of range, there is no such mode, or the generator is on another
            GPU.

    Reference: Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020,
    section 2.
    """
    name = "sample_replacements"
    strided(name, "logits", logits)
    if logits.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"{name}: logits must be float32, bfloat16 or float16, got {logits.dtype}")
    if logits.dim() != 2 or not 1 <= logits.shape[1] <= 2**32:
        raise ValueError(f"{name}: logits must have shape (R, V) with V >= 1, got {tuple(logits.shape)}")
    temperature = check_temperature(name, temperature)
    _check.mode_is_exact(name, mode)
    rows = logits.shape[0]
    if positions is not None:
        if not isinstance(positions, Tensor) or positions.dtype != torch.int64:
            got: object = positions.dtype if isinstance(positions, Tensor) else type(positions).__name__
            raise TypeError(f"{name}: positions must be an int64 tensor, got {got}")
        if positions.shape != (rows,):
            raise ValueError(f"{name}: positions must have shape ({rows},), one a row, got {tuple(positions.shape)}")
        if positions.device != logits.device:
            raise ValueError(f"{name}: positions must be on {logits.device}, like logits, got {positions.device}")
        positions = positions.contiguous()
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows, logits.device)
    seed = seed_tensor(generator, function=name, device=logits.device)
    return ops.gumbel_sample(logits.detach(), positions, seed, sample_ids, temperature, row_offset)


def electra_inputs(ids: Tensor, masked: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """What ELECTRA's discriminator reads and predicts: ids with sampled replacements, and where they were replaced.

    A sampled id that equals the original counts as original, as in the paper. ELECTRA's code draws positions with
    replacement, so that some rows have fewer masked tokens than others, and averages duplicates away; here a position
    is masked once or not at all, by whatever rule chose it.

    Args:
        ids: the original token ids, shape (N, L), int64 or int32.
        masked: where the generator's input was masked: int64 (R,), flat positions in [0, N * L) or -1 (the third result
            of :func:`mask_tokens`, or ``mask_indices(mask).indices``, or the first R of either); or bool (N, L).
        sampled: the generator's samples, int64 or int32, one for each of ``masked``: (R,), or (N, L) for a bool mask.
            Those where ``masked`` is -1 or False are not used.

    Returns:
        ``(corrupted, is_replaced)``: shape and dtype of ``ids``; bool (N, L), True where ``corrupted`` differs from
        ``ids``. ``is_replaced.long()`` are the labels of ``transformers.ElectraForPreTraining``.

    Raises:
        TypeError: a tensor has another dtype than above.
        ValueError: a shape or device does not fit, or, on the CPU and not under torch.compile, a position of ``masked``
            is out of range. On a GPU such a position is not used.

    Reference: Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020,
    section 2.
    """
    name = "electra_inputs"
    integers = (torch.int64, torch.int32)
    for what, given, dtypes, kind in (
        ("ids", ids, integers, "an int64 or int32"),
        ("masked", masked, (torch.int64, torch.bool), "an int64 or bool"),
        ("sampled", sampled, integers, "an int64 or int32"),
    ):
        if not isinstance(given, Tensor) or given.dtype not in dtypes:
            got: object = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise TypeError(f"{name}: {what} must be {kind} tensor, got {got}")
        if given.device != ids.device:
            raise ValueError(f"{name}: {what} must be on {ids.device}, like ids, got {given.device}")
    if ids.dim() != 2:
        raise ValueError(f"{name}: ids must have shape (N, L), got {tuple(ids.shape)}")
    if masked.dtype == torch.bool:
        if masked.shape != ids.shape:
            raise ValueError(f"{name}: masked must have shape {tuple(ids.shape)}, like ids, got {tuple(masked.shape)}")
    elif masked.dim() != 1:
        raise ValueError(f"{name}: masked must have shape (R,), got {tuple(masked.shape)}")
    if sampled.shape != masked.shape:
        expected = f"must have shape {tuple(masked.shape)}, like masked"
        raise ValueError(f"{name}: sampled {expected}, got {tuple(sampled.shape)}")
    sampled = sampled.to(ids.dtype)
    if masked.dtype == torch.bool:
        corrupted = torch.where(masked, sampled, ids)
    else:
        in_range(name, "masked", masked, -1, ids.numel() - 1)
        spare = ids.numel()  # a slot for what is not used: the size stays fixed
        slots = torch.cat([ids.reshape(-1), ids.new_zeros(1)])
        slots.scatter_(0, torch.where((masked < 0) | (masked > spare), spare, masked), sampled)
        corrupted = slots[:spare].view(ids.shape)
    return corrupted, corrupted != ids
