"""batch_mix: one line for every bad argument."""

from __future__ import annotations

import pytest
import torch

from sslfast import host
from sslfast.augment import CutMix, MixUp, mix_images, mix_labels, sample_mix


def bad(error, message, call, *args, **options):
    with pytest.raises(error) as raised:
        call(*args, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": -1}, ValueError, "rows must be in [0, 16777216], got -1"),
        ({"image_size": 4}, ValueError, "image_size must be (height, width), got 4"),
        ({"image_size": (0, 4)}, ValueError, "image_size must be in [1, 16777216], got 0"),
        ({"mixup_alpha": -1.0}, ValueError, "mixup_alpha must be in [0, 1e6], got -1.0"),
        ({"mixup_alpha": "a"}, TypeError, "mixup_alpha must be a number, got str"),
        ({"mixup_alpha": 0.0}, ValueError, "mixup_alpha or cutmix_alpha must be positive, got 0 and 0"),
        (
            {"cutmix_minmax": (0.5, 0.2)},
            ValueError,
            "cutmix_minmax must be two numbers in order in [0.0, 1.0], got (0.5, 0.2)",
        ),
        ({"prob": 2.0}, ValueError, "prob must be a probability in [0, 1], got 2.0"),
        ({"switch_prob": -0.5}, ValueError, "switch_prob must be a probability in [0, 1], got -0.5"),
        ({"mode": "row"}, ValueError, "mode must be 'batch', 'pair' or 'elem', got 'row'"),
        ({"partner": "next"}, ValueError, "partner must be 'roll', 'flip' or 'permutation', got 'next'"),
        ({"box": "square"}, ValueError, "box must be 'torchvision' or 'timm', got 'square'"),
        ({"mode": "pair"}, ValueError, 'partner must be "flip" in mode "pair", got \'roll\''),
        ({"correct_lam": 1}, TypeError, "correct_lam must be a bool, got 1"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_rules(arguments, error, message):
    options = {"rows": 4, "image_size": (8, 8), **arguments}
    bad(error, f"sample_mix: {message}", sample_mix, **options)
    bad(error, f"sample_mix: {message}", host.sample_mix, **options, seed=1)


def test_bad_images():
    images, params = torch.zeros(2, 3, 4, 4), sample_mix(2, (4, 4))
    name, kinds = "mix_images: ", "float32, bfloat16, float16, float64 or uint8"
    bad(TypeError, f"{name}images must be a tensor, got list", mix_images, [1], params)
    bad(TypeError, f"{name}images must be {kinds}, got torch.int32", mix_images, images.int(), params)
    bad(ValueError, f"{name}images must have shape (N, C, H, W), got (3, 4, 4)", mix_images, images[0], params)
    bad(TypeError, f"{name}params must be a float32 tensor, got torch.float64", mix_images, images, params.double())
    bad(ValueError, f"{name}params must have shape (2, 7), got (1, 7)", mix_images, images, params[:1])
    bad(TypeError, f"{name}inplace must be a bool, got 1", mix_images, images, params, inplace=1)
    message = f"{name}images must not be expanded where inplace, got strides (0, 16, 4, 1)"
    bad(ValueError, message, mix_images, images[:1].expand(2, -1, -1, -1), params, inplace=True)
    message = f"{name}images must have contiguous lines, or channels last, where inplace, got strides (48, 16, 1, 4)"
    bad(ValueError, message, mix_images, images.mT, params, inplace=True)
    message = f"{name}inplace must be False for images that need a gradient, got True"
    bad(ValueError, message, mix_images, images.clone().requires_grad_(), params, inplace=True)
    same = params.clone()
    same[:, 1] = 0
    message = f"{name}params must have a permutation of the batch for partners where inplace"
    bad(ValueError, message, mix_images, images, same, inplace=True)
    bad(ValueError, message, host.mix_images, images.numpy(), same.numpy(), inplace=True)
    many = torch.zeros(8193, 1, 1, 1)
    message = f"{name}images must be at most 8192 where inplace, got 8193"
    bad(ValueError, message, mix_images, many, sample_mix(8193, (1, 1)), inplace=True)


def test_bad_labels():
    params, name = sample_mix(2, (4, 4)), "mix_labels: "
    bad(TypeError, f"{name}labels must be an int64 or floating-point tensor, got list", mix_labels, [1], params)
    bad(
        ValueError, f"{name}labels must have shape (2,), being class ids, got (3,)", mix_labels, torch.arange(3), params
    )
    message = f"{name}labels must have shape (2, K), being soft, got (2,)"
    bad(ValueError, message, mix_labels, torch.ones(2), params)
    message = f"{name}labels must have shape (2, 4), got (2, 3)"
    bad(ValueError, message, mix_labels, torch.ones(2, 3), params, num_classes=4)
    for ids in ([0, 4], [-1, 0]):
        message = f"{name}labels must be in [0, 4), got {min(ids)} to {max(ids)}"
        bad(ValueError, message, mix_labels, torch.tensor(ids), params, num_classes=4)
    message = f"{name}params must have shape (N, 7), got (2, 6)"
    bad(ValueError, message, mix_labels, None, params[:, :6])
    message = "MixUp: alpha must be in (0, 1e6], got 0"
    bad(ValueError, message, MixUp, alpha=0)
    bad(ValueError, "CutMix: num_classes must be at least 1, got 0", CutMix, num_classes=0)
