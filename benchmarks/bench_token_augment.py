"""Rules over token ids beside eager torch and the loops over words that EDA's and CL4SRec's code have.

Floor: an int64 token read, and written with a byte of mask. The eager versions sort or gather whole batches: the best
that torch's operators can do without a loop. What the loops do is written anew here.

Prediction: 17 bytes a token would be 0.3 ms at 8 GB/s for 256 x 512; Philox and one branch per token make it 1 to 1.5,
where eager torch sorts in 5 to 10 and a loop over words takes 30 to 100.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Call, Case

PAD, VOCABULARY, MASK = 0, 30_000, 30_001


def make_inputs(device: torch.device, *, rows: int, length: int) -> Tensor:
    ids = torch.randint(1, VOCABULARY, (rows, length))
    ids[torch.arange(length) >= torch.randint(length // 2, length + 1, (rows, 1))] = PAD
    return ids.to(device)


def rule(name: str) -> Any:
    from sslfast import host

    rules = {
        "drop": host.DropTokens(0.1),
        "swap": host.SwapTokens(0.1),
        "repeat": host.RepeatTokens(0.32),
        "shuffle": host.ShuffleTokens(None),
        "CL4SRec": [host.CropTokens(0.6), host.MaskTokens(0.3), host.ReorderTokens(0.6)],
    }
    return rules[name]


def options_of(name: str) -> dict[str, Any]:
    return {"choose": "one", "views": 2, "mask_id": MASK} if name == "CL4SRec" else {}


def ours(name: str, ids: Tensor) -> Call:
    from sslfast.augment import augment_tokens

    rules, options = rule(name), options_of(name)
    return lambda: augment_tokens(ids, rules, pad_id=PAD, **options).ids


def ours_on_arrays(name: str, ids: Tensor) -> Call:
    from sslfast.host import augment_tokens

    array, seeds, rules = ids.numpy(), itertools.count(), rule(name)
    options = {"pad_id": PAD, "threads": torch.get_num_threads()} | options_of(name)
    return lambda: torch.from_numpy(augment_tokens(array, rules, seed=next(seeds), **options).ids)


# ---- eager torch


def eager_drop(ids: Tensor) -> Tensor:
    """What stays is moved to the front by a stable sort of what is dropped."""
    gone = (torch.rand(ids.shape, device=ids.device) < 0.1) | (ids == PAD)
    order = gone.to(torch.uint8).argsort(dim=1, stable=True)
    return torch.where(gone, PAD, ids).gather(1, order)


def eager_shuffle(ids: Tensor) -> Tensor:
    keys = torch.rand(ids.shape, device=ids.device).masked_fill(ids == PAD, 2.0)
    return ids.gather(1, keys.argsort(dim=1))


def eager_repeat(ids: Tensor) -> Tensor:
    """Random keys choose k tokens, and a running sum says where each goes."""
    rows, length = ids.shape
    present = ids != PAD
    n = present.sum(1, keepdim=True)
    most = (n * 0.32).long().clamp(min=2)
    many = (torch.rand(rows, 1, device=ids.device) * (most + 1)).long()
    keys = torch.rand(ids.shape, device=ids.device).masked_fill(~present, 2.0)
    twice = (keys.argsort(1).argsort(1) < many) & present
    ends = (present.long() + twice.long()).cumsum(1)
    out = ids.new_zeros(rows, length + max(2, int(length * 0.32)) + 1)
    last = out.shape[1] - 1
    out.scatter_(1, torch.where(present, ends - 1, last), ids)
    out.scatter_(1, torch.where(twice, ends - 2, last), ids)
    return out[:, :-1]


# ---- loops over words


def padded(rows: list[list[int]], width: int) -> Tensor:
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def words_of(ids: Tensor) -> list[list[int]]:
    return [row[:n] for row, n in zip(ids.tolist(), (ids != PAD).sum(1).tolist(), strict=True)]


def loop_drop(ids: Tensor) -> Tensor:
    """EDA's random_deletion."""
    out = []
    for words in words_of(ids):
        kept = [word for word in words if random.uniform(0, 1) > 0.1]
        out.append(kept or [random.choice(words)])
    return padded(out, ids.shape[1])


