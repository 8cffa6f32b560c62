"""Several views of images over NumPy arrays: what the recipes of ``sslfast.augment`` give, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast.host import _arguments, _images, _plan_text
from sslfast.host._images import Images
from sslfast.host._replay import ImageSize
from sslfast.host.image_augment import ImageAugment, sample_runs


class ImageViews:
    """Several views of every image: a recipe or ``MultiView`` of :mod:`sslfast.augment` over NumPy arrays.

    ``recipe.host()`` makes it; it is to ``ImageAugment`` what ``MultiView`` is to a transform.

    Args:
        name: the recipe's, for messages.
        transforms: one for each view. Where one stands several times in a row, its views are made together.
    """

    def __init__(self, name: str, transforms: Sequence[ImageAugment]) -> None:
        self._name, self.transforms = name, list(transforms)

    def __repr__(self) -> str:
        return f"ImageViews({self._name}: {self.views} views)"

    @property
    def views(self) -> int:
        """Views of every image, V."""
        return len(self.transforms)

    def __call__(
        self,
        images: Images,
        *,
        seed: int,
        row_offset: int = 0,
        sample_ids: NDArray[np.int64] | None = None,
        layout: str = "NHWC",
        out_layout: str | None = None,
        out: Sequence[NDArray[Any]] | None = None,
        threads: int = 1,
    ) -> list[NDArray[Any]]:
        """All views of a batch: a list of V arrays. Takes and raises what ``ImageAugment`` does; ``out`` is a list.

        Raises:
            ValueError: ``out`` has not one array per view.
        """
        batch = _images.read_images(self._name, images, layout)
        params = sample_runs(self._name, self._runs(), batch, seed, row_offset, sample_ids, threads)
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
    ) -> list[NDArray[np.float32]]:
        """The parameters that a call would draw: one float32 (N, columns) a view. Takes and raises what it does."""
        batch = _images.read_images(self._name, images, layout)
        return sample_runs(self._name, self._runs(), batch, seed, row_offset, sample_ids, threads)

    def apply_params(
        self,
        images: Images,
        params: Sequence[NDArray[np.float32]],
        *,
        layout: str = "NHWC",
        out_layout: str | None = None,
        out: Sequence[NDArray[Any]] | None = None,
        threads: int = 1,
    ) -> list[NDArray[Any]]:
        """The views that ``params``, one array a view, describes. Takes and raises what a call does, and

        Raises:
            ValueError: ``params`` has not one array per view, or has a contrast that a ``ColorJitter`` never draws.
        """
        batch = _images.read_images(self._name, images, layout)
        self._check_each("params", params)
        checked = [
            _arguments.image_params(self._name, one, batch.rows, len(transform.columns))
            for one, transform in zip(params, self.transforms, strict=True)
        ]
        for one, transform in zip(checked, self.transforms, strict=True):
            transform._plan.check_contrast(self._name, one)
        return self._make(batch, checked, layout, out_layout, out, threads)

    def _check_each(self, argument: str, arrays: Sequence[NDArray[Any]]) -> None:
        """Raises ValueError unless ``arrays`` is a list of one per view."""
        if not isinstance(arrays, (tuple, list)) or len(arrays) != self.views:
            got = len(arrays) if isinstance(arrays, (tuple, list)) else type(arrays).__name__
            raise ValueError(f"{self._name}: {argument} must be a list of {self.views} arrays, got {got}")

    def apply_masks(
        self,
        masks: Images,
        params: Sequence[NDArray[np.float32]],
        *,
        layout: str = "NHWC",
        fill: float = 0,
        threads: int = 1,
    ) -> list[NDArray[Any]]:
        """The geometry of ``params``, one array a view, on masks: ``ImageAugment.apply_masks``, view by view."""
        self._check_each("params", params)
        both = zip(self.transforms, params, strict=True)
        return [transform.apply_masks(masks, one, layout=layout, fill=fill, threads=threads) for transform, one in both]

    def apply_keypoints(
        self, points: NDArray[Any], params: Sequence[NDArray[np.float32]], image_size: ImageSize
    ) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
        """The geometry of ``params``, one array a view, on points: ``ImageAugment.apply_keypoints``, view by view."""
        self._check_each("params", params)
        both = zip(self.transforms, params, strict=True)
        return [transform.apply_keypoints(points, one, image_size) for transform, one in both]

    def apply_boxes(
        self, boxes: NDArray[Any], params: Sequence[NDArray[np.float32]], image_size: ImageSize
    ) -> list[NDArray[Any]]:
        """The geometry of ``params``, one array a view, on boxes: ``ImageAugment.apply_boxes``, view by view."""
        self._check_each("params", params)
        both = zip(self.transforms, params, strict=True)
        return [transform.apply_boxes(boxes, one, image_size) for transform, one in both]

    def to_json(self) -> str:
        """The views as text, for ``from_json``."""
        kinds = list({id(one): one for one in self.transforms}.values())
        order = [next(k for k, kind in enumerate(kinds) if kind is one) for one in self.transforms]
        return _plan_text.write([one._name for one in kinds], [one._plan for one in kinds], order)

    @classmethod
    def from_json(cls, text: str) -> ImageViews:
        """The views that ``to_json`` wrote down, of an ``ImageAugment`` too.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: it is not of ``to_json``.
        """
        names, plans, order = _plan_text.read("ImageViews.from_json", text)
        kinds = [ImageAugment(name, plan) for name, plan in zip(names, plans, strict=True)]
        return cls("ImageViews", [kinds[k] for k in order])

    def _make(
        self,
        batch: _images.Batch,
        params: Sequence[NDArray[np.float32]],
        layout: str,
        out_layout: str | None,
        out: Sequence[NDArray[Any]] | None,
        threads: int,
    ) -> list[NDArray[Any]]:
        last = _images.channels_are_last(self._name, "out_layout", layout if out_layout is None else out_layout)
        count = _arguments.threads(self._name, threads)
        views: list[NDArray[Any]] = []
        if out is not None:
            self._check_each("out", out)
        for transform, together in self._runs(together=out is None):
            stacked = np.stack(params[len(views) : len(views) + together], 1)
            to = None if out is None else out[len(views)]
            views.extend(_images.render(self._name, transform._plan, batch, stacked, last, to, count))
        return views if out is None else list(out)

    def _runs(self, together: bool = True) -> list[tuple[ImageAugment, int]]:
        """Each transform and how often it stands in a row; one by one those of several passes, and unless together."""
        runs: list[tuple[ImageAugment, int]] = []
        for transform in self.transforms:
            if together and runs and runs[-1][0] is transform and len(transform._plan.segments) == 1:
                runs[-1] = (transform, runs[-1][1] + 1)
            else:
                runs.append((transform, 1))
        return runs
