"""SimCLR's augmentation, uint8 images to one normalised float32 batch, beside six image pipelines; over NumPy arrays
beside the two that take these; and into a buffer that is used again, as a loader with pinned memory has one: fresh
memory, which the system clears, costs more than a quarter of ours.

Everywhere: random resized crop (0.08, 1), flip 0.5, jitter (0.8, 0.8, 0.8, 0.2) with probability 0.8, gray 0.2, at 224
also blur (23 pixels, sigma 0.1 to 2) with probability 0.5, normalise. The images lie ready in each library's own form;
the batch of views is what comes out, so libraries that work image by image also stack. They differ in the resize
(albumentations, augrs and kornia do not antialias), in hue (8 bits in albumentations, augrs and Pillow), in blur (three
boxes in Pillow), and kornia shares the order of the jitter's steps within a batch.

Floor of a view: the crop read once (0.48 of the image on average, 1 byte a value) and 4 bytes a value written.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
FLIP, JITTER, GRAY = 0.5, 0.8, 0.2
STRENGTH, HUE = 0.8, 0.2
FACTORS = (1 - STRENGTH, 1 + STRENGTH)
KERNEL, SIGMA, BLUR = 23, (0.1, 2.0), 0.5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Inputs(NamedTuple):
    images: Tensor
    size: int

    @property
    def blurred(self) -> bool:
        """The paper does not blur images of 32 x 32."""
        return self.size > 32

    def on_cpu(self) -> Tensor:
        if self.images.is_cuda:
            raise RuntimeError("works on the CPU only")
        return self.images


def make_inputs(device: torch.device, *, rows: int, side: int, size: int) -> Inputs:
    """Smooth coloured images with some noise: their crops differ as those of photographs do."""
    coarse = torch.rand(rows, 3, 6, 6)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    images = (smooth * 235 + torch.rand(rows, 3, side, side) * 20).to(torch.uint8)
    return Inputs(images.to(device), size)


def ours(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=BLUR * inputs.blurred, mean=MEAN, std=STD)
    return lambda: augment(inputs.images)[0]


def ours_into_a_buffer(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=BLUR * inputs.blurred, mean=MEAN, std=STD)
    buffer = augment(inputs.images)
    return lambda: augment(inputs.images, out=buffer)[0]


def ours_on_arrays(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=BLUR * inputs.blurred, mean=MEAN, std=STD).host()
    images, threads, seeds = _arrays(inputs), torch.get_num_threads(), itertools.count()
    return lambda: torch.from_numpy(augment(images, seed=next(seeds), threads=threads)[0]).permute(0, 3, 1, 2)


def _torchvision_steps(inputs: Inputs, first: list[Any]) -> Callable[[Any], Tensor]:
    v2, size = peers.load("torchvision.transforms.v2"), inputs.size
    blur = [v2.RandomApply([v2.GaussianBlur(KERNEL, SIGMA)], BLUR)] if inputs.blurred else []
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, SCALE, RATIO, antialias=True),
            v2.RandomHorizontalFlip(FLIP),
            v2.RandomApply([v2.ColorJitter(STRENGTH, STRENGTH, STRENGTH, HUE)], JITTER),
            v2.RandomGrayscale(GRAY),
            *blur,
            *first,
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def torchvision_tensors(inputs: Inputs) -> Call:
    steps, images = _torchvision_steps(inputs, []), list(inputs.images)
    return lambda: torch.stack([steps(image) for image in images])


def torchvision_pil(inputs: Inputs) -> Call:
    images = _pil_images(inputs)
    steps = _torchvision_steps(inputs, [peers.load("torchvision.transforms.v2").ToImage()])
    return lambda: torch.stack([steps(image) for image in images])


def kornia(inputs: Inputs) -> Call:
    k = peers.load("kornia.augmentation")
    side = (inputs.size, inputs.size)
    steps = torch.nn.Sequential(
        k.RandomResizedCrop(side, SCALE, RATIO, align_corners=False, cropping_mode="slice"),
        k.RandomHorizontalFlip(FLIP),
        k.ColorJitter(STRENGTH, STRENGTH, STRENGTH, HUE, p=JITTER),
        k.RandomGrayscale(p=GRAY),
        *([k.RandomGaussianBlur((KERNEL, KERNEL), SIGMA, p=BLUR)] if inputs.blurred else []),
        k.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )
    return lambda: steps(inputs.images / 255)


def _steps_on_arrays(library: Any, inputs: Inputs) -> list[Any]:
    """albumentations' steps; augrs takes the same names. Their kernel follows from sigma."""
    size = inputs.size
    return [
        library.RandomResizedCrop(size=(size, size), scale=SCALE, ratio=RATIO),
        library.HorizontalFlip(p=FLIP),
        library.ColorJitter(FACTORS, FACTORS, FACTORS, (-HUE, HUE), p=JITTER),
        library.ToGray(p=GRAY),
        *([library.GaussianBlur((0, 0), SIGMA, p=BLUR)] if inputs.blurred else []),
        library.Normalize(mean=MEAN, std=STD),
    ]