def loop_swap(ids: Tensor) -> Tensor:
    """EDA's random_swap."""
    out = []
    for words in words_of(ids):
        for _ in range(max(1, int(0.1 * len(words)))):
            first = second = random.randint(0, len(words) - 1)
            for _ in range(3):
                second = random.randint(0, len(words) - 1)
                if second != first:
                    break
            words[first], words[second] = words[second], words[first]
        out.append(words)
    return padded(out, ids.shape[1])


def loop_repeat(ids: Tensor) -> Tensor:
    """ESimCSE's word repetition."""
    out = []
    for words in words_of(ids):
        twice = set(random.sample(range(len(words)), random.randint(0, max(2, int(0.32 * len(words))))))
        out.append([word for i, word in enumerate(words) for _ in range(1 + (i in twice))])
    return padded(out, ids.shape[1] + max(2, int(0.32 * ids.shape[1])))


def loop_cl4srec(ids: Tensor) -> Tensor:
    """CL4SRec's three operators, one at random for each row and view."""

    def crop(words: list[int]) -> list[int]:
        size = max(1, int(0.6 * len(words)))
        first = random.randint(0, len(words) - size)
        return words[first : first + size]

    def mask(words: list[int]) -> list[int]:
        for i in random.sample(range(len(words)), int(0.3 * len(words))):
            words[i] = MASK
        return words

    def reorder(words: list[int]) -> list[int]:
        size = int(0.6 * len(words))
        first = random.randint(0, len(words) - size)
        some = words[first : first + size]
        random.shuffle(some)
        words[first : first + size] = some
        return words

    width = ids.shape[1]
    views: list[Callable[[list[int]], list[int]]] = [crop, mask, reorder]
    return torch.stack([padded([random.choice(views)(row) for row in words_of(ids)], width) for _ in range(2)])


def check(ids: Tensor, theirs: Tensor, ours: Tensor, *, name: str) -> None:
    """Rows hold the words that they may hold, and as many on average."""
    present = ids.cpu() != PAD
    shares = []
    for out in (theirs, ours):
        found = torch.as_tensor(np.asarray(out.cpu()))
        if name in ("swap", "shuffle"):
            assert torch.equal(found.sort(1).values, ids.cpu().sort(1).values), "other words"
        assert not (found[..., 1:].ne(PAD) & found[..., :-1].eq(PAD)).any(), "padding between words"
        shares.append(float((found != PAD).sum() / present.sum()))
    assert abs(shares[0] - shares[1]) < 0.03 * max(shares), f"{shares[0]:.3f} of the words, ours {shares[1]:.3f}"


def case(name: str, rows: int, length: int, providers: dict[str, Any], *, face: str = "", **options: Any) -> Case:
    views = 2 if name == "CL4SRec" else 1
    return Case(
        op=f"token_augment {name}{face}",
        size=f"{rows}x{length}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers={"sslfast": partial(ours_on_arrays if face else ours, name)}
        | {of: partial(partial, function) for of, function in providers.items()},
        check=partial(check, name=name),
        work=(8 + 9 * views) * rows * length,
        unit="B",
        formula="(8 read + 9 written a view) B a token",
        **options,
    )


ON_CPU: dict[str, Any] = {"quick": True, "devices": ("cpu",)}


def cases() -> list[Case]:
    return [
        case("drop", 256, 512, {"eager torch": eager_drop, "published algorithm (EDA)": loop_drop}),
        case("drop", 32, 64, {"eager torch": eager_drop, "published algorithm (EDA)": loop_drop}, quick=True),
        case("swap", 256, 512, {"published algorithm (EDA)": loop_swap}),
        case("repeat", 256, 512, {"eager torch": eager_repeat, "published algorithm (ESimCSE)": loop_repeat}),
        case("shuffle", 256, 512, {"eager torch": eager_shuffle}),
        case("CL4SRec", 2048, 50, {"published algorithm (CL4SRec)": loop_cl4srec}),
        case("CL4SRec", 256, 50, {"published algorithm (CL4SRec)": loop_cl4srec}, face=" NumPy", **ON_CPU),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
