"""time_mask in every face, for the tests of its modes."""

from __future__ import annotations

import torch
from oracle import all_equal

from sslfast import host
from sslfast.masking import time_mask
from sslfast.reference import time_span_mask as reference


def some_lengths(rows, length):
    some = (length, 0, 1, length // 2, length - 1, 3 * length // 4)
    return torch.tensor([some[r % 6] for r in range(rows)], dtype=torch.int64)


def same_everywhere(device, rows, length, **arguments):
    draws = {k: arguments.pop(k) for k in ("seed", "row_offset", "sample_ids") if k in arguments}
    expected = reference.time_mask(rows, length, **arguments, **draws)
    on_device = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in (arguments | draws).items()}
    ours = time_mask(rows, length, device=device, generator=on_device.pop("seed"), **on_device)
    assert all_equal([ours], [expected])
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (arguments | draws).items()}
    assert all_equal([torch.from_numpy(host.time_mask(rows, length, threads=2, **arrays))], [expected])
    return expected
