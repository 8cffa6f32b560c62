"""The Gumbel quantiser: the definition's numbers with noise that is known, and the peers' without their product."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import Largest, assert_compiles
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import GumbelVectorQuantizer, gumbel_quantize
from sslfast.reference import gumbel_quantize as reference

SEED = 5
# frames of 2 utterances, groups, codes, width, and why
SIZES = [
    pytest.param(1, 1, 1, 1, id="the least"),
    pytest.param(4, 2, 6, 3, id="half a counter"),
    pytest.param(19, 3, 37, 5, id="several chunks of frames"),
    pytest.param(3, 1, 700, 4, id="many codes"),
]


def numbers_of(batch: int, length: int, groups: int) -> Tensor:
    return ((torch.arange(batch) << 32)[:, None] + torch.arange(length * groups)).flatten()


def noise_of(batch: int, length: int, groups: int, size: int) -> Tensor:
    """(B * T, G, V) float64, of SEED."""
    noise = reference.gumbel_noise(numbers_of(batch, length, groups), size, SEED)
    return noise.view(batch * length, groups, size)


def problem(length: int = 7, groups: int = 2, size: int = 6, width: int = 3, books: int | None = None):  # type: ignore[no-untyped-def]
    """Logits (2, T, G, V), codebook, mask, and weights of a loss (2 T, G d)."""
    logits, codebook = torch.randn(2, length, groups, size), torch.randn(books or groups, size, width)
    mask = torch.rand(2, length) < 0.6
    mask[0, 0] = True
    return logits, codebook, mask, torch.randn(2 * length, groups * width)


def totals(outcome: tuple[Tensor, Tensor], upstream: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Quantised vectors, perplexity, and the gradients of a loss of both."""
    quantized, perplexity = outcome
    loss = (quantized.reshape(upstream.shape) * upstream).sum() + 0.7 * perplexity
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [quantized.detach().reshape(upstream.shape), perplexity.detach(), *grads]


def by_definition(logits: Tensor, codebook: Tensor, mask: Tensor, upstream: Tensor, dtype: torch.dtype):  # type: ignore[no-untyped-def]
    batch, length, groups, size = logits.shape
    leaves = [z.detach().to(dtype).requires_grad_() for z in (logits, codebook)]
    noise = noise_of(batch, length, groups, size).to(dtype)
    rows, books = leaves[0].flatten(0, 1), leaves[1].expand(groups, -1, -1)
    quantized, codes = reference.gumbel_quantize(rows, books, noise, 0.7)
    perplexity, _ = reference.perplexities(rows, mask.flatten())
    return codes, totals((quantized, perplexity), upstream.to(dtype), leaves)


def by_us(logits: Tensor, codebook: Tensor, mask: Tensor, upstream: Tensor):  # type: ignore[no-untyped-def]
    leaves = [z.detach().requires_grad_() for z in (logits, codebook)]
    out = gumbel_quantize(leaves[0], leaves[1], mask, temperature=0.7, generator=SEED)
    return out.codes.flatten(0, 1), totals((out.quantized, out.perplexity), upstream.to(leaves[1].dtype), leaves)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("length", "groups", "size", "width"), SIZES)
