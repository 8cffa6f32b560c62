"""Boxes erased at the end of a list: drawn and written with the views, as afterwards, bit for bit."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import photos
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sslfast import augment as A
from sslfast import ops
from sslfast.augment._transform import Transform
from sslfast.random import seed_tensor, step_seed

RULES = {"scale": (0.05, 0.4), "ratio": (0.3, 3.3)}
TYPES = [torch.uint8, torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def whole() -> list[Transform]:
    return [A.RandomResizedCrop((35, 38)), A.RandomHorizontalFlip(), A.GaussianBlur(5, p=0.5)]


def passes() -> list[Transform]:
    return [A.Resize((33, 41)), A.GaussianBlur(3), A.RandomRotation(30)]


def boxes(channels: int, dtype: torch.dtype) -> list[A.RandomErasing]:
    """One value, one per channel, and noise where that can be."""
    many = tuple(float(17 * c) for c in range(channels))
    noise = [A.RandomErasing(0.8, **RULES, value="random")] if dtype != torch.uint8 else []
    return [A.RandomErasing(0.9, **RULES, value=3.0), *noise, A.RandomErasing(0.7, **RULES, value=many)]


def erased_afterwards(transform: Transform, plain: Transform, images: Tensor, params: Tensor, **form: object) -> Tensor:
    columns = len(plain.columns)
    views = plain.apply_params(images, params[:, :columns].contiguous(), **form)
    for number, (_, _, _, values, noise) in enumerate(transform._plan.erases):
        part = params[:, columns + 6 * number : columns + 6 * number + 6].contiguous()
        ops.erase_boxes_(views, part, list(values), noise)
    return views


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_within_a_list_as_afterwards(
    device: torch.device, channels: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """In views made whole and pass by pass, and into a given buffer."""
    images = photos(5, channels, 40, 44).to(device)
    for steps in (whole(), passes()):
        more = [A.ToDtype(dtype)] if dtype == torch.uint8 else [A.Normalize((0.4,), (0.3,)), A.ToDtype(dtype)]
        plain = A.Compose([*steps, *more])
        transform = A.Compose([*steps, *more, *boxes(channels, dtype)])
        params = transform.sample_params(images, generator=4)
        want = erased_afterwards(transform, plain, images, params, memory_format=layout)
        got = transform.apply_params(images, params, memory_format=layout)
        assert got.stride() == want.stride()
        assert torch.equal(got, want)
        assert not torch.equal(got, plain.apply_params(images, params[:, : len(plain.columns)].contiguous()))
        out = torch.empty_like(want)
        assert torch.equal(transform.apply_params(images, params, out=out), want)
        assert torch.equal(out, want)


def test_boxes_that_are_anything(device: torch.device) -> None:
    """Out of range, of no size, no number: cut to the view, as afterwards."""
    images = photos(6, 3, 20, 22).to(device)
    plain, noise = A.Compose([A.Resize((17, 19)), A.ToDtype()]), A.RandomErasing(1.0, value="random")
    transform = A.Compose([*plain.transforms, noise])
    params = transform.sample_params(images, generator=1)
    nan, big = float("nan"), 1e30
    rows = [[-3, 2, 9, 5], [4, nan, 3, 4], [0, 0, big, big], [16, 18, 5, 5], [17, 19, 2, 2], [3, 3, 0, 4]]
    params[:, -6:-2] = torch.tensor(rows, device=device)
    params[4, -2:] = torch.tensor([-1.0, big], device=device)
    got = transform.apply_params(images, params)
    assert torch.equal(got, erased_afterwards(transform, plain, images, params))
    assert got.isfinite().all()


@pytest.mark.parametrize("ids", [None, (9, 2, 2**40)])
def test_the_draws_are_those_of_the_boxes_alone(device: torch.device, ids: tuple[int, ...] | None) -> None:
    """Each box of each view has the seed of a step of its own."""
    images = photos(3, 3, 30, 32).to(device)
    transform = A.Compose([A.RandomResizedCrop((24, 20)), A.Resize(8), A.ColorJitter(0.4), *boxes(3, torch.float32)])
    transform = A.Compose([*transform.transforms[:3], A.ToDtype(), *transform.transforms[3:]])
    numbers = None if ids is None else torch.tensor(ids, device=device)
    for seed in (5, -(2**62) - 3):
        key = seed_tensor(seed)
        got = transform._sample(images, 3, 2, key, 0 if ids else 7, numbers, "test")
        assert got.shape == (3, 3, len(transform.columns))
        for number, (p, scale, ratio, _, _) in enumerate(transform._plan.erases):
            for view in range(3):
                own = step_seed(key, (view + 2) * 16 + number).to(device)
                height, width = transform._plan.segments[-1].view_size("test", [(24, 20)])
                want = ops.random_erase_params(
                    *(images, own, numbers, 3, height, width, p, list(scale), list(ratio), 0 if ids else 7)
                )
                begin = len(transform.columns) - 6 * (3 - number)
                assert torch.equal(got[:, view, begin : begin + 6], want)


def test_more_values_than_go_along(device: torch.device) -> None:
    """Three boxes of 32 channels are written afterwards."""
    images = photos(2, 32, 9, 10).to(device)
    plain = A.Compose([A.Resize((8, 9)), A.ToDtype()])
    many = [A.RandomErasing(1.0, value=tuple(float(c + 40 * k) for c in range(32))) for k in range(3)]
    for count in (2, 3):
        transform = A.Compose([*plain.transforms, *many[:count]])
        params = transform.sample_params(images, generator=1)
        assert torch.equal(transform.apply_params(images, params), erased_afterwards(transform, plain, images, params))


def test_operators_refuse_other_boxes(device: torch.device) -> None:
    images = photos(2, 3, 8, 9).to(device)
    transform = A.Compose([A.Resize((5, 6)), *boxes(3, torch.uint8)])
    (segment,) = transform._plan.segments
    rules = [0.5, 0.1, 0.2, 0.3, 3.0] * 2
    drawn = (images, seed_tensor(1), None, 0, 2, 1, 0, None, 8, 9, segment.codes, segment.rules((5, 6)), rules)
    params = ops.image_augment_params(*drawn)
    form = ([0.0] * 3, [1.0] * 3)
    made = ([images], params, None, segment.codes, segment.settings, 5, 6, *form, torch.uint8, False)
    for wrong in ([0.0], [0.0, 2.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 3.0, 1.0, 2.0], [0.0, 1.0, 1.0] * 3):
        with pytest.raises(RuntimeError, match=r"erases must be|noise for|params must be"):
            ops.image_augment(*made, wrong)
    with pytest.raises(RuntimeError, match="must be in range"):
        ops.image_augment_params(*drawn[:-1], [1.5, 0.1, 0.2, 0.3, 3.0])


class Calls(TorchDispatchMode):
    """Operators that do more than look at a tensor in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        views = isinstance(result, Tensor) and any(result is not x and result._base is x for x in args[:1])
        if not func.is_view and not views:
            self.names.append(str(func))
        return result


