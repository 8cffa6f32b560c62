"""SimCLR's augmentation, uint8 images to one normalised float32 batch, beside seven image pipelines; over NumPy arrays
beside the two that take these; and into a buffer that is used again, as a loader with pinned memory has one: fresh
memory, which the system clears, costs up to a third of ours.

Everywhere: random resized crop (0.08, 1), flip 0.5, jitter (0.8, 0.8, 0.8, 0.2) with probability 0.8, gray 0.2, at 224
also blur (23 pixels, sigma 0.1 to 2) with probability 0.5, normalise. view_peers.py has the others' steps and says how
they differ; Pillow, here, blurs with three boxes.

Floor of a view: the crop read once (0.48 of the image on average, 1 byte a value) and 4 bytes a value written: 1.0 ms
for 64 views of 224, past the caches of a Zen 5 core, and 1.4 of a Zen 4 core. Arithmetic is more: of 7.4 ms into a
buffer on the latter the crop takes 2.8, the jitter 2.6 and the blur 2.0. On the former a blur of reach 5, the mean,
takes 13 cycles for 16 values, of which its sums and products are 10; the jitter's four steps take 30 for 16 pixels, of
which its sums, minima and maxima are 17. The latter has half as many units; minima and maxima share those of sums.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers, view_peers
from benchmarks.harness import Call, Case
from benchmarks.view_peers import FLIP, GRAY, JITTER, MEAN, RATIO, SIGMA, STD, Inputs, View, arrays, batch, make_inputs


def view_of(inputs: Any) -> View:
    """The paper does not blur images of 32 x 32."""
    return View(inputs.size, blur=0.5 * (inputs.size > 32))


def ours(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=view_of(inputs).blur, mean=MEAN, std=STD)
    return lambda: augment(inputs.images)[0]


def ours_into_a_buffer(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=view_of(inputs).blur, mean=MEAN, std=STD)
    buffer = augment(inputs.images)
    return lambda: augment(inputs.images, out=buffer)[0]


def ours_on_arrays(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=view_of(inputs).blur, mean=MEAN, std=STD).host()
    images, threads, seeds = arrays(inputs), torch.get_num_threads(), itertools.count()
    return lambda: torch.from_numpy(augment(images, seed=next(seeds), threads=threads)[0]).permute(0, 3, 1, 2)


def beside(make: Callable[[Inputs, list[View]], Call]) -> Callable[[Inputs], Call]:
    """One view of a library."""

    def provider(inputs: Inputs) -> Call:
        call = make(inputs, [view_of(inputs)])
        return lambda: call()[0]

    return provider


def into_a_buffer(make: Callable[..., Call]) -> Callable[[Inputs], Call]:
    """One view of a library, stacked into a buffer that every call writes again."""

    def provider(inputs: Inputs) -> Call:
        buffer = np.empty((len(inputs.images), inputs.size, inputs.size, 3), np.float32)

        def batch(views: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(views, out=buffer)).permute(0, 3, 1, 2)

        call = make(inputs, [view_of(inputs)], batch)
        return lambda: call()[0]

    return provider


def pillow(inputs: Inputs) -> Call:
    """The same steps by hand: the least that a pipeline on Pillow images costs."""
    images, kind = view_peers.pil_images(inputs), view_of(inputs)
    image, enhance = peers.load("PIL.Image"), peers.load("PIL.ImageEnhance")
    gaussian = peers.load("PIL.ImageFilter").GaussianBlur
    scale = 1 / (255 * np.array(STD, np.float32))
    shift = np.array(MEAN, np.float32) / np.array(STD, np.float32)

    def hue(view: Any) -> Any:
        h, s, v = view.convert("HSV").split()
        turned = np.asarray(h) + np.uint8(int(random.uniform(-kind.jitter[3], kind.jitter[3]) * 255) % 256)
        return image.merge("HSV", (image.fromarray(turned), s, v)).convert("RGB")

    jitter: list[Callable[[Any], Any]] = [hue]
    for step, factors in zip((enhance.Brightness, enhance.Contrast, enhance.Color), kind.factors, strict=True):
        jitter.append(lambda view, step=step, factors=factors: step(view).enhance(random.uniform(*factors)))

    def augment(picture: Any) -> np.ndarray:
        view = picture.resize((inputs.size, inputs.size), image.Resampling.BILINEAR, box=_crop(*picture.size, kind))
        if random.random() < FLIP:
            view = view.transpose(image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < JITTER:
            for step in random.sample(jitter, len(jitter)):
                view = step(view)
        if random.random() < GRAY:
            view = view.convert("L").convert("RGB")
        if random.random() < kind.blur:
            view = view.filter(gaussian(random.uniform(*SIGMA)))
        return np.asarray(view) * scale - shift

    return lambda: batch([augment(picture) for picture in images])


def _crop(width: int, height: int, kind: View) -> tuple[int, int, int, int]:
    """A random crop's box by torchvision's rule: ten tries, then the largest central one."""
    for _ in range(10):
        area = width * height * random.uniform(*kind.scale)
        aspect = math.exp(random.uniform(*map(math.log, RATIO)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def check(inputs: Inputs, theirs: Tensor, ours: Tensor) -> None:
    """Shape and type, the share of gray views, and brightness and contrast of the views on average."""
    assert theirs.shape == ours.shape, f"shape {tuple(theirs.shape)}, ours {tuple(ours.shape)}"
    assert theirs.dtype == ours.dtype, f"dtype {theirs.dtype}, ours {ours.dtype}"
    facts = []
    for views in (ours, theirs):
        colours = views * views.new_tensor(STD)[:, None, None] + views.new_tensor(MEAN)[:, None, None]
        assert float(colours.min()) > -1e-3, "a colour is below 0"
        assert float(colours.max()) < 1 + 1e-3, "a colour is above 1"
        gray = (colours.amax(1) - colours.amin(1)).amax((1, 2)) < 3 / 255
        facts.append((gray.float(), colours.mean((1, 2, 3)), colours.std((2, 3)).mean(1)))
    rows = len(ours)
    for what, our, their in zip(("share of gray views", "mean", "standard deviation"), *facts, strict=True):
        error = math.sqrt(float(our.var() + their.var()) / rows)
        difference = float(their.mean() - our.mean())
        assert abs(difference) < 4 * error + 0.01, f"{what} {float(their.mean()):.3f}, ours {float(our.mean()):.3f}"


PROVIDERS = {
    "sslfast": ours,
    **{name: beside(make) for name, make in view_peers.ALL.items()},
    "Pillow": pillow,
}


INTO_A_BUFFER = {
    "sslfast": ours_into_a_buffer,
    "albumentations": into_a_buffer(view_peers.albumentations),
    "augrs": into_a_buffer(view_peers.augrs),
}
ON_ARRAYS = {"sslfast": ours_on_arrays} | {name: PROVIDERS[name] for name in ("albumentations", "augrs")}


def case(
    rows: int, side: int, size: int, *, op: str = "simclr_augment", providers: Any = PROVIDERS, **options: Any
) -> Case:
    return Case(
        op=op,
        size=f"{rows} of {side} to {size}",
        dtype="uint8 to fp32",
        make_inputs=partial(make_inputs, rows=rows, side=side, size=size),
        providers=providers,
        check=check,
        work=rows * 3 * (0.48 * side**2 + 4 * size**2),
        unit="B",
        formula="3 (0.48 H W + 4 S S) B a view",
        **options,
    )


def cases() -> list[Case]:
    arrays = {"op": "simclr_augment NumPy", "providers": ON_ARRAYS, "devices": ("cpu",)}
    return [
        case(64, 256, 224, memory=True),
        case(512, 32, 32),
        case(8, 32, 32, quick=True),
        case(64, 256, 224, **arrays),
        case(64, 256, 224, op="simclr_augment into a buffer", providers=INTO_A_BUFFER, devices=("cpu",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