def test_like_reference(length, groups, size, width, shared, device) -> None:
    for dtype in (torch.float32, torch.float64) if device.type == "cpu" else (torch.float32,):
        given = problem(length, groups, size, width, 1 if shared else None)
        given = [z.to(dtype) if z.is_floating_point() else z for z in given]
        expected, truth = by_definition(*given, torch.float64)
        _, same = by_definition(*given, dtype)
        codes, found = by_us(*(z.to(device) for z in given))
        assert torch.equal(codes.cpu(), expected)
        for f, r, g in zip(found, same, truth, strict=True):
            tol = 32 * torch.finfo(dtype).eps * max(0.1, g.abs().max().item())
            assert_no_worse(f.cpu(), r, g, tol)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half(dtype, device) -> None:
    logits, codebook, mask, upstream = problem(19, 3, 37, 5)
    given = (logits.to(dtype), codebook.to(dtype), mask, upstream.to(dtype))
    expected, truth = by_definition(*given, torch.float64)
    codes, found = by_us(*(z.to(device) for z in given))
    assert torch.equal(codes.cpu(), expected)
    assert torch.equal(found[0].cpu().double(), truth[0])
    assert [f.dtype for f in found] == [dtype, torch.float32, dtype, dtype]
    eps = torch.finfo(dtype).eps
    for f, g in zip(found[1:], truth[1:], strict=True):
        assert ((f.cpu().double() - g).abs() <= 0.51 * eps * g.abs() + 1e-5 * max(1.0, g.abs().max().item())).all()


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of logarithms behind the row
def test_triton_like_cpu(given, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _prototype_launch
    from sslfast.kernels import gumbel_quantize as kernels

    monkeypatch.setattr(_prototype_launch, "gumbel_rows", lambda _: {"BLOCK": 16})
    monkeypatch.setattr(_prototype_launch, "gumbel_sums", lambda _: {"BLOCK": 16})
    logits = torch.randn(37, 2, 21)
    logits[3, 1, 5], logits[9, 0, 2], logits[11, 1] = math.nan, math.inf, -math.inf
    mask = torch.rand(37) < 0.5 if given else None
    if mask is not None:
        mask[[3, 9, 11]] = False
    expected = ops.gumbel_quantize(logits, mask)
    on_device = [z if z is None else z.to(triton_device) for z in (logits, mask)]
    found = kernels.forward(*on_device)
    assert (expected[0] == -1).sum() == 3
    assert torch.equal(found[0].cpu(), expected[0])
    for f, e in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(f.cpu(), e, rtol=1e-5, atol=1e-6, equal_nan=True)
    logits = torch.randn(37, 2, 21)
    _, lse, *_ = ops.gumbel_quantize(logits, mask)
    seed, numbers = torch.tensor(SEED), numbers_of(1, 37, 2)
    products, shares = torch.randn(2, 37, 21), torch.randn(2, 21)
    for h, a in ((products, shares), (products, None), (None, shares)):
        arguments = (logits, mask, lse, h, a, seed, numbers)
        moved = [z if z is None else z.to(triton_device) for z in arguments]
        ours = ops.gumbel_quantize_backward(*arguments, 0.7)
        torch.testing.assert_close(kernels.backward(*moved, 0.7).cpu(), ours, rtol=1e-4, atol=1e-5)


def test_triton_refuses_double(triton_device) -> None:
    from sslfast.kernels import gumbel_quantize as kernels

    with pytest.raises(TypeError, match=r"^gumbel_quantize: float64 runs on the CPU only, got float64 on a GPU$"):
        kernels.forward(torch.zeros(1, 1, 2, dtype=torch.float64, device=triton_device), None)


def transformers_quantizer(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Its module, with our noise in training."""
    pytest.importorskip("transformers")
    from transformers import Wav2Vec2Config
    from transformers.models.wav2vec2 import modeling_wav2vec2

    def gumbel_softmax(logits: Tensor, tau: float, hard: bool) -> Tensor:
        noise = noise_of(2, 9, 2, logits.shape[1]).to(logits.dtype)
        soft = torch.softmax((logits + noise.view(logits.shape)) / tau, dim=-1)
        one_hot = F.one_hot(soft.argmax(-1), logits.shape[1])
        return one_hot - soft.detach() + soft

    monkeypatch.setattr(modeling_wav2vec2.nn.functional, "gumbel_softmax", gumbel_softmax)
    config = Wav2Vec2Config(conv_dim=(7,) * 7, codevector_dim=6, num_codevectors_per_group=5)
    quantizer = modeling_wav2vec2.Wav2Vec2GumbelVectorQuantizer(config)
    torch.nn.init.normal_(quantizer.codevectors)
    return quantizer


@pytest.mark.parametrize("training", [True, False])
def test_numbers_of_transformers(training, monkeypatch) -> None:
    theirs = transformers_quantizer(monkeypatch).train(training)
    ours = GumbelVectorQuantizer(7, 5, 2, 6).train(training)
    ours.load_state_dict(theirs.state_dict())
    features, mask = torch.randn(2, 9, 7, requires_grad=True), torch.rand(2, 9) < 0.5
    upstream = torch.randn(2, 9, 6)
    out = ours(features, mask, generator=SEED)
    expected = totals(theirs(features, mask), upstream, [features, *theirs.parameters()])
    found = totals((out.quantized, out.perplexity), upstream, [features, *ours.parameters()])
    for f, e in zip(found, expected, strict=True):
        assert (f is None) == (e is None)
        if f is not None:
            torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-5)


def test_values_of_fairseq() -> None:
    """Both perplexities over all frames, with 1e-7 in the logarithm, and groups that share a codebook."""
    quantizer = GumbelVectorQuantizer(7, 5, 2, 6, combine_groups=True, perplexity_eps=1e-7).double().eval()
    features = torch.randn(2, 9, 7, dtype=torch.float64, requires_grad=True)
    out = quantizer(features)
    logits = quantizer.weight_proj(features).view(18, 2, 5)
    hard = F.one_hot(logits.argmax(-1), 5).double()
    for mean, found in ((hard.mean(0), out.code_perplexity), (logits.softmax(-1).mean(0), out.prob_perplexity)):
        expected = torch.exp(-torch.sum(mean * torch.log(mean + 1e-7), dim=-1)).sum()
        torch.testing.assert_close(found, expected)
    truth, ours = (torch.autograd.grad(z, features, retain_graph=True)[0] for z in (expected, out.prob_perplexity))
    torch.testing.assert_close(ours, truth)
    vectors = quantizer.codevectors.repeat(1, 2, 1).view(2, 5, 3)
    torch.testing.assert_close(out.quantized.view(18, 2, 3), torch.einsum("ngv,gvd->ngd", hard, vectors))
    assert out.perplexity is out.code_perplexity


def test_codes_follow_the_softmax() -> None:
    logits = torch.tensor([1.0, -0.5, 0.3, 2.0])
    codes = gumbel_quantize(logits.expand(4, 1000, 2, 4), torch.zeros(2, 4, 1), generator=3).codes
    expected = 8000 * logits.softmax(0)
    chi_square = ((torch.bincount(codes.flatten(), minlength=4) - expected).square() / expected).sum()
    assert chi_square < 16.3  # 0.1 % of chi-square with 3 degrees of freedom


def test_draws_depend_on_utterance_frame_and_group_alone() -> None:
    logits, codebook, _, _ = problem(7, 2, 50)
    draw = functools.partial(gumbel_quantize, codebook=codebook, generator=SEED)
    codes = draw(logits).codes
    assert torch.equal(draw(logits[:, :4]).codes, codes[:, :4])
    assert torch.equal(draw(logits[1:], row_offset=1).codes, codes[1:])
    assert torch.equal(draw(logits.flip(0), sample_ids=torch.tensor([1, 0])).codes, codes.flip(0))
    assert not torch.equal(draw(logits, row_offset=9).codes, codes)


def test_bad_logits_give_nan_and_minus_infinity_is_no_code() -> None:
    logits, codebook, _, _ = problem()
    logits[0, 1, 1, 2], logits[1, 2, 0, 3], logits[1, 3, :, :4] = math.nan, math.inf, -math.inf
    for training in (True, False):
        out = gumbel_quantize(logits, codebook, training=training, generator=SEED)
        bad = torch.zeros(2, 7, 2, dtype=torch.bool)
        bad[0, 1, 1] = bad[1, 2, 0] = True
        assert torch.equal(out.codes == -1, bad)
        assert torch.equal(out.quantized.isnan().view(2, 7, 2, 3).all(-1), bad)
        assert (out.codes[1, 3] >= 4).all()
        assert out.prob_perplexity.isnan()
        assert out.code_perplexity.isnan()


def test_nothing_masked_one_masked_no_frames() -> None:
    logits, codebook, mask, _ = problem()
    none, one = torch.zeros_like(mask), torch.zeros_like(mask)
    one[1, 2] = True
    out = gumbel_quantize(logits.requires_grad_(), codebook, none)
    assert out.prob_perplexity == out.code_perplexity == 2
    (grad,) = torch.autograd.grad(out.prob_perplexity, logits)
    assert not grad.any()
    out = gumbel_quantize(logits, codebook, one)
    torch.testing.assert_close(out.prob_perplexity, reference.perplexities(logits[1, 2][None], None)[0])
    assert out.code_perplexity == 2
    assert gumbel_quantize(logits[:, :0], codebook).quantized.shape == (2, 0, 6)


def test_only_what_is_wanted_is_differentiated() -> None:
    logits, codebook, mask, upstream = problem()
    _, whole = by_us(logits, codebook, mask, upstream)
    for wanted in range(2):
        leaves = [z.clone().requires_grad_(k == wanted) for k, z in enumerate((logits, codebook))]
        out = gumbel_quantize(*leaves, mask, temperature=0.7, generator=SEED)
        ((out.quantized.flatten(0, 1) * upstream).sum() + 0.7 * out.perplexity).backward()
        torch.testing.assert_close(leaves[wanted].grad, whole[2 + wanted])


def test_steady_strided_and_compiled() -> None:
    logits, codebook, mask, upstream = problem()
    leaves = (logits.transpose(1, 2).contiguous().transpose(1, 2), codebook)
    expected = by_us(logits, codebook, mask, upstream)[1]
    for context in (torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad()):
        with context:
            found = by_us(*leaves, mask, upstream)[1]
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    seed = torch.tensor(SEED)

    def loss(logits: Tensor, codebook: Tensor) -> Tensor:
        out = gumbel_quantize(logits, codebook, mask, generator=seed)
        return (out.quantized.flatten(0, 1) * upstream).sum() + out.perplexity

    assert_compiles(loss, logits, codebook)


def test_nothing_of_the_size_of_the_product_is_made() -> None:
    logits, codebook, mask, upstream = problem(50, 2, 40, 30)
    with Largest() as largest:
        by_us(logits, codebook, mask, upstream)
    assert largest.numel <= max(logits.numel(), upstream.numel())


def test_operators(device) -> None:
    logits, _, mask, _ = problem()
    logits, mask = logits.flatten(0, 1).to(device), mask.flatten().to(device)
    torch.library.opcheck(ops.gumbel_quantize, (logits, mask))
    _, lse, *_ = ops.gumbel_quantize(logits, mask)
    products, shares = torch.randn(2, 14, 6).to(device), torch.randn(2, 6).to(device)
    rest = (torch.tensor(SEED), numbers_of(2, 7, 2).to(device), 0.7)
    torch.library.opcheck(ops.gumbel_quantize_backward, (logits, mask, lse, products, shares, *rest))


def test_second_derivatives_are_refused() -> None:
    logits, codebook, _, _ = problem()
    logits.requires_grad_()
    quantized = gumbel_quantize(logits, codebook).quantized
    (grad,) = torch.autograd.grad(quantized.sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^gumbel_quantize: second derivatives are not supported$"):
        grad.sum().backward()


def test_schedule_of_the_temperature() -> None:
    quantizer = GumbelVectorQuantizer(4, 5, temperature=(2.0, 0.5, 0.9))
    assert quantizer.temperature == 2.0
    quantizer.set_num_updates(3)
    assert quantizer.temperature == pytest.approx(2 * 0.9**3)
    quantizer.set_num_updates(1000)
    assert quantizer.temperature == 0.5
    assert quantizer.num_codevectors == 10
    assert "groups=2" in repr(quantizer)
