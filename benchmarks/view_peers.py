"""The pipelines that make views of images, each in its library's own way: what our recipes are measured beside.

Every function takes the images and a list of views and returns a call that makes the batch of each view. The images
lie ready in the library's own form; libraries that work image by image also stack. They differ in the resize
(albumentations, augrs and kornia do not antialias), in hue (8 bits in albumentations, augrs and Pillow), and in the
order of the jitter's steps, which kornia draws once a batch and DALI does not draw. augrs has no solarize.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call

RATIO = (3 / 4, 4 / 3)
FLIP, JITTER, GRAY = 0.5, 0.8, 0.2
SIGMA = (0.1, 2.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CV2 = {"bilinear": 1, "bicubic": 2}

Factors = tuple[float, float, float, float]
Batch = Callable[[list[np.ndarray]], Tensor]


class Inputs(NamedTuple):
    images: Tensor
    size: int

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


class View(NamedTuple):
    """One kind of view: what differs between the recipes."""

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    blur: float = 0.5  # probability
    jitter: Factors = (0.8, 0.8, 0.8, 0.2)
    solarize: float = 0.0
    interpolation: str = "bilinear"

    @property
    def kernel(self) -> int:
        """Ours: the odd number at or below a tenth of the side plus one."""
        return max(3, int(0.1 * self.size) // 2 * 2 + 1)

    @property
    def factors(self) -> list[tuple[float, float]]:
        """Between which brightness, contrast and saturation are drawn."""
        return [(1 - strength, 1 + strength) for strength in self.jitter[:3]]

    def bytes_of(self, side: int, element: int = 2) -> float:
        """The floor of one view of an image of ``side``, of elements of so many bytes."""
        return 3 * (sum(self.scale) / 2 * side**2 + element * self.size**2)


def dino(local_views: int) -> list[View]:
    """DINO's multi-crop."""
    view = partial(View, jitter=(0.4, 0.4, 0.2, 0.1), interpolation="bicubic")
    first, second = view(224, (0.4, 1.0), 1.0), view(224, (0.4, 1.0), 0.1, solarize=0.2)
    return [first, second, *[view(96, (0.05, 0.4), 0.5)] * local_views]


def torchvision_steps(view: View, first: list[Any], last: list[Any]) -> Callable[[Any], Tensor]:
    v2 = peers.load("torchvision.transforms.v2")
    mode = v2.InterpolationMode(view.interpolation)
    return v2.Compose(
        [
            v2.RandomResizedCrop(view.size, view.scale, RATIO, mode, antialias=True),
            v2.RandomHorizontalFlip(FLIP),
            v2.RandomApply([v2.ColorJitter(*view.jitter)], JITTER),
            v2.RandomGrayscale(GRAY),
            *([v2.RandomApply([v2.GaussianBlur(view.kernel, SIGMA)], view.blur)] if view.blur else []),
            *([v2.RandomSolarize(128, view.solarize)] if view.solarize else []),
            *first,
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            *last,
        ]
    )


def torchvision_tensors(inputs: Inputs, views: list[View], dtype: torch.dtype = torch.float32) -> Call:
    last = [] if dtype == torch.float32 else [peers.load("torchvision.transforms.v2").ToDtype(dtype)]
    made, images = [torchvision_steps(view, [], last) for view in views], list(inputs.images)
    return lambda: [torch.stack([steps(image) for image in images]) for steps in made]


def torchvision_pil(inputs: Inputs, views: list[View]) -> Call:
    images, first = pil_images(inputs), [peers.load("torchvision.transforms.v2").ToImage()]
    made = [torchvision_steps(view, first, []) for view in views]
    return lambda: [torch.stack([steps(image) for image in images]) for steps in made]


def kornia_steps(view: View, device: torch.device) -> torch.nn.Module:
    k, size = peers.load("kornia.augmentation"), (view.size, view.size)
    mode = {"resample": view.interpolation, "align_corners": False, "cropping_mode": "slice"}
    return torch.nn.Sequential(
        k.RandomResizedCrop(size, view.scale, RATIO, **mode),
        k.RandomHorizontalFlip(FLIP),
        k.ColorJitter(*view.jitter, p=JITTER),
        k.RandomGrayscale(p=GRAY),
        *([k.RandomGaussianBlur((view.kernel, view.kernel), SIGMA, p=view.blur)] if view.blur else []),
        *([k.RandomSolarize((0.5, 0.5), (0.0, 0.0), p=view.solarize)] if view.solarize else []),
        k.Normalize(torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)),
    ).to(device)


