"""What nt_xent_loss and NTXentLoss refuse, and the text of each error."""

from __future__ import annotations

import math
import re

import pytest
import torch

from sslfast.losses import NTXentLoss, nt_xent_loss

GOOD = torch.ones(4, 3)
NO_BANK = "NTXentLoss: memory_bank_size must be 0 or a pair (num, dim)"
BAD = [
    ([GOOD, GOOD], {"temperature": 0.0}, ValueError, "temperature must be at least 1e-8 in absolute value, got 0.0"),
    ([GOOD, GOOD], {"temperature": math.nan}, ValueError, "temperature must be finite, got nan"),
    ([GOOD, GOOD], {"temperature": math.inf}, ValueError, "temperature must be finite, got inf"),
    ([GOOD, GOOD], {"temperature": "hot"}, TypeError, "temperature must be a number, got str"),
    ([GOOD, GOOD], {"tau_plus": 1.0}, ValueError, "tau_plus must be in [0, 1), got 1.0"),
    ([GOOD, GOOD], {"tau_plus": "a"}, TypeError, "tau_plus must be a number, got str"),
    ([GOOD, GOOD], {"memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    ([GOOD, GOOD], {"memory_budget": 1e6}, TypeError, "memory_budget must be an int, got float"),
    ([GOOD.long(), GOOD], {}, TypeError, "z0 must be a floating-point tensor, got torch.int64"),
    ([GOOD.to_sparse(), GOOD], {}, TypeError, "z0 must be a plain strided tensor, got one of torch.sparse_coo"),
    ([GOOD, GOOD], {"memory_budget": GOOD}, TypeError, "memory_budget must be an int, got Tensor"),
    ([GOOD, [1.0]], {}, TypeError, "z1 must be a floating-point tensor, got list"),
    (
        [GOOD.to(torch.float8_e5m2), GOOD],
        {},
        TypeError,
        "z0 must be float16, bfloat16, float32 or float64, got torch.float8_e5m2",
    ),
    ([GOOD[:, :0], GOOD], {}, ValueError, "z0 must have shape (N, D) with N, D >= 1, got (4, 0)"),
    ([GOOD[0], GOOD], {}, ValueError, "z0 must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD[:0], GOOD], {}, ValueError, "z0 must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([GOOD, GOOD[:2]], {}, ValueError, "z1 must have shape (4, 3), like z0, got (2, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "z1 must be on cpu, like z0, got meta"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"nt_xent_loss: {text}") + "$"):
        nt_xent_loss(*args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"temperature": 0}, ValueError, "NTXentLoss: temperature must be at least 1e-8 in absolute value, got 0"),
        (
            {"memory_bank_size": None},
            TypeError,
            "NTXentLoss: memory_bank_size must be 0 or a pair (num, dim), got NoneType",
        ),
        (
            {"memory_bank_size": True},
            TypeError,
            "NTXentLoss: memory_bank_size must be 0 or a pair (num, dim), got bool",
        ),
        (
            {"memory_bank_size": torch.ones(2)},
            TypeError,
            "NTXentLoss: memory_bank_size must be 0 or a pair (num, dim), got Tensor",
        ),
        (
            {"memory_bank_size": 64},
            ValueError,
            "NTXentLoss: memory_bank_size must be 0 or a pair (num, dim), as (64, dim), got 64",
        ),
        ({"memory_budget": -1}, ValueError, "NTXentLoss: memory_budget must be at least 0, got -1"),
        ({"memory_bank_size": (64,)}, TypeError, f"{NO_BANK}, got (64,)"),
        ({"memory_bank_size": (64, 0)}, ValueError, "MemoryBank: dim must be at least 1, got 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_module_errors(kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        NTXentLoss(**kwargs)


def test_the_bank_is_as_wide_as_the_rows() -> None:
    criterion, z = NTXentLoss(memory_bank_size=(32, 17)), torch.randn(4, 16)
    text = "NTXentLoss: memory_bank_size must be (num, 16), as out0 is wide, got (32, 17)"
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        criterion(z, z)
    with pytest.raises(ValueError, match=r"^NTXentLoss: out0 must have shape \(N, D\) with N, D >= 1, got \(16,\)$"):
        criterion(z[0], z[0])


@pytest.mark.gpu
def test_float64_is_refused_on_a_gpu() -> None:
    z = torch.randn(4, 3, dtype=torch.float64, device="cuda")
    with pytest.raises(TypeError, match="float64 is supported on the CPU"):
        nt_xent_loss(z, z)
