"""The support set of NNCLR: a queue that answers with nearest neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import _check, ops
from sslfast._verdict import JointChecks
from sslfast.losses._inputs import check_device, widened, without_autocast
from sslfast.losses._ring import check_width
from sslfast.losses._strips import rows_at_once
from sslfast.losses.memory_bank import MemoryBank

_COLUMNS = 2**13  # entries of the bank in a block, on a GPU


class NNMemoryBank(MemoryBank):
    """A :class:`MemoryBank` whose call gives the nearest neighbours of a batch, NNCLR's positives.

    Called as lightly's ``NNMemoryBankModule`` is. Unlike that it keeps a batch whole when the ring is full, and is
    saved in ``state_dict``.

    Args:
        size: ``(num, dim)``.
        gather_distributed: let the embeddings of all ranks in, in order of rank. Default: False.

    Raises:
        TypeError: if ``size`` is not a pair of ints.
        ValueError: if one of them is below 1.

    Example:
        >>> bank, criterion = NNMemoryBank((65536, 256)), NTXentLoss(temperature=0.1)
        >>> (z0, p0), (z1, p1) = model(view0), model(view1)  # projections and predictions
        >>> n0 = bank(z0.detach(), update=False)
        >>> n1 = bank(z1.detach(), update=True)
        >>> loss = 0.5 * (criterion(n0, p1) + criterion(n1, p0))
        >>> loss.backward()

    Reference: Dwibedi et al., "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual
    Representations", ICCV 2021.
    """

    def forward(self, output: Tensor, update: bool = False) -> Tensor:
        """The entries of the bank that are nearest to the rows of a batch, by cosine similarity.

        ``bank[(F.normalize(output, dim=1) @ F.normalize(bank, dim=1).T).argmax(1)]``, searched for in blocks: N x K
        similarities are never stored. Of equally near entries the first is taken on the CPU.

        Args:
            output: (N, dim), floating point, any strides; need not be normalised.
            update: put ``output``, as it is, into the bank after the search, so that no row finds itself. Default:
                False.

        Returns:
            (N, dim), float32 as the bank, a copy without a gradient; NaN for a row that is not finite.

        Raises:
            TypeError: if ``output`` is not a floating-point tensor, or ``update`` not a bool.
            ValueError: if ``output`` is not (N, dim), or is on another device than the bank. Where one of several ranks
                raises that updates the bank of all, all do.
        """
        name = "NNMemoryBank"
        with JointChecks(name, self.gather_distributed and update is not False, output, takes_none=True):
            update = _check.boolean(name, "update", update)
            check_width(name, "output", output, self.size[1])
            check_device(name, "the bank", self.bank, "output", output)
        with torch.no_grad(), without_autocast(output):
            neighbours = _nearest(output, self.bank)
        if update:
            self.enqueue(output)
        return neighbours


def _nearest(output: Tensor, bank: Tensor) -> Tensor:
    search = ops.nearest_rows if bank.is_cpu else _searched
    index, similarity = search(output, bank)
    # NaN where a row or an entry is: the similarities of such a row are none, and all others are finite.
    return bank.index_select(0, index).add_((similarity * 0.0).unsqueeze(1))


def _searched(output: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """What the operator finds on the CPU: (N,), the nearest entries, and their similarities."""
    rows, columns = widened(output, bank)
    rows = F.normalize(rows, dim=1)
    count = len(rows)
    inverse_norm = torch.linalg.vector_norm(columns, dim=1).clamp_min(1e-12).reciprocal()
    step = rows_at_once(rows, min(len(columns), _COLUMNS))
    best = rows.new_full((count,), -torch.inf)
    index = torch.zeros(count, dtype=torch.int64, device=rows.device)
    for start in range(0, count, step):
        part = slice(start, start + step)
        for first in range(0, len(columns), _COLUMNS):
            block = slice(first, first + _COLUMNS)
            value, place = (rows[part] @ columns[block].T).mul_(inverse_norm[block]).max(dim=1)
            closer = ~(value <= best[part])  # in a tie the earlier one stays; NaN is taken
            best[part] = torch.where(closer, value, best[part])
            index[part] = torch.where(closer, place + first, index[part])
    return index, best
