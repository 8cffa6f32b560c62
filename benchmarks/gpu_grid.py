"""The sizes at which the losses that compare all pairs are measured on a GPU, who takes part where, and what comes
first.

All of them together have to take minutes: torch.compile, which compiles at every size, takes part at every width with
the fewest pairs and at one width with more; the most pairs are measured once, at two widths, the others' kernels at the
narrow one only; and who stores a matrix of all similarities is not started where that cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from benchmarks.harness import OURS, Call, Case

PAIRS = (8192, 32768, 65536)  # as losses count them: those of NT-Xent are twice as many rows
MOST = 2**20  # pairs, one call of which takes seconds
NARROW = 128  # width of most providers with the most pairs
WIDE = 512  # the other width there, of the fastest; and that of torch.compile and of memory where pairs are many
FEW_SIZES = tuple(product(PAIRS, (NARROW, WIDE)))
SIZES = (*product(PAIRS, (NARROW, WIDE, 768, 1024)), (MOST, NARROW), (MOST, WIDE))
LARGEST_MATRIX = 100e9  # bytes; more than the memory of most GPUs, and one matrix is the least that is stored

# The benchmarks that go first where a GPU is there for minutes only: losses over all pairs, then recipes of views.
FIRST = (
    "cross_softmax",
    "similarity_softmax",
    "queue_softmax",
    "sigmoid_pairs",
    "one_way_softmax",
    "info_nce_options",
    "siglip_options",
    "supcon_references",
    "view_recipes",
)

Make = Callable[[Any], Call]


def first_stems(stems: Iterable[str]) -> list[str]:
    """Those of ``FIRST``, then the others by name."""
    return sorted(stems, key=lambda stem: (FIRST.index(stem) if stem in FIRST else len(FIRST), stem))


def in_order(cases: Iterable[tuple[str, Case]], judged: Collection[tuple[str, ...]]) -> list[tuple[str, Case]]:
    """Cases with their stems, so that a run that is ended has the best of them: those of which there is a threshold or
    a limit before the others, and those that are timed once, because a call takes seconds, last of all."""
    return sorted(cases, key=lambda each: (each[1].once, each[1].key not in judged))


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
    if pairs < MOST or provider == OURS or provider in storing or provider in largest:
        return True
    return width == NARROW and provider not in slow


def grid(
    case: Callable[..., Case],
    providers: Mapping[str, Make],
    *,
    storing: Collection[str],
    largest: Collection[str] = (),
    slow: Collection[str] = (),
    rows_per_pair: int = 1,
    sizes: Iterable[tuple[int, int]] = SIZES,
) -> Iterator[Case]:
    """The bf16 cases of a loss, for GPUs. Memory is measured at one width, from 65,536 rows on.

    Args:
        case: makes one from how many pairs there are, a width, a dtype and ``Case``'s options.
        providers: all of them, in the order of the table.
        storing: those that store a matrix of all similarities.
        largest: those that are measured with the most pairs at both widths.
        slow: those that are not measured there at all.
        rows_per_pair: 2 where both views of a pair are rows, each against all others.
        sizes: (pairs, width) of each case.
    """
    for pairs, width in sizes:
        rows = pairs * rows_per_pair
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
            memory=width == WIDE and rows >= 65536,
            once=pairs == MOST,
        )
