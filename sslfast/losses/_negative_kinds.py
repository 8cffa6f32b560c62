"""Which negatives InfoNCE is asked for, and which of them are hard."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

HARD_KINDS = {
    "in_batch_negatives": ("in_batch",),
    "hard_negatives": ("negative_keys",),
    "all_negatives": ("in_batch", "negative_keys", "queue"),
}


class Kinds(NamedTuple):
    """Which negatives there are, as :func:`info_nce_loss` takes them."""

    in_batch: bool
    query_negatives: bool
    key_negatives: bool
    negative_keys: Tensor | None
    queue: Tensor | None
    key_to_query_negatives: bool = False

    @property
    def among_batch(self) -> bool:
        return self.in_batch or self.query_negatives or self.key_negatives or self.key_to_query_negatives

    @property
    def beside_keys(self) -> bool:
        """Whether there are others than the batch's keys."""
        return self._replace(in_batch=False).among_batch or self.negative_keys is not None or self.queue is not None

    def any_of(self, kinds: tuple[str, ...]) -> bool:
        """Whether there are negatives of one of these kinds."""
        given = [getattr(self, kind) for kind in kinds]
        return any(each is not None and each is not False for each in given)


class Hardness(NamedTuple):
    """What times the similarity is added, as a constant, to the logits of which kinds of negatives."""

    mode: str | None
    strength: float

    @property
    def kinds(self) -> tuple[str, ...]:
        """The arguments whose negatives are hard."""
        return () if self.mode is None else HARD_KINDS[self.mode]

    def of(self, kind: str) -> float:
        return self.strength if kind in self.kinds else 0.0
