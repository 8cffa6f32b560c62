"""Views of images over NumPy arrays: what the transforms of ``sslfast.augment`` give, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast._image_plan import Plan
from sslfast.host import _arguments, _images, _plan_text
from sslfast.host._images import Images
from sslfast.host._replay import Replayed


class ImageAugment(Replayed):
    """One view of every image: a transform of :mod:`sslfast.augment` over NumPy arrays.

    ``transform.host()`` makes it. It holds plain numbers, no torch: it can be pickled into a DataLoader's worker, and
    ``to_json`` writes it down for a process that has no torch. The same kernels run, with the GIL released: equal
    seeds give the bits that the transform gives on the CPU.

    Args:
        name: the transform's, for messages.
        plan: what it does.

    Raises:
        ValueError: views are to be bfloat16, which NumPy does not have.
    """

    def __init__(self, name: str, plan: Plan) -> None:
        if plan.dtype is not None and plan.dtype not in _images.DTYPES:
            raise ValueError(
                f"{name}: dtype must be one that NumPy has, float32, float16 or uint8, for host, got {plan.dtype}"
            )
        self._name, self._plan = name, plan

    def __repr__(self) -> str:
        return f"ImageAugment({self._name}: {', '.join(self.columns)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of an array of parameters."""
        return self._plan.columns

    def __call__(
        self,
        images: Images,
        *,
        seed: int,
        row_offset: int = 0,
        sample_ids: NDArray[np.int64] | None = None,
        layout: str = "NHWC",
        out_layout: str | None = None,
        out: NDArray[Any] | None = None,
        threads: int = 1,
    ) -> NDArray[Any]:
        """Transforms a batch, every image with draws of its own.

        Args:
            images: uint8, float32 or float16, shape (N, H, W, C) or (N, C, H, W) as ``layout`` says, C 1 to 32, any
                strides (``images[..., ::-1]`` for BGR is no copy); floats lie in [0, 1]. Or a sequence of N arrays
                without the N that may differ in height and width.
            seed: 64-bit signed seed, what the transform takes as ``generator=seed``; ``step_seed`` makes one a step.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
            layout: "NHWC" or "NCHW", of ``images``. Default: "NHWC".
            out_layout: "NHWC" or "NCHW", of the views. Default: None, ``layout``.
            out: where to write, contiguous, of the shape and dtype that would be returned. Default: None.
            threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

        Returns:
            An array of shape (N, h, w, C) or (N, C, h, w): of the dtype that ``ToDtype`` says, else uint8 for uint8
            images that are not normalised, else float32. ``out`` if it is given.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range, a layout is another word, ``out`` is not contiguous and
                writeable, a colour transform meets other than 1 or 3 channels, or images of several sizes meet
                transforms that keep them.
        """
        batch = _images.read_images(self._name, images, layout)
        params = sample_runs(self._name, [(self, 1)], batch, seed, row_offset, sample_ids, threads)[0]
        return self._make(batch, params, layout, out_layout, out, threads)

    def sample_params(
        self,
        images: Images,
        *,
        seed: int,
        row_offset: int = 0,
        sample_ids: NDArray[np.int64] | None = None,
        layout: str = "NHWC",
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """The parameters that a call would draw: float32 (N, len(columns)). Takes and raises what it does."""
        batch = _images.read_images(self._name, images, layout)
        return sample_runs(self._name, [(self, 1)], batch, seed, row_offset, sample_ids, threads)[0]

    def apply_params(
        self,
        images: Images,
        params: NDArray[np.float32],
        *,
        layout: str = "NHWC",
        out_layout: str | None = None,
        out: NDArray[Any] | None = None,
        threads: int = 1,
    ) -> NDArray[Any]:
        """The views that ``params`` describes. Takes, returns and raises what a call does.

        Args:
            images, layout, out_layout, out, threads: as of a call.
            params: float32 (N, len(columns)), of ``sample_params``, of the transform's, or by hand. What is out of
                range is clipped, but the contrast of a ``ColorJitter`` that never draws it must be 1.
        """
        batch = _images.read_images(self._name, images, layout)
        params = _arguments.image_params(self._name, params, batch.rows, len(self.columns))
        self._plan.check_contrast(self._name, params)
        return self._make(batch, params, layout, out_layout, out, threads)

    def to_json(self) -> str:
        """The transform as text, for ``from_json``."""
        return _plan_text.write([self._name], [self._plan], [0])

    @classmethod
    def from_json(cls, text: str) -> ImageAugment:
        """The transform that ``to_json`` wrote down.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: it is not of ``to_json``, or describes several views.
        """
        names, plans, order = _plan_text.read("ImageAugment.from_json", text)
        if len(order) != 1:
            raise ValueError(f"ImageAugment.from_json: text must describe one view, got {len(order)}")
        return cls(names[order[0]], plans[order[0]])

    def _make(
        self,
        batch: _images.Batch,
        params: NDArray[np.float32],
        layout: str,
        out_layout: str | None,
        out: NDArray[Any] | None,
        threads: int,
    ) -> NDArray[Any]:
        last = _images.channels_are_last(self._name, "out_layout", layout if out_layout is None else out_layout)
        count = _arguments.threads(self._name, threads)
        made = _images.render(self._name, self._plan, batch, params[:, None], last, out, count)[0]
        return made if out is None else out


def sample_runs(
    name: str,
    runs: Sequence[tuple[ImageAugment, int]],
    batch: _images.Batch,
    seed: int,
    row_offset: int,
    sample_ids: NDArray[np.int64] | None,
    threads: int,
) -> list[NDArray[np.float32]]:
    """One (N, columns) for each view."""
    bits, count = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    numbers = _arguments.numbered_rows(name, sample_ids, row_offset, batch.rows)
    params: list[NDArray[np.float32]] = []
    for transform, views in runs:
        drawn = _images.sample(name, transform._plan, batch, views, len(params), bits, numbers, count)
        params += [drawn[:, view] for view in range(views)]
    return params
