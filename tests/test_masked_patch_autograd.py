"""masked_patch_loss: graphs, gradients, memory layouts, threads, compilation, and the module."""

from __future__ import annotations

import pytest
import torch
from loss_oracle import assert_compiles, with_grads

# Shape of the images, patch, order of pixels.
from masked_patch_cases import make

from sslfast import ops
from sslfast.losses import MaskedPatchLoss, masked_patch_loss
from sslfast.masking import mask_indices
from sslfast.reference.masked_patch import masked_patch_loss as reference
from sslfast.reference.masked_patch import patchify


def test_incoming_gradients_and_retained_graphs(device):
    pred, images, mask = (t.to(device) for t in make((2, 3, 8, 8), (4, 4)))
    for dtype in (torch.float32, torch.bfloat16):
        leaf = pred.to(dtype, copy=True).requires_grad_()
        hidden = leaf * 1.0
        loss = masked_patch_loss(hidden, images, mask, 4, norm_pix=True)
        (once,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        (again,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        assert torch.equal(once, again)
        (scaled,) = torch.autograd.grad(1024.0 * loss, leaf, retain_graph=True)
        assert torch.equal(scaled, 1024 * once)
        loss.backward(retain_graph=True)
        loss.backward()
        assert torch.equal(leaf.grad, 2 * once)
    assert not masked_patch_loss(pred, images, mask, 4).requires_grad


def test_micro_batches_add_up_to_the_mean(device):
    """num_items, as a number and as a tensor: the mean of a batch, in parts of unlike numbers of patches."""
    pred, images, mask = (t.to(device) for t in make((3, 3, 8, 8), (4, 4)))
    criterion = MaskedPatchLoss(4, norm_pix=True)
    for dtype in (torch.float32, torch.bfloat16):
        whole = with_grads(lambda p: criterion(p, images, mask), pred.to(dtype))
        for count in (int(mask.sum()), mask.sum()):

            def parts(p, count=count):
                cut = [slice(0, 1), slice(1, 3)]
                return sum(criterion(p[s], images[s], mask[s], num_items=count) for s in cut)

            torch.testing.assert_close(with_grads(parts, pred.to(dtype)), whole)
    assert_compiles(lambda p: criterion(p, images, mask, num_items=7), pred)


def test_a_retained_graph_behind_a_view_of_a_leaf(device):
    """The leaf may keep the gradient that a view hands it, and add to it, while the graph needs it once more."""
    pred, images, mask = (t.to(device) for t in make((2, 3, 8, 8), (4, 4)))
    leaf = pred.flatten(1).clone().requires_grad_()
    loss = masked_patch_loss(leaf.view(pred.shape), images, mask, 4)
    for times in (1, 2, 3):
        loss.backward(retain_graph=True)
        if times == 1:
            once = leaf.grad.clone()
        torch.testing.assert_close(leaf.grad, times * once)
    leaf.grad.zero_()
    loss.backward()
    assert torch.equal(leaf.grad, once)


def test_loss_scales_keep_small_gradients(device):
    """Of a large batch the gradient of an element is below float16; a loss scale brings it back, whole."""
    pred = torch.randn(2, 4, 48, dtype=torch.float64).to(torch.float16).to(device).requires_grad_()
    images, mask = torch.randn(2, 3, 8, 8, device=device), torch.ones(2, 4, dtype=torch.bool, device=device)
    loss = masked_patch_loss(pred, images, mask, 4)
    (found,) = torch.autograd.grad(loss * 2.0**-16 * 2.0**16, pred)
    truth = with_grads(lambda p: reference(p, images.cpu().double(), mask.cpu(), (4, 4)), pred.cpu().double())[1]
    eps = torch.finfo(torch.float16).eps
    assert ((found.cpu().double() - truth).abs() <= 0.51 * eps * truth.abs() + 1e-7).all()


def test_second_derivatives_are_refused():
    pred, images, mask = make((2, 3, 8, 8), (4, 4))
    for dtype in (torch.float32, torch.bfloat16):
        leaf = pred.to(dtype).requires_grad_()
        loss = masked_patch_loss(leaf, images, mask, 4)
        (first,) = torch.autograd.grad(loss, leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="masked_patch_loss: second derivatives are not supported"):
            first.float().square().sum().backward()


def test_strides_and_threads():
    pred, images, mask = make((4, 3, 32, 32), (8, 8))
    plain = with_grads(lambda p: masked_patch_loss(p, images, mask, 8, norm_pix=True), pred)
    strided = torch.stack([images, -images], -1).flatten(-2)[..., ::2]
    for other in (images.contiguous(memory_format=torch.channels_last), images.mT.contiguous().mT, strided):
        found = with_grads(lambda p, x=other: masked_patch_loss(p, x, mask, 8, norm_pix=True), pred)
        assert all(torch.equal(f, e) for f, e in zip(found, plain, strict=True))
    turned = with_grads(
        lambda p: masked_patch_loss(p, images, mask.T.contiguous().T, 8, norm_pix=True), pred.mT.contiguous().mT
    )
    assert all(torch.equal(f, e) for f, e in zip(turned, plain, strict=True))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = with_grads(lambda p: masked_patch_loss(p, images, mask, 8, norm_pix=True), pred)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(f, e) for f, e in zip(found, plain, strict=True))


def test_large_gradients_are_zero_where_nothing_counts():
    """Past the caches, where zeros come from fresh memory."""
    pred, images, mask = make((16, 3, 96, 96), (8, 8))
    for p in (pred, torch.randn(16, 3, 96, 96)):
        found = with_grads(lambda p: masked_patch_loss(p, images, mask, 8, norm_pix=True), p)
        expected = with_grads(lambda p: reference(p, images, mask, (8, 8), norm_pix="patch"), p)
        torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-8)
        zero = patchify(found[1], (8, 8)) if p.dim() == 4 else found[1]
        assert not zero[~mask].any()


