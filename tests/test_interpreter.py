"""The test tools themselves: the interpreter shim of conftest.py and the oracle must be able to fail."""

import pytest
import torch
from oracle import assert_no_worse

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")


@triton.jit
def _dot_kernel(a_ptr, b_ptr, out_ptr, SIZE: tl.constexpr, TRANSPOSED: tl.constexpr):
    i = tl.arange(0, SIZE)
    at = i[:, None] * SIZE + i[None, :]
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    tl.store(out_ptr + at, tl.dot(a, b.trans() if TRANSPOSED else b, tl.full((SIZE, SIZE), 1.0, tl.float32)))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dot_multiplies_values_not_bits(triton_device, dtype, transposed):
    a, b = (torch.randn(16, 16, device=triton_device).to(dtype) for _ in range(2))
    out = torch.empty(16, 16, device=triton_device)
    _dot_kernel[(1,)](a, b, out, SIZE=16, TRANSPOSED=transposed)
    truth = a.double() @ (b.T if transposed else b).double() + 1
    assert (out - truth).abs().max() < (1e-2 if dtype == torch.float32 and triton_device.type == "cuda" else 1e-5)


@triton.jit
def _cast_kernel(x_ptr, out_ptr, SIZE: tl.constexpr):
    i = tl.arange(0, SIZE)
    tl.store(out_ptr + i, tl.load(x_ptr + i).to(out_ptr.dtype.element_ty))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casts_round_to_the_nearest(triton_device, dtype):
    x = torch.cat([torch.randn(1021), torch.tensor([torch.nan, torch.inf, 0.0])]).to(triton_device)
    out = torch.empty(1024, dtype=dtype, device=triton_device)
    _cast_kernel[(1,)](x, out, SIZE=1024)
    assert torch.equal(out[:-3], x[:-3].to(dtype))
    assert out[-3].isnan()
    assert out[-2:].tolist() == [torch.inf, 0.0]


def test_oracle_accepts_what_is_no_worse():
    truth = torch.tensor([1.0, torch.nan, torch.inf], dtype=torch.float64)
    plain = torch.tensor([1.1, torch.nan, torch.inf])
    assert_no_worse(torch.tensor([0.95, torch.nan, torch.inf]), plain, truth, 0.0)
    assert_no_worse(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.float64), 0.0)


@pytest.mark.parametrize(
    ("ours", "plain", "truth"),
    [
        (1.2, 1.1, 1.0),  # a larger error
        (torch.nan, 1.1, 1.0),  # NaN from finite inputs
        (1.0, torch.nan, torch.nan),  # NaN turned into a plausible number
        (3e38, torch.inf, torch.inf),  # an overflow hidden
        (-torch.inf, torch.inf, torch.inf),
        (2.0, torch.nan, 1.0),  # plain torch is NaN: that excuses nothing
    ],
)
def test_oracle_rejects(ours, plain, truth):
    good = torch.ones(2, 3)
    values = [good.clone(), good.clone(), good.double()]
    for tensor, value in zip(values, (ours, plain, truth), strict=True):
        tensor[1, 2] = value
    with pytest.raises(AssertionError, match=r"1 of 6 elements .* at \(1, 2\)"):
        assert_no_worse(*values, tol=0.05)


def test_oracle_rejects_another_dtype_or_shape():
    x = torch.ones(2)
    with pytest.raises(AssertionError, match="float16"):
        assert_no_worse(x.half(), x, x.double(), 1.0)
    with pytest.raises(AssertionError, match="shapes"):
        assert_no_worse(torch.ones(2, 1), x, x.double(), 1.0)
