"""Masks that follow the parameters of views: what lies outside, which pixel a resize takes, and of which images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import photos
from peer_oracle import peer

from sslfast import augment as A

LIST = [A.RandomCrop(9, 3, fill=0.25), A.RandomRotation((45, 45), fill=0.5), A.RandomCrop((11, 12), 2, fill=1.0)]
FILLS = {
    torch.bool: True,
    torch.uint8: 255,
    torch.int8: -1,
    torch.int16: -100,
    torch.int64: 2**24,
    torch.float32: -0.75,
}


@pytest.mark.parametrize("dtype", FILLS)
@pytest.mark.parametrize("channels", [None, 2])
def test_fill(device: torch.device, dtype: torch.dtype, channels: int | None) -> None:
    """0 unless the call says another number, whatever images are filled with; classes come through unchanged."""
    transform = A.Compose(LIST)
    shape = (2, 5, 5) if channels is None else (2, channels, 5, 5)
    kept = {torch.bool: True, torch.float32: 2.0**24 - 1}.get(dtype, 113)
    masks = torch.full(shape, kept, dtype=dtype, device=device)
    params = transform.sample_params(torch.zeros(2, 1, 5, 5, device=device), generator=0)
    plain = transform.apply_masks(masks, params)
    assert set(plain.unique().tolist()) == {0, kept}
    inside = plain == kept
    empty = torch.zeros_like(masks)
    for filled, image in ((transform.apply_masks(masks, params, fill=FILLS[dtype]), kept),
                          (transform.apply_masks(empty, params, fill=FILLS[dtype]), 0)):  # fmt: skip
        assert filled.dtype == dtype
        assert set(filled[inside].tolist()) == {image}
        assert set(filled[~inside].tolist()) == {FILLS[dtype]}
    host = transform.host().apply_masks(masks.cpu().numpy(), params.cpu().numpy(), fill=FILLS[dtype], layout="NCHW")
    assert np.array_equal(host, transform.apply_masks(masks, params, fill=FILLS[dtype]).cpu().numpy())


def test_fill_of_views_and_videos() -> None:
    crop = A.RandomCrop(9, 3)
    masks = torch.ones(2, 5, 5, dtype=torch.int64)
    views = A.MultiView([crop, crop])
    params = views.sample_params(torch.zeros(2, 3, 5, 5), generator=1)
    both = views.apply_masks(masks, params, fill=255)
    for mask, one in zip(both, params, strict=True):
        assert torch.equal(mask, crop.apply_masks(masks, one, fill=255))
    host = views.host().apply_masks(masks.numpy(), [one.numpy() for one in params], fill=255)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(host, both, strict=True))
    videos = A.VideoTransform(crop).apply_masks(masks[:, None].expand(2, 3, 5, 5), params[0], fill=255)
    assert torch.equal(videos, both[0][:, None].expand(2, 3, 9, 9))


def test_padding_modes_are_of_masks_too() -> None:
    crop = A.RandomCrop(9, 3, padding_mode="edge")
    masks = torch.ones(2, 5, 5, dtype=torch.uint8)
    params = crop.sample_params(masks[:, None])
    assert (crop.apply_masks(masks, params, fill=9) == 1).all()


@pytest.mark.parametrize("size", [(7, 11), (40, 13), (60, 90)])
def test_resize_takes_torchvisions_pixel(size: tuple[int, int]) -> None:
    v2, tv_tensors = peer("torchvision.transforms.v2.functional"), peer("torchvision.tv_tensors")
    masks = photos(2, 1, 30, 41)[:, 0]
    transform = A.Resize(size)
    got = transform.apply_masks(masks, transform.sample_params(masks[:, None]))
    assert torch.equal(got, v2.resize(tv_tensors.Mask(masks), list(size)).as_subclass(torch.Tensor))


@pytest.mark.parametrize(
    ("transform", "size", "takes"),
    [
        (A.Resize((4, 4)), (20, 30), "10 x 15"),
        (A.CenterCrop(6), (10, 14), "10 x 15"),
        (A.RandomResizedCrop(4, (1.0, 1.0), (1.5, 1.5)), (9, 15), "10 x 15 at (0, 0)"),
    ],
)
def test_images_of_another_size(transform: A.Compose, size: tuple[int, int], takes: str) -> None:
    params = transform.sample_params(torch.zeros(2, 1, 10, 15))
    text = (
        f"{type(transform).__name__}: {{}} must be that of the images whose params these are, which take {takes}, got "
    )
    text += f"{size[0]} x {size[1]}"
    masks, boxes, host, own = torch.zeros(2, *size), torch.zeros(2, 1, 4), transform.host(), params.numpy()
    for call, what in (
        (lambda: transform.apply_masks(masks, params), "the size of masks"),
        (lambda: transform.apply_masks([torch.zeros(10, 15), masks[1]], params), "the size of masks"),
        (lambda: transform.apply_boxes(boxes, params, size), "image_size"),
        (lambda: transform.apply_keypoints(boxes[..., :2], params, [(10, 15), size]), "image_size"),
        (lambda: host.apply_masks(masks.numpy(), own), "the size of masks"),
        (lambda: host.apply_boxes(boxes.numpy(), own, size), "image_size"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (the text below)
            call()
        assert str(caught.value) == text.format(what)


@pytest.mark.parametrize(
    ("dtype", "fill", "error", "text"),
    [
        (torch.bool, 2, ValueError, "a whole number in [0, 1] for masks of bool, got 2"),
        (torch.uint8, -1, ValueError, "a whole number in [0, 255] for masks of uint8, got -1"),
        (torch.int64, 0.5, ValueError, "a whole number in [-1.67772e+07, 1.67772e+07] for masks of int64, got 0.5"),
        (torch.float32, float("nan"), ValueError, "finite, got nan"),
        (torch.float32, "a", TypeError, "a number, got str"),
    ],
)
def test_bad_fill(dtype: torch.dtype, fill: object, error: type[Exception], text: str) -> None:
    flip = A.RandomHorizontalFlip()
    params = flip.sample_params(torch.zeros(1, 1, 3, 3))
    masks = torch.zeros(1, 3, 3, dtype=dtype)
    for call in (lambda: flip.apply_masks(masks, params, fill=fill),
                 lambda: flip.host().apply_masks(masks.numpy(), params.numpy(), fill=fill)):  # fmt: skip
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == f"RandomHorizontalFlip: fill must be {text}"