def test_compiles_and_passes_opcheck(device):
    pred, images, mask = (t.to(device) for t in make((2, 3, 8, 8), (4, 4)))
    ids = mask_indices(mask).indices
    assert_compiles(lambda p: masked_patch_loss(p, images, mask, 4, norm_pix=True), pred)
    assert_compiles(lambda p: masked_patch_loss(p, images, ids=ids, patch_size=4, kind="l1"), pred)
    assert_compiles(lambda p: masked_patch_loss(p, images, mask, 4, reduction="sum"), pred.bfloat16())
    share = torch.ones(1, device=device)
    options = ([1, 4, 4], 1, False, 1, 0, 1.0, 1e-6, [], [])
    videos = images.unsqueeze(2)
    torch.library.opcheck(ops.masked_patch, (pred, videos, mask, None, share, *options, True))
    torch.library.opcheck(ops.masked_patch, (pred, videos, mask, None, None, *options, False))
    shape = ([1, 4, 4], 2, False, 0, 1, 1.0, 1e-6, [], [])
    torch.library.opcheck(ops.masked_patch, (videos.clone(), videos, mask, None, share, *shape, True))
    rows = pred.flatten(0, 1)[None].contiguous()
    options = ([1, 4, 4], 1, True, 1, 0, 1.0, 1e-6, [], [])
    torch.library.opcheck(ops.masked_patch, (rows, videos, None, ids[None], share, *options, True))


def test_ids_out_of_range_are_never_read(device):
    """The operator itself, which a compiled graph calls without the check."""
    pred, images, _ = (t.to(device) for t in make((2, 3, 8, 8), (4, 4)))
    ids = torch.tensor([[4, 0], [2**62, -2]], device=device)
    loss, grad = ops.masked_patch(
        pred[:, :2], images.unsqueeze(2), None, ids, None, [1, 4, 4], 1, False, 0, 0, 1.0, 1e-6, [], [], True
    )
    assert loss.isnan().tolist() == [[True, False], [True, True]]
    assert torch.equal(grad.isnan(), loss.isnan().unsqueeze(2).expand_as(grad))


def test_module():
    pred, images, mask = make((2, 3, 8, 8), (4, 4))
    criterion = MaskedPatchLoss(4, True, "smooth_l1", 0.3)
    expected = masked_patch_loss(pred, images, mask, 4, norm_pix=True, kind="smooth_l1", beta=0.3)
    assert torch.equal(criterion(pred, images, mask), expected)
    assert repr(criterion) == "MaskedPatchLoss(patch_size=4, norm_pix=True, kind='smooth_l1', beta=0.3)"
    assert torch.equal(
        masked_patch_loss(pred, images, mask, 4, kind="smooth_l1", beta=0.0),
        masked_patch_loss(pred, images, mask, 4, kind="l1"),
    )
    double = masked_patch_loss(pred, images.double(), mask, 4)
    assert double.dtype == torch.float64
