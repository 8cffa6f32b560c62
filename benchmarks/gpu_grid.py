"""The sizes at which the losses that compare all pairs are measured on a GPU, and who takes part where.

All of them together have to take minutes: torch.compile, which compiles at every size, takes part at every width with
the fewest pairs and at one width with more, 6 sizes a loss; at the largest size every provider is timed once, the
others' kernels at narrow rows only; and who stores a matrix of all similarities is not started where that cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from benchmarks.harness import OURS, Call, Case

PAIRS = (8192, 32768, 65536, 2**20)  # as losses count them: those of NT-Xent are twice as many rows
WIDTHS = (128, 512, 768, 1024)
NARROW = 128  # width of most providers at the largest size, where one call takes seconds
WIDE = 512  # width of the fastest of them there, and of torch.compile and of memory where pairs are many
LARGEST_MATRIX = 100e9  # bytes; more than the memory of most GPUs, and one matrix is the least that is stored

Make = Callable[[Any], Call]


def matrix_bytes(rows: int) -> int:
    """All similarities of so many rows, in bf16."""
    return 2 * rows**2


def not_tried(rows: int) -> Make:
    """A provider that fails at once, with the reason."""

    def fail(_: Any) -> Call:
        size, most = matrix_bytes(rows) / 1e9, LARGEST_MATRIX / 1e9
        raise MemoryError(f"not tried: {rows} x {rows} similarities in bf16 are {size:,.0f} GB, over {most:.0f} GB")

    return fail


def takes_part(
    provider: str, pairs: int, width: int, storing: Collection[str], largest: Collection[str], slow: Collection[str]
) -> bool:
    """Whether a provider has a row at a size; those that store the similarities always have, torch.compile apart."""
    if provider == "torch.compile" and width != WIDE and pairs > min(PAIRS):
        return False
    if pairs < max(PAIRS) or provider == OURS or provider in storing:
        return True
    return width in (NARROW, WIDE) if provider in largest else width == NARROW and provider not in slow


def grid(
    case: Callable[..., Case],
    providers: Mapping[str, Make],
    *,
    storing: Collection[str],
    largest: Collection[str] = (),
    slow: Collection[str] = (),
    rows_per_pair: int = 1,
) -> Iterator[Case]:
    """The bf16 cases of a loss, for GPUs.

    Args:
        case: makes one from how many pairs there are, a width, a dtype and ``Case``'s options.
        providers: all of them, in the order of the table.
        storing: those that store a matrix of all similarities.
        largest: those that are measured at the largest size at both widths that others are measured at.
        slow: those that are not measured there at all.
        rows_per_pair: 2 where both views of a pair are rows, each against all others.
    """
    for pairs in PAIRS:
        rows = pairs * rows_per_pair
        for width in WIDTHS:
            chosen = {
                name: not_tried(rows) if name in storing and matrix_bytes(rows) > LARGEST_MATRIX else make
                for name, make in providers.items()
                if takes_part(name, pairs, width, storing, largest, slow)
            }
            yield case(
                pairs,
                width,
                "bf16",
                providers=chosen,
                devices=("cuda",),
                memory=width == WIDE and pairs >= 65536,
                once=pairs == max(PAIRS),
            )