def kornia(inputs: Inputs, views: list[View], dtype: torch.dtype = torch.float32) -> Call:
    made = [kornia_steps(view, inputs.images.device) for view in views]

    def call() -> list[Tensor]:
        floats = inputs.images / 255
        return [steps(floats).to(dtype) for steps in made]

    return call


def _steps_on_arrays(library: Any, view: View) -> list[Any]:
    """albumentations' steps; augrs takes the same names. Their kernel follows from sigma."""
    size, mode, hue = (view.size, view.size), _CV2[view.interpolation], view.jitter[3]
    solarize = view.solarize and hasattr(library, "Solarize")
    return [
        library.RandomResizedCrop(size=size, scale=view.scale, ratio=RATIO, interpolation=mode),
        library.HorizontalFlip(p=FLIP),
        library.ColorJitter(*view.factors, (-hue, hue), p=JITTER),
        library.ToGray(p=GRAY),
        *([library.GaussianBlur((0, 0), SIGMA, p=view.blur)] if view.blur else []),
        *([library.Solarize(p=view.solarize)] if solarize else []),
        library.Normalize(mean=MEAN, std=STD),
    ]


def arrays(inputs: Inputs) -> list[np.ndarray]:
    return list(inputs.on_cpu().permute(0, 2, 3, 1).contiguous().numpy())


def pil_images(inputs: Inputs) -> list[Any]:
    image = peers.load("PIL.Image")
    return [image.fromarray(array) for array in arrays(inputs)]


def batch(views: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)


def albumentations(inputs: Inputs, views: list[View], batch: Batch = batch) -> Call:
    library = peers.load("albumentations")
    peers.load("cv2").setNumThreads(torch.get_num_threads())
    made = [library.Compose(_steps_on_arrays(library, view), seed=seed) for seed, view in enumerate(views)]
    images = arrays(inputs)
    return lambda: [batch([steps(image=image)["image"] for image in images]) for steps in made]


def augrs(inputs: Inputs, views: list[View], batch: Batch = batch) -> Call:
    library, images, threads = peers.load("augrs"), arrays(inputs), torch.get_num_threads()
    made = [library.Compose(_steps_on_arrays(library, view)) for view in views]
    return lambda: [batch([one["image"] for one in steps.augment_batch(images, num_threads=threads)]) for steps in made]


def dali(inputs: Inputs, views: list[View]) -> Call:
    """The jitter is one of its operations, and gray one without colour. One pipeline makes all views."""
    library, images = peers.load("nvidia.dali"), arrays(inputs)
    fn, types = library.fn, library.types
    modes = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))

    def happens(probability: float) -> Any:
        return fn.random.coin_flip(probability=probability, dtype=types.BOOL)

    def steps(x: Any, view: View) -> Any:
        x = fn.random_resized_crop(
            x,
            size=(view.size, view.size),
            random_area=view.scale,
            random_aspect_ratio=RATIO,
            interp_type=modes[view.interpolation],
            antialias=True,
        )
        if happens(JITTER):
            brightness, contrast, saturation = (fn.random.uniform(range=factors) for factors in view.factors)
            turn = fn.random.uniform(range=(-360 * view.jitter[3], 360 * view.jitter[3]))
            x = fn.color_twist(x, brightness=brightness, contrast=contrast, saturation=saturation, hue=turn)
        if happens(GRAY):
            x = fn.hsv(x, saturation=0.0)
        if view.blur > 0 and happens(view.blur):
            x = fn.gaussian_blur(x, sigma=fn.random.uniform(range=SIGMA), window_size=view.kernel)
        if view.solarize > 0 and happens(view.solarize):
            bright = types.Constant(1, dtype=types.UINT8) * (x >= 128)
            x = fn.cast(bright * (255 - x) + (1 - bright) * x, dtype=types.UINT8)
        mirror = fn.random.coin_flip(probability=FLIP)
        return fn.crop_mirror_normalize(x, mean=mean, std=std, mirror=mirror, output_layout="CHW")

    @library.pipeline_def(batch_size=len(images), num_threads=torch.get_num_threads(), device_id=None, seed=0)
    def pipeline() -> Any:
        x = fn.external_source(source=lambda: images, layout="HWC", no_copy=True)
        return tuple([steps(x, view) for view in views])

    pipe = pipeline(enable_conditionals=True, exec_async=False, exec_pipelined=False)
    pipe.build()
    return lambda: [torch.from_numpy(views.as_array()) for views in pipe.run()]


ALL = {
    "torchvision tensors": torchvision_tensors,
    "torchvision PIL": torchvision_pil,
    "kornia": kornia,
    "albumentations": albumentations,
    "augrs": augrs,
    "DALI": dali,
}
