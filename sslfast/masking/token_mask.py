"""Token masking for masked language modelling."""

from __future__ import annotations

from torch import Tensor

from sslfast import _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.masking._tokens import like_ids, replacement, token_ids
from sslfast.random import Generator, seed_tensor


def mask_tokens(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: Tensor | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: Tensor | None = None,
    min_masked: int = 0,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Masks token ids as BERT does: of the masked tokens 80 % become ``[MASK]``, 10 % a random id, 10 % stay.

    Every non-special token is masked independently with ``mlm_probability``, like
    ``transformers.DataCollatorForLanguageModeling``, whose random words are also uniform over the whole vocabulary,
    special ids included, and whose rows can also have no masked token. These two defects are two arguments in either
    mode: the defaults have them, ``random_token_ids`` and ``min_masked=1`` end them, as in :class:`MLMCollator`'s
    exact mode. Where every token is special, as in rows of padding, nothing is masked. ``"exact"`` and ``"compat"``
    have one distribution, the same bits; ``"compat"`` lets ids outside of the vocabulary pass, as transformers does.

    The draws depend on (seed, number of the row, token position) alone, so a shard of a batch, another device or
    another thread count masks the same tokens. ``ids`` is not changed. No host synchronisation on a GPU.

    Args:
        ids: token ids, shape (N, L) or (L,), int64, int32 or int16, any strides, in [0, ``vocab_size``), padding and
            special tokens too; on a GPU, where they are not looked at, others are copied as they are.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        mlm_probability: probability that a token is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        random_token_ids: int64 (R,), the ids that random words are drawn from, in [0, ``vocab_size``): an id that is
            there twice is drawn twice as often. They are checked on the CPU alone, since a GPU would have to be waited
            for, and not under torch.compile; there they are used as they stand. Default: None, every id below
            ``vocab_size``, special ones too.
        min_masked: 0, or 1 for at least one masked token in every row that has an ordinary one: a row without any gets
            one of its ordinary tokens, each with equal probability. Default: 0, so that 4 % of the rows of 20 tokens
            have none, and a batch can have none (its mean loss is NaN).
        mode: ``"exact"``, or ``"compat"``, in which ids are not looked at, see above. Default: ``"exact"``.
        return_counts: whether the result has how many tokens of each row are masked. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``(ids, labels, masked)``. ``ids`` and ``labels`` have the shape and dtype of the input; ``labels`` holds the
        original id where masked and -100 elsewhere. ``masked`` is int64 of shape (N * L,): the flat positions of the
        masked tokens in ascending order, then -1. ``masked[masked >= 0]`` is the short form; the fixed size needs no
        synchronisation on a GPU. With ``return_counts``, ``(ids, labels, masked, counts)``: ``counts`` is int64 (N,),
        and with ``masked`` the compact form of :func:`mask_indices`.

    Raises:
        TypeError: ``ids``, ``special_tokens_mask``, ``random_token_ids`` or ``sample_ids`` is not a tensor of a dtype
            above, or a number or ``return_counts`` has the wrong type.
        ValueError: a shape, device or probability is out of range, on the CPU one of the ids, the two replacement
            shares exceed 1, there is no such mode, or the generator is on another GPU.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.
    """
    name = "mask_tokens"
    rows = token_ids(name, ids)
    special = special_tokens_mask
    if special is not None:
        special = like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer").bool()
    rule = replacement(name, ids, mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids)
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    min_masked = _check.integer(name, "min_masked", min_masked, 0, 1)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows.shape[0], ids.device)
    exact = _check.mode_is_exact(name, mode)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    masked_ids, labels, masked, counts = ops.token_mask(
        rows,
        special,
        seed_tensor(generator, function=name, device=ids.device),
        sample_ids,
        rule.mask_token_id,
        rule.vocab_size,
        mlm_probability,
        rule.mask_replace_prob,
        rule.random_replace_prob,
        row_offset,
        rule.random_token_ids,
        min_masked,
        exact,
    )
    result = (masked_ids.view(ids.shape), labels.view(ids.shape), masked)
    return (*result, counts) if return_counts else result
