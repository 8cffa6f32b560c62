"""mask_patches: the gather of what stays and its backward, bit for bit the reference, for any strides and size."""

from __future__ import annotations

import platform
import sys

import pytest
import torch
from compiled_program import words_of
from oracle import all_equal

from sslfast.masking import mask_patches, random_patch_mask
from sslfast.reference import patch_mask as reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.uint8, torch.int64, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 16, 768])  # 3: no whole 16-byte units
def test_gather_equals_reference(device, dtype, width):
    x = (torch.randn(5, 12, width) * 4).to(dtype)
    expected = reference.mask_patches(x, 0.6, seed=2)
    assert all_equal(mask_patches(x.to(device), 0.6, generator=2), expected)


def test_gather_of_any_strides(device):
    base = torch.randn(6, 20, 40).to(device)
    views = [
        base.transpose(0, 1)[:, :, :32],  # rows inside patches
        base.transpose(1, 2),  # the width is not contiguous
        base[:, :, ::2],
        base[1:, :, 1:],  # not aligned to 16 bytes
        base[:1].expand(4, 20, 40),
        base[:, :, :0],  # no width
    ]
    for view in views:
        expected = reference.mask_patches(view.cpu(), 0.5, seed=1)
        assert all_equal(mask_patches(view, 0.5, generator=1), expected), view.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "width", [1216, 1217, 31]
)  # rows of whole cache lines; begun anywhere in one; shorter than one
def test_large_copies(device, width, dtype):
    """Large outputs are stored past the caches, in memory fresh or reused (csrc/cpu/large_output.h)."""
    rows = 50_000_000 // (196 * width * dtype.itemsize)
    x = torch.randn(rows, 196, width, device=device).to(dtype).requires_grad_()
    for _ in range(2):
        kept, mask, ids_restore = mask_patches(x, 0.3, generator=3)
        ids_keep = torch.argsort(ids_restore, dim=1)[:, : kept.shape[1], None].expand(-1, -1, width)
        assert torch.equal(kept, x.gather(1, ids_keep))
        gradient = torch.randn_like(kept)
        (ours,) = torch.autograd.grad(kept, x, gradient)
        assert torch.equal(ours, torch.zeros_like(x).scatter(1, ids_keep, gradient))
        assert (ours[mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [5, 64])
def test_gradient_equals_reference(device, dtype, width):
    x = torch.randn(4, 30, width, dtype=dtype, requires_grad=True)
    y = x.detach().to(device).requires_grad_()
    expected, ours = reference.mask_patches(x, 0.7, seed=9)[0], mask_patches(y, 0.7, generator=9)[0]
    gradient = torch.randn(expected.shape, dtype=dtype)
    expected.backward(gradient)
    ours.backward(gradient.to(device))
    assert torch.equal(y.grad.cpu(), x.grad)
    # a gradient of any strides: that of a sum is expanded, that of a transposed product is transposed
    for other in (torch.ones((), dtype=dtype).expand(expected.shape), gradient.mT.contiguous().mT):
        (a,) = torch.autograd.grad(reference.mask_patches(x, 0.7, seed=9)[0], x, other)
        (b,) = torch.autograd.grad(mask_patches(y, 0.7, generator=9)[0], y, other.to(device))
        assert torch.equal(b.cpu(), a)


def test_gradcheck_twice(device):
    x = torch.randn(2, 4, 2, dtype=torch.float64, device=device, requires_grad=True)

    def kept(x):
        return mask_patches(x, 0.5, generator=4)[0]

    assert torch.autograd.gradcheck(kept, x)
    assert torch.autograd.gradgradcheck(kept, x)
    assert torch.autograd.gradcheck(lambda x: (kept(x) ** 3).sum().reshape(1), x)
    (first,) = torch.autograd.grad((kept(x) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    mask = mask_patches(x, 0.5, generator=4)[1]
    assert torch.allclose(second, torch.where(mask[..., None], 0.0, 6 * x))


def test_dropped_values_never_leak(device):
    x = torch.randn(3, 16, 8, device=device)
    mask = random_patch_mask(3, 16, 0.5, generator=6, device=device).mask
    x[mask] = torch.nan
    x.requires_grad_()
    kept, again, _ = mask_patches(x, 0.5, generator=6)
    assert torch.equal(again, mask)
    assert kept.isfinite().all()
    kept.sum().backward()
    assert torch.equal(x.grad, (~mask)[..., None].expand_as(x).float())


def test_nan_in_kept_values_stays(device):
    x = torch.full((2, 8, 3), torch.nan, device=device)
    assert mask_patches(x, 0.5)[0].isnan().all()


def test_outputs_carry_gradients_where_they_should(device):
    x = torch.randn(2, 8, 3, device=device, requires_grad=True)
    kept, mask, ids_restore = mask_patches(x, 0.5)
    assert kept.requires_grad
    assert not mask.requires_grad
    assert not ids_restore.requires_grad
    assert not mask_patches(x.detach(), 0.5)[0].requires_grad


def test_decoder_puts_everything_back(device):
    x = torch.randn(3, 10, 4, device=device)
    kept, mask, ids_restore = mask_patches(x, 0.6)
    full = torch.cat([kept, torch.zeros(3, 10 - kept.shape[1], 4, device=device)], dim=1)
    back = torch.gather(full, 1, ids_restore[..., None].expand(-1, -1, 4))
    assert torch.equal(back, torch.where(mask[..., None], 0.0, x))


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="elsewhere nothing is prepared")
def test_memory_is_called_zero_only_where_it_is(tmp_path):
    """csrc/cpu/large_output.h on memory that is private or shared, of which all, half or nothing was ever written."""
    source = """
#include <cstdio>
#include <initializer_list>
#include "cpu/huge_pages.cpp"
#include "cpu/large_output.h"
int main() {
  for (const int kind : {MAP_PRIVATE, MAP_SHARED}) {
    for (const int written : {2, 1, 0}) {
      const int64_t bytes = 9 << 20;
      char* data = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0));
      std::memset(data, 7, bytes / 2 * written);
      const auto found = sslfast::cpu::prepare_large_output(data + 24, bytes - 48);
      int64_t wrong = 0;
      for (char* at = data; at < data + bytes; ++at) wrong += found.is_zero(at, 1) && *at != 0;
      std::printf("%d %d ", found.zero_end > found.zero_begin, wrong == 0);
      std::printf("%d ", data[0] == (written ? 7 : 0) && data[bytes - 1] == (written == 2 ? 7 : 0));
    }
  }
}
"""
    out = words_of(source, tmp_path)
    found = [tuple(map(int, out[i : i + 3])) for i in range(0, 18, 3)]
    # (some of it is called zero, all that is called so is zero, what lies outside is untouched)
    assert found[:3] == [(0, 1, 1), (1, 1, 1), (1, 1, 1)]  # private: all written means reused, and nothing is dropped
    assert all(called == 0 and right and untouched for called, right, untouched in found[3:])
