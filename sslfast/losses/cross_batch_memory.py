"""Cross-batch memory: a loss with labels against the embeddings of earlier batches too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._arguments import of_dtype
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import gather_rows
from sslfast.losses._indices import as_pairs, as_triplets, listed_rows
from sslfast.losses._inputs import check_device, check_labels
from sslfast.losses._ring import check_width, write_ring


class CrossBatchMemory(nn.Module):
    """Compares a batch with the newest ``memory_size`` embeddings, its own among them.

    Called as pytorch-metric-learning's ``CrossBatchMemory`` is, with its arguments and its numbers: the batch goes
    into the memory first, then ``loss`` compares it with all that is there, ``criterion(embeddings, labels, ref_emb=,
    ref_labels=, copies=)``. No embedding is compared with its own copy. The memory has no gradient: within the batch,
    too, only the anchor's side gets one.

    Exactly the newest ones stay: a batch may be larger than the memory, whose last rows are then left, and the others
    are compared with those. Until ``memory_size`` embeddings have come, the memory is what has come: compiled, each of
    these steps is a graph of its own. Embeddings are stored as they are, in the dtype of ``embedding_memory``, float32.
    The memory and its state are part of ``state_dict``, so that a resumed run goes on with it.
    (pytorch-metric-learning loses the place and the fill, which are no buffers, and takes batches up to the memory's
    size.) What the loss sees is a copy: other batches may go in before ``backward()``.

    Args:
        loss: what compares: :class:`~sslfast.losses.SupConLoss`, :class:`~sslfast.losses.MultiPositiveNTXentLoss`,
            :class:`~sslfast.losses.TripletLoss`, :class:`~sslfast.losses.ContrastiveLoss`, or another that takes those
            arguments.
        embedding_size: width D of the embeddings.
        memory_size: how many are kept. Default: 1024.
        miner: picks the pairs or triplets that the loss takes: ``miner(embeddings, labels, ref_emb, ref_labels)``, the
            last two of the memory, returns what ``indices_tuple`` of the loss takes; such as a miner of
            pytorch-metric-learning. It gets no gradient, and positives that are an embedding's own copy are taken off
            what it returns. Default: None, the loss takes all, or mines by itself.
        gather_distributed: compare the embeddings of all ranks, which all go into the memory; the loss is the same on
            every rank, with gradients that are right under DistributedDataParallel's averaging, and shards may differ
            in size. Every rank gathers all embeddings, keeps the whole memory and computes the whole loss: the ranks
            share no work. The loss itself gathers nothing, and a miner has to pick the same on every rank. Default:
            False.

    Attributes:
        embedding_memory: (memory_size, D) float32, the embeddings; rows beyond ``stored`` are 0 and unused.
        label_memory: (memory_size,) int64, their labels.
        memory_ptr: (1,) int64, where the next embedding goes.
        stored: how many embeddings there are, at most ``memory_size``.

    Raises:
        TypeError: if ``loss`` or ``miner`` is not callable, ``loss`` takes no references, a size is not an int, or
            ``gather_distributed`` not a bool.
        ValueError: if a size is below 1.

    Example:
        >>> criterion = CrossBatchMemory(SupConLoss(temperature=0.1), embedding_size=128, memory_size=8192)
        >>> loss = criterion(model(images), labels)
        >>> loss.backward()

    Reference: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020.
    """

    embedding_memory: Tensor
    label_memory: Tensor
    memory_ptr: Tensor

    def __init__(
        self,
        loss: Callable[..., Tensor],
        embedding_size: int,
        memory_size: int = 1024,
        miner: Callable[..., Sequence[Tensor]] | None = None,
        *,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        name = "CrossBatchMemory"
        if not callable(loss):
            raise TypeError(f"{name}: loss must be callable, got {type(loss).__name__}")
        if not _takes_references(loss):
            raise TypeError(f"{name}: loss must take ref_emb and ref_labels, {type(loss).__name__} does not")
        if miner is not None and not callable(miner):
            raise TypeError(f"{name}: miner must be callable or None, got {type(miner).__name__}")
        self.loss = loss
        self.miner = miner
        self.embedding_size = _check.integer(name, "embedding_size", embedding_size, 1)
        self.memory_size = _check.integer(name, "memory_size", memory_size, 1)
        self.gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        shape = self.memory_size, self.embedding_size
        self.register_buffer("embedding_memory", torch.zeros(shape, dtype=torch.float32))
        self.register_buffer("label_memory", torch.zeros(self.memory_size, dtype=torch.int64))
        self.register_buffer("memory_ptr", torch.zeros(1, dtype=torch.int64))
        self.stored = 0  # no buffer: on a GPU it would have to be waited for

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Sequence[Tensor] | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch against the memory, which takes the batch in.

        Args:
            embeddings: (N, D), floating point, any strides, on the memory's device.
            labels: (N,) integers.
            indices_tuple: with a miner, more pairs or triplets beside its own, as they are: rows of the batch, and of
                the memory; without ``gather_distributed`` and ``enqueue_mask``. Default: None.
            enqueue_mask: (N,) bool: where True, an embedding goes into the memory and is no anchor; where False, it is
                an anchor and does not go in. Default: None, every embedding is both.

        Returns:
            Scalar, what ``loss`` returns; 0 where there is no anchor, or nothing in the memory.

        Raises:
            TypeError: if ``embeddings`` is not a floating-point tensor, ``labels`` not an integer tensor,
                ``enqueue_mask`` not a bool tensor, or ``indices_tuple`` or what the miner returns not int64 vectors,
                four in pairs of one length or three of one length.
            ValueError: if ``embeddings`` is not (N, D), ``labels`` or ``enqueue_mask`` not (N,), one of them is on
                another device, or ``indices_tuple`` is given where it does not go. Where one of several ranks raises,
                all do, also where ``enqueue_mask`` is given on some only, or memories differ in size or class of loss.
        """
        name = "CrossBatchMemory"
        with JointChecks(name, self.gather_distributed, embeddings, takes_none=True):
            if indices_tuple is not None and (
                self.miner is None or self.gather_distributed or enqueue_mask is not None
            ):
                expected = "a miner, without gather_distributed and enqueue_mask"
                raise ValueError(f"{name}: indices_tuple goes with {expected}")
            check_width(name, "embeddings", embeddings, self.embedding_size)
            check_labels(name, "labels", labels, "embeddings", embeddings)
            check_device(name, "the memory", self.embedding_memory, "embeddings", embeddings)
            if enqueue_mask is not None:
                _check_mask(name, enqueue_mask, embeddings)
        if self.gather_distributed:
            same = {
                "loss": type(self.loss).__name__,
                "miner": "None" if self.miner is None else type(self.miner).__name__,
                **spelled(memory_size=self.memory_size, stored=self.stored, enqueue_mask=enqueue_mask),
            }
            embeddings = gather_rows(embeddings, name, same)
            labels = gather_rows(labels.long(), name)
            enqueue_mask = None if enqueue_mask is None else gather_rows(enqueue_mask, name)
        anchors, anchor_labels, copies = embeddings, labels, None
        if enqueue_mask is None:
            copies = self.enqueue(embeddings, labels)
        else:
            self.enqueue(embeddings[enqueue_mask], labels[enqueue_mask])
            anchors, anchor_labels = embeddings[~enqueue_mask], labels[~enqueue_mask]
        if len(anchors) == 0 or self.stored == 0:
            return 0.0 * embeddings.sum()
        references, reference_labels = (memory[: self.stored].clone() for memory in self._rings())
        found = {"ref_emb": references, "ref_labels": reference_labels}
        if self.miner is None:
            return self.loss(anchors, anchor_labels, **found, copies=copies)
        with torch.no_grad():
            mined = self.miner(anchors.detach(), anchor_labels, references, reference_labels)
        picked = _without_copies(listed_rows(name, mined, anchors), copies)
        if indices_tuple is not None:
            picked = _joined(picked, listed_rows(name, indices_tuple, anchors))
        return self.loss(anchors, anchor_labels, indices_tuple=tuple(picked), **found)

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Puts embeddings in the place of the oldest ones, without a loss. Never waits for a GPU.

        Args:
            embeddings: (N, D).
            labels: (N,) integers.

        Returns:
            (N,) int64, where each lies in the memory, or -1 where later ones have taken its place.

        Raises:
            TypeError: if ``embeddings`` is not a floating-point tensor, or ``labels`` not an integer tensor.
            ValueError: if ``embeddings`` is not (N, D), ``labels`` not (N,), or one is on another device.
        """
        name = "CrossBatchMemory"
        check_width(name, "embeddings", embeddings, self.embedding_size)
        check_labels(name, "labels", labels, "embeddings", embeddings)
        check_device(name, "the memory", self.embedding_memory, "embeddings", embeddings)
        place = write_ring(self.memory_ptr, *zip(self._rings(), (embeddings, labels), strict=True))
        self.stored = min(self.stored + len(embeddings), self.memory_size)
        return place

    def reset_queue(self) -> None:
        """Empties the memory."""
        self.stored = 0
        for buffer in (*self._rings(), self.memory_ptr):
            buffer.zero_()

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.stored)  # as all else in a state_dict, for those who clone, average or save tensors

    def set_extra_state(self, state: Tensor) -> None:
        self.stored = int(state)

    def _rings(self) -> tuple[Tensor, Tensor]:
        return self.embedding_memory, self.label_memory

    def extra_repr(self) -> str:
        sizes = f"embedding_size={self.embedding_size}, memory_size={self.memory_size}"
        miner = "" if self.miner is None or isinstance(self.miner, nn.Module) else f", miner={self.miner}"
        return f"{sizes}{miner}, gather_distributed={self.gather_distributed}"


def _without_copies(rows: list[Tensor], copies: Tensor | None) -> list[Tensor]:
    """Pairs or triplets without those whose positive is the anchor's own copy; no negative is, which has its label."""
    if copies is None:
        return rows
    others = copies.index_select(0, rows[0]) != rows[1]
    return [t[others] if at in (0, 1) or len(rows) == 3 else t for at, t in enumerate(rows)]


def _joined(rows: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """Both, in the form of the first."""
    if len(rows) == 4 and len(more) == 3:
        more = as_pairs(more)
    elif len(rows) == 3 and len(more) == 4:
        more = as_triplets(more)
    return [torch.cat(both) for both in zip(rows, more, strict=True)]


def _takes_references(loss: Callable[..., Tensor]) -> bool:
    parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    return "ref_emb" in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


def _check_mask(function: str, mask: Tensor, embeddings: Tensor) -> None:
    of_dtype(function, "enqueue_mask", mask, torch.bool)
    if mask.shape != embeddings.shape[:1]:
        raise ValueError(f"{function}: enqueue_mask must have shape ({len(embeddings)},), got {tuple(mask.shape)}")
    check_device(function, "embeddings", embeddings, "enqueue_mask", mask)
