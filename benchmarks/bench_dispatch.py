"""What a call costs before any work is done: each public function at a size that needs none.

The budget for the five hops (module, function, autograd.Function, dispatcher, C++) is about 10 us above the
operator itself. As a ratio, which holds on any machine: the operator alone and then ten additions of 16 numbers in
torch, each about 1 us of dispatch, must take longer than the public function.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.harness import Call, Case

PROBABILITIES = (0.15, 0.8, 0.1)


def mask_tokens(device: torch.device) -> tuple[Call, Call]:
    from sslfast import masking, ops

    ids, seed = torch.zeros(1, 8, dtype=torch.int64, device=device), torch.zeros((), dtype=torch.int64)
    return (
        lambda: masking.mask_tokens(ids, mask_token_id=1, vocab_size=9, generator=seed),
        lambda: ops.token_mask(ids, None, seed, None, 1, 9, *PROBABILITIES, 0),
    )


def random_patch_mask(device: torch.device) -> tuple[Call, Call]:
    from sslfast import masking, ops

    like, seed = torch.empty((), device=device), torch.zeros((), dtype=torch.int64)
    return (
        lambda: masking.random_patch_mask(1, 8, generator=seed, device=device),
        lambda: ops.patch_mask(like, seed, None, 1, 8, 2, 0),
    )


def mask_patches(device: torch.device) -> tuple[Call, Call]:
    from sslfast import masking, ops

    x, seed = torch.zeros(1, 8, 2, device=device), torch.zeros((), dtype=torch.int64)

    def operators() -> Any:
        ids_keep, ids_restore, mask = ops.patch_mask(x, seed, None, 1, 8, 2, 0)
        return ops.patch_gather(x, ids_keep), mask, ids_restore

    return lambda: masking.mask_patches(x, generator=seed), operators


def nt_xent_loss(device: torch.device) -> tuple[Call, Call]:
    from sslfast import losses, ops

    z = torch.ones(2, 8, device=device)
    return lambda: losses.nt_xent_loss(z, z), lambda: ops.few_views(z, z, None, 2.0, None, *[False] * 4)


def simclr_augment(device: torch.device) -> tuple[Call, Call]:
    from sslfast import augment, ops

    images, seed = torch.zeros(1, 3, 4, 4, dtype=torch.uint8, device=device), torch.zeros((), dtype=torch.int64)
    module = augment.SimCLRAugment(4, views=1)
    (segment,) = module.transforms[0]._plan.segments
    rules, like, normal = segment.rules((4, 4)), torch.empty((), device=device), ([0.0] * 3, [1.0] * 3)

    def operators() -> Any:
        params = ops.image_augment_params(like, seed, None, 0, 1, 1, 0, None, 4, 4, segment.codes, rules)
        steps = (segment.codes, segment.settings)
        return ops.image_augment([images], params, None, *steps, 4, 4, *normal, torch.float32, False)

    return lambda: module(images, generator=seed), operators


def call(make: Callable[[torch.device], tuple[Call, Call]], provider: str, device: torch.device) -> Call:
    """The call of one provider; ``device`` is all the inputs there are."""
    public, operator = make(device)
    if provider == "sslfast":
        return public
    if provider == "operator":
        return operator
    numbers = torch.ones(16, device=device)

    def budget() -> None:
        operator()
        for _ in range(10):
            torch.add(numbers, numbers)

    return budget


def case(make: Callable[[torch.device], tuple[Call, Call]]) -> Case:
    return Case(
        op=f"dispatch {make.__name__}",
        size="tiny",
        dtype="any",
        make_inputs=lambda device: device,
        providers={name: partial(call, make, name) for name in ("sslfast", "operator", "operator + 10 torch.add")},
        check=lambda inputs, theirs, ours: None,
        work=0,
        unit="B",
        formula="none",
        quick=True,
        one_thread_only=True,
        devices=("cpu",),
    )


def cases() -> list[Case]:
    return [case(make) for make in (mask_tokens, random_patch_mask, mask_patches, nt_xent_loss, simclr_augment)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
