"""A queue of the newest embeddings, for losses that contrast with more than the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import gather_rows
from sslfast.losses._inputs import check_device
from sslfast.losses._ring import check_width, write_ring


class MemoryBank(nn.Module):
    """MoCo's queue: the newest ``num`` embeddings of width ``dim``, in a ring.

    Exactly the newest ones: a batch that reaches past the end of the ring goes on at its beginning, and of a batch
    larger than the ring the last ``num`` rows stay. So the queue may be smaller than the batch, and is then its end; it
    need be no multiple of it. A batch may go in before the ``backward()`` of :func:`info_nce_loss` as well as after:
    that reads the queue in forward only. At first the queue holds random unit vectors, drawn as
    ``F.normalize(torch.randn(num, dim), dim=1)``. It is part of ``state_dict``, so that a resumed run goes on with it.

    Beside bfloat16 queries a float32 queue keeps its precision and is multiplied in float32; ``.to(torch.bfloat16)``
    gives a queue of half the size that is multiplied as fast as the queries' dtype is.

    Args:
        size: ``(num, dim)``.
        gather_distributed: let the embeddings of all ranks in, in order of rank. Default: False.

    Attributes:
        bank: (num, dim) float32, or what ``.to()`` makes it, without a gradient.
        bank_ptr: (1,) int64, where the next embedding goes.

    Raises:
        TypeError: if ``size`` is not a pair of ints, or ``gather_distributed`` is not a bool.
        ValueError: if one of them is below 1.

    Example:
        >>> bank = MemoryBank((65536, 128))
        >>> loss = info_nce_loss(query, key, queue=bank.bank, temperature=0.07)
        >>> bank.enqueue(F.normalize(key, dim=1))  # before or after loss.backward()

    Reference: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020.
    """

    bank: Tensor
    bank_ptr: Tensor

    def __init__(self, size: Sequence[int], gather_distributed: bool = False) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(size, (str, Tensor)) or not isinstance(size, Sequence) or len(size) != 2:
            raise TypeError(f"{name}: size must be a pair (num, dim), got {_check.shown(size)}")
        self.size = tuple(_check.integer(name, each, n, 1) for each, n in zip(("num", "dim"), size, strict=True))
        self.gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        self.register_buffer("bank", F.normalize(torch.randn(self.size, dtype=torch.float32), dim=-1))
        self.register_buffer("bank_ptr", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor) -> None:
        """Puts a batch in the place of the oldest embeddings. Never waits for a GPU.

        Args:
            embeddings: (N, dim), any floating dtype; stored as they are, so normalise them before.

        Raises:
            TypeError: if it is not a floating-point tensor.
            ValueError: if the shape is another, or the device is not that of the bank.
        """
        name = type(self).__name__
        with JointChecks(name, self.gather_distributed, embeddings, takes_none=True):
            check_width(name, "embeddings", embeddings, self.size[1])
            check_device(name, "the bank", self.bank, "embeddings", embeddings)
        if self.gather_distributed:
            embeddings = gather_rows(embeddings, name, spelled(size=self.size))
        write_ring(self.bank_ptr, (self.bank, embeddings))

    def extra_repr(self) -> str:
        return f"size={self.size}, gather_distributed={self.gather_distributed}"
