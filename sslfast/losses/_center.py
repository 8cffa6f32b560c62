"""The running mean of the teachers' logits, which is subtracted from them so that no prototype takes all samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sslfast.distributed import world_size


class CenterUpdate:
    """The update of a center from a batch: over several ranks their sums travel while the step goes on.

    :meth:`start` goes after the loss, :meth:`finish` before the center is used or saved.
    """

    def __init__(self) -> None:
        self._pending: tuple[Tensor, Any] | None = None

    @torch.no_grad()
    def start(self, center: Tensor, momentum: float, total: Tensor, count: int | Tensor) -> None:
        """Begins to take in ``total``, the sum of ``count`` rows of this rank, and ends it where there is one rank."""
        if world_size() == 1:
            _take_in(center, momentum, total, count)
            return
        self.finish(center, momentum)
        # The dtype is that of the center's, so that it is the same on every rank, whatever its rows are.
        total = total.to(torch.float64 if center.dtype == torch.float64 else torch.float32)
        numbers = count if isinstance(count, Tensor) else total.new_full((), count)
        sums = torch.cat([total, numbers.to(total.dtype).reshape(1)])
        self._pending = sums, dist.all_reduce(sums, async_op=True)

    @torch.no_grad()
    def finish(self, center: Tensor, momentum: float) -> None:
        """Takes in what was begun."""
        if self._pending is None:
            return
        (sums, work), self._pending = self._pending, None
        work.wait()
        _take_in(center, momentum, sums[:-1], sums[-1])

    def drop(self) -> None:
        """Waits for what was begun and forgets it."""
        if self._pending is not None:
            (_, work), self._pending = self._pending, None
            work.wait()


def _take_in(center: Tensor, momentum: float, total: Tensor, count: int | Tensor) -> None:
    """No rows leave the center as it is."""
    total = total.reshape(center.shape)
    if isinstance(count, Tensor):
        share = torch.where(count > 0, 1 - momentum, 0.0).to(center.dtype)
        center.copy_(torch.lerp(center, (total / count.clamp_min(1)).to(center.dtype), share))
    elif count:
        center.mul_(momentum).add_(total, alpha=(1 - momentum) / count)


class Centered(nn.Module, ABC):
    """A loss with a center, which is up to date wherever it is used, saved or copied."""

    center_momentum: float

    def __init__(self) -> None:
        super().__init__()
        self._update = CenterUpdate()
        self.register_state_dict_pre_hook(_finish)
        self.register_load_state_dict_pre_hook(_drop)

    @abstractmethod
    def center_buffer(self) -> Tensor:
        """The center itself, which is updated in place."""

    def finish_center_update(self) -> None:
        """Waits for the sums of the other ranks, if some are on their way. The loss does so by itself when it runs."""
        self._update.finish(self.center_buffer(), self.center_momentum)

    def __getstate__(self) -> dict[str, Any]:
        self.finish_center_update()
        return dict(self.__dict__)


def _finish(module: Centered, prefix: str, keep_vars: bool) -> None:
    module.finish_center_update()


def _drop(module: Centered, *_: object) -> None:
    """A batch from before a checkpoint has no part in the center that is loaded."""
    module._update.drop()