def test_one_call_draws_and_one_makes(device: torch.device) -> None:
    """Whatever is erased: nothing joins columns, and nothing comes afterwards."""
    images = photos(4, 3, 30, 32).to(device)
    key = seed_tensor(3)
    for steps in (whole(), passes()):
        transform = A.Compose([*steps, A.ToDtype(), *boxes(3, torch.float32)])
        transform(images, generator=key)
        with Calls() as calls:
            transform(images, generator=key)
        assert calls.names == ["sslfast.image_augment_params.default", "sslfast.image_augment.default"]


def test_no_gradient_comes_out_of_a_box(device: torch.device) -> None:
    images = (photos(2, 3, 12, 12) / 255).to(device)
    plain = A.Compose([A.Resize((9, 9))])
    transform = A.Compose([A.Resize((9, 9)), A.RandomErasing(1.0, **RULES, value=0.5)])
    params = transform.sample_params(images, generator=1)
    found, wanted = images.clone().requires_grad_(), images.clone().requires_grad_()
    views = transform.apply_params(found, params)
    assert torch.equal(views, transform.apply_params(images, params))
    views.sum().backward()
    kept = views.detach() != 0.5
    assert 0 < int(kept.sum()) < kept.numel()
    (plain.apply_params(wanted, params[:, :10].contiguous()) * kept).sum().backward()
    assert torch.equal(found.grad, wanted.grad)
