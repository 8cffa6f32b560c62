"""The base of all image transforms: checks, draws and the way to the operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import ops
from sslfast._arguments import numbered_rows
from sslfast._image_plan import Plan, Planned
from sslfast._image_steps import SEGMENT
from sslfast.augment._erasing import erase_rules, erase_settings, erase_views
from sslfast.augment._gradient import DifferentiableViews
from sslfast.augment._images import (
    Images,
    address_table,
    check_apart,
    check_contrast,
    check_differentiable,
    check_images,
    check_out,
    check_params,
    last_in_views,
    sizes_of,
    table_on,
    wants_gradient,
)
from sslfast.augment._replayed import Replayed
from sslfast.host import ImageAugment
from sslfast.random import Generator, seed_tensor


class Transform(Replayed, nn.Module, Planned):
    """What every image transform can do: be called on a batch, draw its parameters, replay them.

    A subclass says in ``_add`` what it asks of a plan. Arguments are checked and the plan is made once: attributes can
    be read, and a schedule makes a transform anew, in microseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: Plan | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and name != "training" and (name in self.__dict__ or name in self._modules):
            raise AttributeError(f"{type(self).__name__}: {name} must not be changed; make a new transform")
        super().__setattr__(name, value)  # type: ignore[arg-type]

    @property
    def _plan(self) -> Plan:
        if self._made is None:
            plan = Plan()
            self._add(plan)
            self._made = plan.complete()
        return self._made

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a parameter tensor. A name that comes again has its count behind it."""
        return self._plan.columns

    def host(self) -> ImageAugment:
        """The transform over NumPy arrays, for DataLoader workers and for loaders without torch: the same bits.

        Returns:
            A :class:`sslfast.host.ImageAugment`, which holds no torch.

        Raises:
            ValueError: ``ToDtype`` asks for bfloat16, which NumPy does not have.
        """
        return ImageAugment(type(self).__name__, self._plan)

    def forward(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
        out: Tensor | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor:
        """Transforms a batch, every image with draws of its own.

        Args:
            images: uint8, float32, bfloat16 or float16, shape (N, C, H, W), C 1 to 32, any strides; floats lie in
                [0, 1]. Or a sequence of N tensors (C, H, W) that may differ in height and width.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64, shape (N,), the numbers of the rows in the draws, instead of ``row_offset``.
            out: where to write, of the shape and dtype that would be returned, dense in either layout: a buffer used
                again spares the time that fresh memory costs. It shares none with ``images``. Default: None.
            memory_format: torch.contiguous_format or torch.channels_last, of the views, unless ``out`` has one.
                Default: None, the channels last if the batch has them last; contiguous for a list.

        Returns:
            A tensor of shape (N, C, h, w): of the dtype that ``ToDtype`` says, else uint8 for uint8 images that are
            not normalised, else float32. Dense. ``out`` if it is given.

        Raises:
            TypeError: ``images``, ``generator``, ``row_offset``, ``sample_ids`` or ``out`` has the wrong type.
            ValueError: a shape or a number is out of range, a colour transform meets other than 1 or 3 channels,
                images of several sizes meet transforms that keep them, ``memory_format`` is another, ``out`` requires a
                gradient or shares memory with the images. Or images require a gradient, and ``out`` is given, they are
                a list, become uint8, or meet a transform that has no gradient: posterize, equalize or RandAugment's.
        """
        params = self.sample_params(images, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        return self._render(images, params.unsqueeze(1), type(self).__name__, out, memory_format)[0]

    def sample_params(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """The parameters that ``forward`` would draw: float32 (N, len(columns)). Takes and raises what it does."""
        name = type(self).__name__
        check_images(name, images)
        device = images.device if isinstance(images, Tensor) else images[0].device
        seed = seed_tensor(generator, function=name, device=device)
        return self._sample(images, 1, 0, seed, row_offset, sample_ids, name).squeeze(1)

    def apply_params(
        self,
        images: Images,
        params: Tensor,
        *,
        out: Tensor | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor:
        """The views that ``params`` describes. (``nn.Module.apply`` is something else.)

        Args:
            images: as in ``forward``.
            params: float32, shape (N, len(columns)), on the device of ``images``: from ``sample_params`` or by hand.
                What is out of range is clipped. Not read on the host, but for a ``ColorJitter`` that never draws
                contrast, on a CPU: the contrast of its rows must be 1. Elsewhere a view of another is NaN, black
                where views are uint8.
            out, memory_format: as in ``forward``.

        Returns:
            The views, as ``forward``; ``out`` if it is given.

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape, device, format or contrast is, or images require a gradient and ``out`` is given.
        """
        name = type(self).__name__
        check_images(name, images)
        check_params(name, params, images, len(self.columns))
        check_contrast(name, self._plan, params)
        return self._render(images, params.unsqueeze(1), name, out, memory_format)[0]

    def _sample(
        self,
        images: Images,
        views: int,
        first_view: int,
        seed: Tensor,
        row_offset: int,
        sample_ids: Tensor | None,
        name: str,
    ) -> Tensor:
        """(N, views, columns). Segments count as views of their own in the draws."""
        plan = self._plan
        one, rows = (images, images.shape[0]) if isinstance(images, Tensor) else (images[0], len(images))
        device, like = one.device, one.detach() if one.requires_grad else one
        ids, offset = numbered_rows(name, sample_ids, row_offset, rows, device)
        sizes = sizes_of(images)
        parts = []
        for number, segment in enumerate(plan.segments):
            height, width = sizes[0]
            table = None if len(sizes) == 1 else table_on(name, device, sizes)
            size = segment.view_size(name, sizes)
            parts.append(
                ops.image_augment_params(
                    like,
                    seed,
                    ids,
                    offset,
                    rows,
                    views,
                    first_view + number * SEGMENT,
                    table,
                    height,
                    width,
                    segment.codes,
                    segment.rules(size),
                    erase_rules(plan) if number == len(plan.segments) - 1 else [],
                )
            )
            sizes = [size]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _render(
        self,
        images: Images,
        params: Tensor,
        name: str,
        out: Tensor | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor:
        """(V, N, C, h, w) from (N, V, columns)."""
        plan = self._plan
        views, start = params.shape[1], 0
        current = list(images) if not isinstance(images, Tensor) else [images]
        channels = current[0].shape[-3]
        plan.check_channels(name, channels)
        sizes = sizes_of(images)
        source_dtype = current[0].dtype
        mean, std = plan.normalisation(name, channels, source_dtype == torch.uint8)
        dtype = torch.uint8 if source_dtype == torch.uint8 and plan.mean is None else torch.float32
        if plan.dtype is not None:
            dtype = getattr(torch, plan.dtype)
        last = last_in_views(name, images, memory_format)
        gradient = wants_gradient(images)
        erases = [] if gradient else erase_settings(name, plan, channels, dtype)
        if out is not None and gradient:
            raise ValueError(f"{name}: out must be None for images that require a gradient, got a tensor")
        for number, segment in enumerate(plan.segments):
            size = segment.view_size(name, sizes)
            final = number == len(plan.segments) - 1
            end = params.shape[-1] if final and erases else start + len(segment.columns)
            part = params.contiguous() if end - start == params.shape[-1] else params[..., start:end].contiguous()
            start = end
            table = address_table(name, current)
            centre, spread = (mean, std) if final else ([0.0] * channels, [1.0] * channels)
            if final and out is not None:
                check_out(name, out, (len(images), channels, *size), dtype, params.device)
                check_apart(name, out, current)
                asked = (segment.codes, segment.settings, centre, spread)
                ops.image_augment_out(current, part, table, *asked, out[None], erases)
                return out[None] if erases else erase_views(name, plan, out[None], params[..., start:])
            kind = dtype if final else torch.float32
            if gradient:
                check_differentiable(name, plan, current, params, kind)
                form = (centre, spread, kind, last)
                done = DifferentiableViews.apply(current[0], part, segment, size, form).unsqueeze(0)
                current, sizes = [done[0]], [size]
                continue
            done = ops.image_augment(
                *(current, part, table, segment.codes, segment.settings, *size, centre, spread, kind, last),
                erases if final else [],
            )
            if not final:
                if views > 1:
                    raise ValueError(f"{name}: several views at once need transforms of one pass")
                current, sizes = [done[0]], [size]
        return erase_views(name, plan, done, params[..., start:]) if plan.erases and not erases else done
