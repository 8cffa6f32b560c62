"""What transforms say to bad images, parameters and seeds."""

from __future__ import annotations

import re

import pytest
import torch

from sslfast import augment as A
from sslfast.augment._images import table_on

IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
ELSEWHERE = torch.empty(1, dtype=torch.int64, device="meta")  # a seed where nothing can read it
CROP = A.RandomResizedCrop(4)
ROWS = torch.zeros(2, 10)

CALLS = [
    (lambda: CROP(1), TypeError, "RandomResizedCrop: images must be a tensor or a sequence of tensors, got int"),
    (lambda: CROP(IMAGES[0]), ValueError, "RandomResizedCrop: images must have shape (N, C, H, W), got (3, 8, 8)"),
    (
        lambda: CROP(IMAGES.double()),
        TypeError,
        "RandomResizedCrop: images must be uint8, float32, bfloat16 or float16, got torch.float64",
    ),
    (
        lambda: CROP(IMAGES[:, :0]),
        ValueError,
        "RandomResizedCrop: images must have 1 to 32 channels, got shape (2, 0, 8, 8)",
    ),
    (
        lambda: CROP(IMAGES[:, :, :0]),
        ValueError,
        "RandomResizedCrop: images must have height and width in [1, 2^24], got shape (2, 3, 0, 8)",
    ),
    (
        lambda: CROP([]),
        ValueError,
        "RandomResizedCrop: images must be a batch or a sequence of at least one image, got []",
    ),
    (lambda: CROP([IMAGES[0], 3]), TypeError, "RandomResizedCrop: images[1] must be a tensor, got int"),
    (
        lambda: CROP([IMAGES[0], IMAGES]),
        ValueError,
        "RandomResizedCrop: images[1] must have shape (C, H, W), got (2, 3, 8, 8)",
    ),
    (
        lambda: CROP([IMAGES[0], IMAGES[0, :1]]),
        ValueError,
        "RandomResizedCrop: images must have one number of channels, dtype and device, got (1, 8, 8), torch.uint8, "
        "cpu at 1",
    ),
    (
        lambda: A.RandomHorizontalFlip()([IMAGES[0], IMAGES[0, :, :5]]),
        ValueError,
        "RandomHorizontalFlip: images of several sizes need a transform that gives views one size, got (5, 8), (8, 8)",
    ),
    (
        lambda: A.RandomGrayscale()(IMAGES[:, :2]),
        ValueError,
        "RandomGrayscale: gray needs images of 1 or 3 channels, got 2",
    ),
    (
        lambda: A.Normalize((0.5, 0.5), (1.0, 1.0))(IMAGES),
        ValueError,
        "Normalize: mean must have one number per channel (3), got 2",
    ),
    (lambda: CROP(IMAGES, row_offset=-1), ValueError, "RandomResizedCrop: row_offset must be at least 0, got -1"),
    (
        lambda: CROP(IMAGES, sample_ids=torch.zeros(2)),
        TypeError,
        "RandomResizedCrop: sample_ids must be an int64 tensor, got torch.float32",
    ),
    (
        lambda: CROP(IMAGES, sample_ids=torch.zeros(3, dtype=torch.int64)),
        ValueError,
        "RandomResizedCrop: sample_ids must have shape (2,), one a row, got (3,)",
    ),
    (
        lambda: CROP(IMAGES, generator=0.5),
        TypeError,
        "RandomResizedCrop: generator must be None, an int, a torch.Generator or an int64 tensor, got float",
    ),
    (
        lambda: CROP(IMAGES, generator=ELSEWHERE),
        ValueError,
        "RandomResizedCrop: generator must be on the CPU, got meta",
    ),
    (lambda: CROP.apply_params(IMAGES, [1]), TypeError, "RandomResizedCrop: params must be a tensor, got list"),
    (
        lambda: CROP.apply_params(IMAGES, ROWS.double()),
        TypeError,
        "RandomResizedCrop: params must be float32, got torch.float64",
    ),
    (
        lambda: CROP.apply_params(IMAGES, ROWS[:1]),
        ValueError,
        "RandomResizedCrop: params must have shape (2, 10), got (1, 10)",
    ),
    (
        lambda: CROP.apply_params(IMAGES, ROWS.to("meta")),
        ValueError,
        "RandomResizedCrop: params must be on cpu, like images, got meta",
    ),
    (
        lambda: CROP.apply_params(IMAGES, ROWS, out=torch.zeros(2, 3, 4, 4)),
        TypeError,
        "RandomResizedCrop: out must be torch.uint8, got torch.float32",
    ),
    (
        lambda: CROP.apply_params(IMAGES, ROWS, out=torch.zeros(2, 3, 4, 5, dtype=torch.uint8)),
        ValueError,
        "RandomResizedCrop: out must be dense, of shape (2, 3, 4, 4) on cpu, got (2, 3, 4, 5), strides "
        "(60, 20, 5, 1) on cpu",
    ),
    (
        lambda: A.SimCLRAugment(4).apply_params(IMAGES, [ROWS]),
        ValueError,
        "SimCLRAugment: params must be a list of 2 tensors, got 1",
    ),
]


@pytest.mark.parametrize(("make", "error", "text"), CALLS)
def test_bad_input(make: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text


def test_a_list_cannot_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph would copy addresses from host memory that others use by then."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    text = "Resize: images must be one tensor (N, C, H, W) in a CUDA graph's capture, got a list"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        table_on("Resize", torch.device("cuda"), [(8, 8), (9, 8)])
    assert table_on("Resize", torch.device("cpu"), [(8, 8), (9, 8)]).tolist() == [[8, 8], [9, 8]]
