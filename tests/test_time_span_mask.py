"""time_mask: the reference bit for bit in every mode, what the modes promise, both faces."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from time_masks import same_everywhere, some_lengths

from sslfast import host, ops
from sslfast.masking import time_mask

# (rows, length, arguments) and why it is there
SIZES = [
    (3, 1, {"mask_length": 1, "mask_prob": 0.6}),  # one frame
    (3, 9, {"mask_length": 10}),  # no span fits
    (9, 10, {"mask_length": 10, "mask_prob": 0.9}),  # one start
    (40, 12, {"mask_length": 3, "mask_prob": 1.0}),  # as many spans as would fill a row
    (5, 50, {}),  # few spans
    (4, 1500, {}),  # wav2vec 2.0
    (3, 700, {"mask_length": 3, "mask_prob": 0.9}),  # short spans: more than a block's draws on a GPU
    (3, 200, {"mask_length": 64, "mask_prob": 0.5}),  # HuBERT-like long spans
    (2, 300, {"mask_length": 1, "mask_prob": 0.999}),  # nearly every frame, no overlap
    (2, 40_000, {"mask_prob": 0.1}),  # above the shared memory of a block
    (6, 30, {"min_masks": 2, "mask_prob": 0.0}),  # the least number alone
    (3, 64, {"min_masks": 1000}),  # more than fit
    (2, 20, {"mask_prob": 0.0}),  # nothing
    (0, 9, {"mask_length": 2}),  # no rows
]
MODES = ["exact", "hf", "fairseq"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rows", "length", "arguments"), SIZES)
def test_equals_reference(device, rows, length, arguments, mode):
    if mode == "hf" and arguments.get("mask_length", 10) > length:
        pytest.skip("transformers raises: in the table of bad inputs")
    same_everywhere(device, rows, length, mode=mode, seed=7, **arguments)
    lengths = some_lengths(rows, length)
    same_everywhere(device, rows, length, mode=mode, seed=-1, row_offset=2**40, lengths=lengths, **arguments)


def test_exact_masks_whole_spans_within_the_row(device):
    lengths = torch.tensor([200, 150, 37, 10, 9, 0], device=device)
    mask = time_mask(6, 200, lengths=lengths, min_masks=1, generator=2).cpu()
    for row, frames in zip(mask, lengths.tolist(), strict=True):
        assert not row[frames:].any()
        padded = torch.cat([torch.tensor([False]), row, torch.tensor([False])]).int()
        edges = padded.diff()
        runs = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert (runs >= 10).all()
        assert row.any() == (frames > 10)


def test_exact_leaves_a_frame_of_every_row(device):
    lengths = torch.arange(300, device=device) % 41
    for span, share in ((1, 0.999), (2, 1.0), (10, 1.0), (20, 0.65)):
        options = {"mask_prob": share, "mask_length": span, "min_masks": 2}
        for n in (lengths, None):
            mask = time_mask(300, 40, lengths=n, generator=3, device=device, **options)
            kept = (n if n is not None else torch.full_like(lengths, 40)) - mask.sum(1)
            assert (kept[lengths > 0] >= 1).all()
            assert (mask.any(1) == (kept + mask.sum(1) > span)).all()
        peers = time_mask(300, 40, lengths=lengths, mode="hf", generator=3, device=device, **options)
        assert (peers.sum(1) >= lengths).sum() > 10


def test_lengths_of_every_integer_type_and_stride(device):
    lengths = torch.tensor([50, 20, 35], device=device)
    expected = time_mask(3, 50, lengths=lengths, generator=1)
    for dtype in (torch.int32, torch.int16, torch.uint8, torch.int8):
        assert torch.equal(time_mask(3, 50, lengths=lengths.to(dtype), generator=1), expected)
    strided = torch.stack([lengths, lengths * 0], 1)[:, 0]
    assert torch.equal(time_mask(3, 50, lengths=strided, generator=1), expected)
    assert np.array_equal(host.time_mask(3, 50, lengths=np.array([50, 20, 35], np.uint8), seed=1), expected.cpu())


def test_hugging_face_marks_the_padding_of_short_rows_and_exact_does_not():
    lengths = torch.tensor([50, 5, 0])
    compat = time_mask(3, 50, lengths=lengths, mode="hf", mask_prob=1.0, generator=0)
    assert compat[1:].nonzero().tolist() == [[0, 49], [1, 49]]
    assert not time_mask(3, 50, lengths=lengths, mask_prob=1.0, generator=0)[1:].any()


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "device", "threads")]

    assert arguments(host.time_mask) == arguments(time_mask)


def test_composes(device):
    like, lengths = torch.empty((), device=device), torch.tensor([20, 11], device=device)
    spans = (like, torch.tensor(1), None, lengths, 2, 20, 0.5, 4, 1)
    torch.library.opcheck(ops.time_span_mask, (*spans, 0, 0))
    torch.library.opcheck(ops.fairseq_span_mask, (*spans, 3, 0.0, True, 1, False, False, 1, 0.1, 0))
    fairseq = {"mode": "fairseq", "mask_type": "normal", "mask_other": 2.0, "require_same_masks": True}
    compiled = torch.compile(time_mask, fullgraph=True)
    ours = compiled(2, 20, lengths=lengths, generator=4, **fairseq)
    assert torch.equal(ours, time_mask(2, 20, lengths=lengths, generator=4, **fairseq))
    compiled = torch.compile(time_mask, fullgraph=True)
    for rows, length in ((2, 40), (3, 64), (3, 65)):  # from the second on with symbols
        ours = compiled(rows, length, generator=4, device=device)
        assert torch.equal(ours, time_mask(rows, length, generator=4, device=device))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": -1}, ValueError, "batch_size must be at least 0, got -1"),
        ({"length": 0}, ValueError, "length must be in [1, 4294967295], got 0"),
        ({"length": 2.0}, TypeError, "length must be an int, got float"),
        ({"mask_prob": 1.5}, ValueError, "mask_prob must be a probability in [0, 1], got 1.5"),
        ({"mask_prob": "a"}, TypeError, "mask_prob must be a number, got str"),
        ({"mask_length": 0}, ValueError, "mask_length must be at least 1, got 0"),
        ({"min_masks": -1}, ValueError, "min_masks must be at least 0, got -1"),
        ({"mode": "peer"}, ValueError, "mode must be 'exact', 'compat', 'hf' or 'fairseq', got 'peer'"),
        ({"mode": ["hf"]}, ValueError, "mode must be 'exact', 'compat', 'hf' or 'fairseq', got ['hf']"),
        ({"mode": "fairseq", "add_masks": "no"}, TypeError, "add_masks must be a bool, got 'no'"),
        (
            {"require_same_masks": True},
            ValueError,
            'require_same_masks must be left out except in mode "fairseq", got True',
        ),
        ({"mask_type": "poisson"}, ValueError, "mask_type must be left out except in mode \"fairseq\", got 'poisson'"),
        (
            {"num_mask_ver": 1, "mode": "hf"},
            ValueError,
            'num_mask_ver must be left out except in mode "fairseq", got 1',
        ),
        (
            {"mode": "fairseq", "mask_type": None},
            ValueError,
            "mask_type must be 'static', 'uniform', 'normal' or 'poisson', got None",
        ),
        (
            {"mode": "fairseq", "mask_type": "uniform", "mask_other": 20.5},
            ValueError,
            'mask_other must be in [0, 20], twice mask_length, for mask_type "uniform", got 20.5',
        ),
        (
            {"mode": "fairseq", "mask_type": "normal", "mask_other": -0.5},
            ValueError,
            'mask_other must be at least 0 for mask_type "normal", got -0.5',
        ),
        ({"mode": "fairseq", "mask_other": "2"}, TypeError, "mask_other must be a number, got str"),
        (
            {"mode": "fairseq", "mask_type": "poisson", "mask_length": 2**31},
            ValueError,
            "mask_length must be in [1, 2147483647], got 2147483648",
        ),
        ({"mode": "fairseq", "no_overlap": 1}, TypeError, "no_overlap must be a bool, got 1"),
        ({"mode": "fairseq", "min_space": 0.5}, TypeError, "min_space must be an int, got float"),
        ({"mode": "fairseq", "min_space": -1}, ValueError, "min_space must be in [0, 4294967295], got -1"),
        ({"mode": "fairseq", "idc_select_ver": 0}, ValueError, "idc_select_ver must be 1 or 2, got 0"),
        ({"mode": "fairseq", "num_mask_ver": 3}, ValueError, "num_mask_ver must be 1 or 2, got 3"),
        ({"mode": "fairseq", "mask_dropout": 2}, ValueError, "mask_dropout must be a probability in [0, 1], got 2"),
        ({"mask_dropout": 0.1}, ValueError, 'mask_dropout must be left out except in mode "fairseq", got 0.1'),
        (
            {"mode": "hf", "mask_length": 21},
            ValueError,
            'mask_length must be at most length (20) in mode "hf", got 21',
        ),
        ({"lengths": [1, 2]}, TypeError, "lengths must be an integer tensor, got list"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"lengths": torch.arange(3)}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        time_mask(**{"batch_size": 2, "length": 20, **arguments})
    assert str(raised.value) == f"time_mask: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.time_mask(**{"batch_size": 2, "length": 20, "seed": 1, **on_arrays})
    expected = message.replace("tensor", "array").replace("torch.", "")
    assert str(raised.value) == f"time_mask: {expected}"