def _arrays(inputs: Inputs) -> list[np.ndarray]:
    return list(inputs.on_cpu().permute(0, 2, 3, 1).contiguous().numpy())


def _batch(views: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)


def albumentations(inputs: Inputs, batch: Callable[[list[np.ndarray]], Tensor] = _batch) -> Call:
    library = peers.load("albumentations")
    peers.load("cv2").setNumThreads(torch.get_num_threads())
    steps, images = library.Compose(_steps_on_arrays(library, inputs), seed=0), _arrays(inputs)
    return lambda: batch([steps(image=image)["image"] for image in images])


def augrs(inputs: Inputs, batch: Callable[[list[np.ndarray]], Tensor] = _batch) -> Call:
    library = peers.load("augrs")
    steps, images = library.Compose(_steps_on_arrays(library, inputs)), _arrays(inputs)
    threads = torch.get_num_threads()
    return lambda: batch([view["image"] for view in steps.augment_batch(images, num_threads=threads)])


def _into_a_buffer(peer: Callable[..., Call]) -> Callable[[Inputs], Call]:
    """The peer, its views stacked into one buffer that every call writes again."""

    def provider(inputs: Inputs) -> Call:
        buffer = np.empty((len(inputs.images), inputs.size, inputs.size, 3), np.float32)
        return peer(inputs, lambda views: torch.from_numpy(np.stack(views, out=buffer)).permute(0, 3, 1, 2))

    return provider


def _pil_images(inputs: Inputs) -> list[Any]:
    image = peers.load("PIL.Image")
    return [image.fromarray(array) for array in _arrays(inputs)]


def pillow(inputs: Inputs) -> Call:
    """The same steps by hand: the least that a pipeline on Pillow images costs."""
    images = _pil_images(inputs)
    image, enhance = peers.load("PIL.Image"), peers.load("PIL.ImageEnhance")
    gaussian = peers.load("PIL.ImageFilter").GaussianBlur
    scale = 1 / (255 * np.array(STD, np.float32))
    shift = np.array(MEAN, np.float32) / np.array(STD, np.float32)

    def hue(view: Any) -> Any:
        h, s, v = view.convert("HSV").split()
        turned = np.asarray(h) + np.uint8(int(random.uniform(-HUE, HUE) * 255) % 256)
        return image.merge("HSV", (image.fromarray(turned), s, v)).convert("RGB")

    jitter: list[Callable[[Any], Any]] = [hue]
    for step in (enhance.Brightness, enhance.Contrast, enhance.Color):
        jitter.append(lambda view, step=step: step(view).enhance(random.uniform(*FACTORS)))

    def augment(picture: Any) -> np.ndarray:
        view = picture.resize((inputs.size, inputs.size), image.Resampling.BILINEAR, box=_crop(*picture.size))
        if random.random() < FLIP:
            view = view.transpose(image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < JITTER:
            for step in random.sample(jitter, len(jitter)):
                view = step(view)
        if random.random() < GRAY:
            view = view.convert("L").convert("RGB")
        if inputs.blurred and random.random() < BLUR:
            view = view.filter(gaussian(random.uniform(*SIGMA)))
        return np.asarray(view) * scale - shift

    return lambda: _batch([augment(picture) for picture in images])


def _crop(width: int, height: int) -> tuple[int, int, int, int]:
    """A random crop's box by torchvision's rule: ten tries, then the largest central one."""
    for _ in range(10):
        area = width * height * random.uniform(*SCALE)
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
    "torchvision tensors": torchvision_tensors,
    "torchvision PIL": torchvision_pil,
    "kornia": kornia,
    "albumentations": albumentations,
    "augrs": augrs,
    "Pillow": pillow,
}


INTO_A_BUFFER = {
    "sslfast": ours_into_a_buffer,
    "albumentations": _into_a_buffer(albumentations),
    "augrs": _into_a_buffer(augrs),
}
ON_ARRAYS = {"sslfast": ours_on_arrays, "albumentations": albumentations, "augrs": augrs}


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
