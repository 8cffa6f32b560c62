"""sample_frames: the reference bit for bit on every face, its bounds and distribution; take_frames and its gradient."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from oracle import all_equal
from scipy import stats

from sslfast import host, ops
from sslfast.augment import sample_frames, take_frames
from sslfast.reference import frame_indices as reference

# (num_frames, clip_length, arguments) and why it is there
SIZES = [
    (1, 1, {}),  # one frame
    (64, 16, {}),
    (64, 8, {"stride": 4}),
    (300, 16, {"stride": 4, "clips": 5}),  # clips spread over the video
    (40, 16, {"stride": 2, "clips": 20}),  # more clips than starts
    (10, 16, {"stride": 4}),  # longer than the video
    (10, 16, {"stride": 4, "out_of_range": "loop"}),
    (100, 8, {"mode": "segments"}),
    (100, 7, {"mode": "segments", "clips": 3}),  # segments of different lengths
    (5, 8, {"mode": "segments"}),  # segments without a frame of their own
    (0, 4, {}),  # no frames
]


@pytest.mark.parametrize("position", ["random", "centre"])
@pytest.mark.parametrize(("num_frames", "clip_length", "arguments"), SIZES)
def test_equals_reference(device, num_frames, clip_length, arguments, position):
    rows = 6
    for draws in ({"seed": 7}, {"seed": -1, "row_offset": 2**40}, {"seed": 3, "sample_ids": torch.arange(rows) * 5}):
        for lengths in (
            None,
            torch.tensor([0, 0, 1, num_frames // 2, num_frames - 1, num_frames]).clamp(0, num_frames),
        ):
            options = {**arguments, **draws, "position": position, "lengths": lengths}
            expected = reference.sample_frames(rows, num_frames, clip_length, **options)
            there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            there["generator"] = there.pop("seed")
            ours = sample_frames(rows, num_frames, clip_length, device=device, **there)
            assert all_equal([ours], [expected])
            arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            array = host.sample_frames(rows, num_frames, clip_length, threads=2, **arrays)
            assert all_equal([torch.from_numpy(array)], [expected])
            frames = num_frames if lengths is None else lengths[:, None, None]
            assert ((expected >= 0) | (torch.as_tensor(frames) == 0)).all()
            assert (expected < torch.as_tensor(frames).clamp(min=1)).all()


def test_centre_by_hand():
    centre = {"position": "centre", "generator": 0}
    assert sample_frames(1, 10, 4, **centre).tolist() == [[[3, 4, 5, 6]]]
    assert sample_frames(1, 9, 3, stride=3, **centre).tolist() == [[[1, 4, 7]]]
    assert sample_frames(1, 9, 3, mode="segments", **centre).tolist() == [[[1, 4, 7]]]
    assert sample_frames(1, 12, 4, clips=3, **centre)[0, :, 0].tolist() == [1, 4, 7]
    assert sample_frames(1, 3, 4, stride=2, **centre).tolist() == [[[0, 2, 2, 2]]]
    assert sample_frames(1, 3, 4, stride=2, out_of_range="loop", **centre).tolist() == [[[0, 2, 1, 0]]]


def test_starts_are_uniform():
    starts = sample_frames(40000, 30, 4, stride=3, generator=1)[:, 0, 0]
    assert stats.chisquare(torch.bincount(starts, minlength=21)).pvalue > 1e-3
    of_clips = sample_frames(40000, 30, 4, stride=3, clips=3, generator=1)[:, :, 0] - torch.tensor([0, 7, 14])
    assert all(stats.chisquare(torch.bincount(c, minlength=7)).pvalue > 1e-3 for c in of_clips.unbind(1))
    pairs = of_clips[:, 0] * 7 + of_clips[:, 1]  # clips are independent
    assert stats.chisquare(torch.bincount(pairs, minlength=49)).pvalue > 1e-3


def test_segments_are_uniform_and_independent():
    frames = sample_frames(40000, 24, 4, mode="segments", clips=2, generator=2) - 6 * torch.arange(4)
    assert frames.shape == (40000, 2, 4)
    for at in ((0, 0), (0, 3), (1, 2)):
        assert stats.chisquare(torch.bincount(frames[:, *at], minlength=6)).pvalue > 1e-3
    for one, two in (((0, 0), (0, 1)), ((0, 3), (1, 3)), ((1, 0), (0, 2))):
        pairs = frames[:, *one] * 6 + frames[:, *two]
        assert stats.chisquare(torch.bincount(pairs, minlength=36)).pvalue > 1e-3


def test_a_shard_is_its_part_of_the_whole(device):
    whole = sample_frames(8, 50, 4, clips=2, generator=5, device=device)
    assert torch.equal(sample_frames(3, 50, 4, clips=2, generator=5, row_offset=5, device=device), whole[5:])
    ids = torch.tensor([6, 1], device=device)
    assert torch.equal(sample_frames(2, 50, 4, clips=2, generator=5, sample_ids=ids), whole[ids])


def test_composes(device):
    lengths = torch.tensor([9, 3], device=device)
    like = torch.empty((), device=device)
    arguments = (like, torch.tensor(1), None, lengths, 2, 12, 2, 4, 2, False, True, False, 0)
    torch.library.opcheck(ops.frame_indices, arguments)
    compiled = torch.compile(lambda n: sample_frames(2, 12, 4, lengths=n, generator=3), fullgraph=True)
    assert torch.equal(compiled(lengths), sample_frames(2, 12, 4, lengths=lengths, generator=3))


# ---- take_frames


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dim", [1, 2])
def test_take_frames(device, dtype, dim):
    shape = (3, 12, 2, 4, 5) if dim == 1 else (3, 2, 12, 4, 5)
    video = torch.randint(0, 255, shape).to(dtype)
    frames = sample_frames(3, 12, 4, clips=3, generator=1)
    for at in (frames, frames[:, 0], frames[:, :, :0]):
        expected = reference.take_frames(video, at, dim=dim)
        ours = take_frames(video.to(device), at.to(device), dim=dim)
        assert all_equal([ours], [expected])
        apart = video.to(device).mT.contiguous().mT  # inner dimensions in another order
        assert all_equal([take_frames(apart, at.to(device), dim=dim)], [expected])
    none = frames[:, 0].clone()
    none[1, 2:] = -1
    out = take_frames(video.to(device), none.to(device), dim=dim)
    assert (out.movedim(dim, 1)[1, 2:] == 0).all()


def test_gradient_of_frames(device):
    video = torch.randn(2, 3, 6, 2, dtype=torch.float64, device=device, requires_grad=True)
    frames = torch.tensor([[[0, 5], [5, 5]], [[2, -1], [1, 0]]], device=device)
    assert torch.autograd.gradcheck(lambda v: take_frames(v, frames, dim=2), video)
    assert torch.autograd.gradgradcheck(lambda v: take_frames(v, frames, dim=2), video)
    grad = torch.autograd.grad(take_frames(video, frames, dim=2).sum(), video)[0]
    assert grad[0, 0, :, 0].tolist() == [1, 0, 0, 0, 0, 3]
    compiled = torch.compile(lambda v: take_frames(v, frames, dim=2), fullgraph=True)
    assert torch.equal(compiled(video), take_frames(video, frames, dim=2))


def test_an_index_out_of_range_is_an_error_on_the_cpu():
    for wrong in (4, -2):
        with pytest.raises(ValueError, match=rf"^take_frames: frames must be in \[-1, 3\], got {wrong}$"):
            take_frames(torch.zeros(1, 4, 2), torch.tensor([[0, wrong]]))


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": -1}, ValueError, "rows must be at least 0, got -1"),
        ({"rows": 1.0}, TypeError, "rows must be an int, got float"),
        ({"num_frames": -1}, ValueError, "num_frames must be in [0, 2147483647], got -1"),
        ({"clip_length": 0}, ValueError, "clip_length must be in [1, 2147483647], got 0"),
        ({"stride": 0}, ValueError, "stride must be in [1, 2147483647], got 0"),
        ({"clips": 0}, ValueError, "clips must be in [1, 536870911], got 0"),
        ({"mode": "uniform"}, ValueError, "mode must be 'clip' or 'segments', got 'uniform'"),
        ({"position": "center"}, ValueError, "position must be 'random' or 'centre', got 'center'"),
        ({"out_of_range": "pad"}, ValueError, "out_of_range must be 'last' or 'loop', got 'pad'"),
        ({"mode": "segments", "stride": 2}, ValueError, "stride must be 1 with mode 'segments', got 2"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"lengths": torch.arange(3)}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        ({"sample_ids": torch.arange(3)}, ValueError, "sample_ids must have shape (2,), one a row, got (3,)"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    given = {"rows": 2, "num_frames": 9, "clip_length": 4} | arguments
    with pytest.raises(error) as raised:
        sample_frames(**given)
    assert str(raised.value) == f"sample_frames: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    with pytest.raises(error) as raised:
        host.sample_frames(**arrays, seed=1)
    assert str(raised.value) == f"sample_frames: {message.replace('tensor', 'array').replace('torch.', '')}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"video": np.zeros((2, 3))}, TypeError, "video must be a tensor, got ndarray"),
        ({"frames": [1]}, TypeError, "frames must be a tensor, got list"),
        (
            {"video": torch.zeros(2, 3, dtype=torch.complex128)},
            TypeError,
            "video must have elements of at most 8 bytes, got torch.complex128",
        ),
        ({"frames": torch.zeros(2, 1)}, TypeError, "frames must be int64, got torch.float32"),
        ({"dim": 0}, ValueError, "dim must be in [1, 2], got 0"),
        ({"dim": 2}, ValueError, "video must have more than 2 dimensions, got (2, 3)"),
        (
            {"frames": torch.zeros(3, 1).long()},
            ValueError,
            "frames must have shape (2, L) or (2, clips, L), got (3, 1)",
        ),
    ],
)
def test_bad_video(arguments, error, message):
    with pytest.raises(error) as raised:
        take_frames(**({"video": torch.zeros(2, 3), "frames": torch.zeros(2, 1).long()} | arguments))
    assert str(raised.value) == f"take_frames: {message}"


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "threads", "device")]

    assert arguments(host.sample_frames) == arguments(sample_frames)
