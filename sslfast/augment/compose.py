"""Transforms in a row, and several views of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from sslfast._image_plan import Plan, Planned
from sslfast.augment._images import Images, check_contrast, check_images, check_params, wants_gradient
from sslfast.augment._own_draws import DrawingModule
from sslfast.augment._replayed import ImageSize, Masks
from sslfast.augment._transform import Transform
from sslfast.augment.random_erase import RandomErasing
from sslfast.host import ImageAugment, ImageViews
from sslfast.random import Generator, seed_tensor

__all__ = ["Compose", "MultiView"]


class _Fixed(nn.ModuleList):
    """The transforms of a ``Compose``, whose plan is made once: another list is another ``Compose``."""

    def __init__(self, transforms: Iterable[nn.Module]) -> None:
        super().__init__()
        for i, transform in enumerate(transforms):
            super().add_module(str(i), transform)

    def _get_name(self) -> str:
        return "ModuleList"  # what a reader of a repr knows

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise AttributeError("Compose: transforms must not be changed; make a new Compose")

    __setitem__ = __delitem__ = __iadd__ = append = extend = insert = pop = _refuse
    add_module = register_module = _refuse

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, nn.Module) or name in self.__dict__.get("_modules", ()):
            self._refuse()
        super().__setattr__(name, value)  # type: ignore[arg-type]

    def __delattr__(self, name: str) -> None:
        if name in self._modules:
            self._refuse()
        super().__delattr__(name)


class Compose(Transform):
    """Transforms in a row, as few passes over the images as the list allows.

    One pass takes a crop or resizing, flips, and any number of steps on colours, blur and affine maps; a crop after
    such a step begins another. Views of float32, not normalised, lie between passes.

    Args:
        transforms: image transforms of this module, in order. ``Normalize`` and ``ToDtype`` count for the end,
            wherever they stand, and ``RandomErasing`` for what follows them: its value is written as it is.

    Raises:
        TypeError: one of them is not such a transform.
        ValueError: there is none, another changes pixels after a ``RandomErasing``, or that has its own generator.
    """

    def __init__(self, transforms: Sequence[Transform | RandomErasing]) -> None:
        super().__init__()
        name = type(self).__name__
        check_transforms(name, transforms, Planned)
        self.transforms = _Fixed(transforms)
        self._plan  # noqa: B018  (made here, not when it is first needed, which may be inside torch.compile)

    def _add(self, plan: Plan) -> None:
        for transform in self.transforms:
            assert isinstance(transform, Planned)
            transform._add(plan)


class MultiView(DrawingModule):
    """Several views of every image, each by a transform of its own, in one call.

    Args:
        transforms: one transform per view. Where one stands several times in a row, its views are made together.
        generator: what calls draw from that are given none: None | torch.Generator | int seed | int64 seed tensor. An
            int seeds a torch.Generator, so that successive calls differ and a run repeats; a DataLoader's workers mix
            it with the loader's seed, so that they and their epochs differ too. A tensor is the seed itself, read at
            every call. Default: None, torch's global generator.

    Raises:
        TypeError: a transform is none, or ``generator`` has the wrong type.
        ValueError: there is no transform.
    """

    def __init__(self, transforms: Sequence[Transform], *, generator: Generator = None) -> None:
        check_transforms(type(self).__name__, transforms)
        super().__init__(generator)
        self.transforms = nn.ModuleList(transforms)

    @property
    def views(self) -> int:
        """Views of every image, V."""
        return len(self.transforms)

    def host(self) -> ImageViews:
        """The views over NumPy arrays, for DataLoader workers and for loaders without torch: the same bits.

        Returns:
            A :class:`sslfast.host.ImageViews`, which holds no torch and is given a seed at every call.

        Raises:
            ValueError: a transform asks for bfloat16, which NumPy does not have.
        """
        made: dict[int, ImageAugment] = {}
        for transform in self.transforms:
            assert isinstance(transform, Transform)
            made.setdefault(id(transform), transform.host())
        return ImageViews(type(self).__name__, [made[id(transform)] for transform in self.transforms])

    def forward(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
        out: Sequence[Tensor] | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> list[Tensor]:
        """All views of a batch.

        Args:
            images: as a transform takes them: (N, C, H, W), or a sequence of (C, H, W).
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, the constructor's.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64, shape (N,), the numbers of the rows in the draws, instead of ``row_offset``.
            out: where to write, one tensor a view, as a transform takes it. Default: None.
            memory_format: torch.contiguous_format or torch.channels_last, of the views, unless ``out`` has one.
                Default: None, the channels last if the batch has them last; contiguous for a list.

        Returns:
            A list of V tensors of shape (N, C, h, w), each as its transform gives it: those of ``out`` if given.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range, ``out`` has not one tensor per view, or images require a
                gradient and ``out`` is given.
        """
        drawn = self._draw(images, generator, row_offset, sample_ids)
        if out is not None or wants_gradient(images):
            return self._make(images, [one for _, many in drawn for one in many.unbind(1)], out, memory_format)
        views: list[Tensor] = []
        for transform, params in drawn:
            views += transform._render(images, params, type(self).__name__, None, memory_format).unbind(0)
        return views

    def sample_params(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> list[Tensor]:
        """The parameters that ``forward`` would draw: one float32 (N, columns) for each view.

        Takes and raises what ``forward`` does.
        """
        drawn = self._draw(images, generator, row_offset, sample_ids)
        return [one for _, params in drawn for one in params.unbind(1)]

    def _draw(
        self, images: Images, generator: Generator, row_offset: int, sample_ids: Tensor | None
    ) -> list[tuple[Transform, Tensor]]:
        """Each transform and the parameters (N, views, columns) of its views that stand in a row."""
        name = type(self).__name__
        check_images(name, images)
        device = images.device if isinstance(images, Tensor) else images[0].device
        seed = seed_tensor(self._chosen(generator), function=name, device=device)
        drawn: list[tuple[Transform, Tensor]] = []
        views = 0
        for transform, count in self._runs():
            drawn.append((transform, transform._sample(images, count, views, seed, row_offset, sample_ids, name)))
            views += count
        return drawn

    def apply_params(
        self,
        images: Images,
        params: Sequence[Tensor],
        *,
        out: Sequence[Tensor] | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> list[Tensor]:
        """The views that ``params`` describes, one tensor a view. Takes ``out`` and ``memory_format`` as ``forward``.

        Raises what the transforms do, and

        Raises:
            ValueError: ``params`` or ``out`` has not one tensor per view.
        """
        name = type(self).__name__
        check_images(name, images)
        self._check_each("params", params)
        for transform, one in zip(self.transforms, params, strict=True):
            check_params(name, one, images, len(transform.columns))  # type: ignore[arg-type]
            check_contrast(name, transform._plan, one)  # type: ignore[arg-type]
        return self._make(images, params, out, memory_format)

    def apply_masks(self, masks: Masks, params: Sequence[Tensor], *, fill: float = 0) -> list[Tensor]:
        """The geometry of ``params``, one tensor a view, on masks: a transform's ``apply_masks``, view by view.

        Takes and raises what that does, and

        Raises:
            ValueError: ``params`` has not one tensor per view.
        """
        return [transform.apply_masks(masks, one, fill=fill) for transform, one in self._with(params)]

    def apply_keypoints(
        self, points: Tensor, params: Sequence[Tensor], image_size: ImageSize
    ) -> list[tuple[Tensor, Tensor]]:
        """The geometry of ``params``, one tensor a view, on points: a transform's ``apply_keypoints``, view by view.

        Takes and raises what that does, and

        Raises:
            ValueError: ``params`` has not one tensor per view.
        """
        return [transform.apply_keypoints(points, one, image_size) for transform, one in self._with(params)]

    def apply_boxes(self, boxes: Tensor, params: Sequence[Tensor], image_size: ImageSize) -> list[Tensor]:
        """The geometry of ``params``, one tensor a view, on boxes: a transform's ``apply_boxes``, view by view.

        Takes and raises what that does, and

        Raises:
            ValueError: ``params`` has not one tensor per view.
        """
        return [transform.apply_boxes(boxes, one, image_size) for transform, one in self._with(params)]

    def _with(self, params: Sequence[Tensor]) -> list[tuple[Transform, Tensor]]:
        self._check_each("params", params)
        return list(zip(self.transforms, params, strict=True))  # type: ignore[arg-type]

    def _check_each(self, argument: str, tensors: Sequence[Tensor]) -> None:
        """Raises ValueError unless ``tensors`` is a list of one per view."""
        if not isinstance(tensors, (tuple, list)) or len(tensors) != self.views:
            got = len(tensors) if isinstance(tensors, (tuple, list)) else type(tensors).__name__
            raise ValueError(f"{type(self).__name__}: {argument} must be a list of {self.views} tensors, got {got}")

    def _make(
        self,
        images: Images,
        params: Sequence[Tensor],
        out: Sequence[Tensor] | None,
        memory_format: torch.memory_format | None,
    ) -> list[Tensor]:
        views: list[Tensor] = []
        if out is not None:
            self._check_each("out", out)
        for transform, count in self._runs(together=out is None and not wants_gradient(images)):
            part = params[len(views) : len(views) + count]
            stacked = part[0].unsqueeze(1) if count == 1 else torch.stack(list(part), 1)
            to = None if out is None else out[len(views)]
            views += transform._render(images, stacked, type(self).__name__, to, memory_format).unbind(0)
        return views if out is None else list(out)

    def _runs(self, together: bool = True) -> list[tuple[Transform, int]]:
        """Each transform and how often it stands in a row; one by one those of several passes, and unless together."""
        runs: list[tuple[Transform, int]] = []
        for transform in self.transforms._modules.values():  # without ModuleList's iterator: a small call would notice
            assert isinstance(transform, Transform)
            if together and runs and runs[-1][0] is transform and len(transform._plan.segments) == 1:
                runs[-1] = (transform, runs[-1][1] + 1)
            else:
                runs.append((transform, 1))
        return runs


def check_transforms(name: str, transforms: Sequence[object], kind: type = Transform) -> None:
    """Raises TypeError or ValueError unless ``transforms`` is a list of at least one image transform."""
    if not isinstance(transforms, (tuple, list)) or len(transforms) == 0:
        raise ValueError(f"{name}: transforms must be a list of at least one transform, got {transforms!r:.80}")
    for i, transform in enumerate(transforms):
        if not isinstance(transform, kind):
            raise TypeError(
                f"{name}: transforms[{i}] must be a transform of sslfast.augment, got {type(transform).__name__}"
            )
