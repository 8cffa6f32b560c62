"""NT-Xent, forward and backward, beside lightly's loss and one matrix product with torch's cross entropy; SupCon beside
pytorch-metric-learning's.

Floor, N pairs of D numbers: 16 N^2 D FLOPs where S is not kept (half of the symmetric S forward and again backward,
and the full product of its gradient with the embeddings); 12 N^2 D where half of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.gpu_grid import FEW_SIZES, grid
from benchmarks.harness import Call, Case, compiled

TEMPERATURE = 0.5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Largest difference in the loss, and in the gradient relative to its largest element.
TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (2e-2, 5e-2)}


def make_inputs(device: torch.device, *, pairs: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    first = torch.randn(pairs, width, device=device)
    second = first + 0.5 * torch.randn(pairs, width, device=device)
    return tuple(z.to(dtype).requires_grad_() for z in (first, second))


def one_product(z0: Tensor, z1: Tensor) -> Tensor:
    """Normalise, one product, the diagonal excluded, cross entropy with the other view as the target."""
    pairs = z0.shape[0]
    z = torch.nn.functional.normalize(torch.cat([z0, z1]), dim=1)
    similarity = z @ z.T / TEMPERATURE
    itself = torch.eye(2 * pairs, dtype=torch.bool, device=z.device)
    targets = torch.arange(2 * pairs, device=z.device).roll(pairs)
    return torch.nn.functional.cross_entropy(similarity.masked_fill(itself, float("-inf")), targets)


def ours() -> Callable[[Tensor, Tensor], Tensor]:
    from sslfast.losses import NTXentLoss

    return NTXentLoss(TEMPERATURE)


def lightly() -> Callable[[Tensor, Tensor], Tensor]:
    return peers.load("lightly.loss").NTXentLoss(TEMPERATURE)


def call(find: Callable[[], Callable[[Tensor, Tensor], Tensor]], inputs: tuple[Tensor, Tensor]) -> Call:
    """The timed call: the loss and the gradients of both views."""
    loss_function = find()

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(*inputs)
        return loss.detach(), *torch.autograd.grad(loss, inputs)

    return forward_and_backward


def needs_bf16_products(device: torch.device) -> None:
    """Raises on a CPU that does not multiply bf16: there is nothing to gain."""
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        raise RuntimeError("this CPU has no AVX512_BF16")


def call_in_fp32(find: Callable[[], Callable[[Tensor, Tensor], Tensor]], inputs: tuple[Tensor, Tensor]) -> Call:
    """sslfast on float32 copies: what bf16 inputs gain."""
    needs_bf16_products(inputs[0].device)
    return call(find, tuple(z.detach().float().requires_grad_() for z in inputs))


def check(inputs: tuple[Tensor, Tensor], theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradients."""
    loss_tolerance, gradient_tolerance = TOLERANCES[inputs[0].dtype]
    difference = abs(float(theirs[0]) - float(ours[0]))
    assert difference <= loss_tolerance * abs(float(ours[0])), f"loss {float(theirs[0]):.6g}, ours {float(ours[0]):.6g}"
    for name, their, our in zip(("z0", "z1"), theirs[1:], ours[1:], strict=True):
        relative = float((their - our).float().abs().max() / our.float().abs().max())
        assert relative <= gradient_tolerance, f"gradient of {name} differs by {relative:.1e} of its largest element"


def supcon_of(criterion: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The two views of a sample, and of its neighbour, share a label."""

    def loss(z0: Tensor, z1: Tensor) -> Tensor:
        labels = torch.arange(len(z0), device=z0.device).div(2, rounding_mode="floor")
        return criterion(torch.cat([z0, z1]), labels.repeat(2))

    return loss


def our_supcon() -> Callable[[Tensor, Tensor], Tensor]:
    from sslfast.losses import SupConLoss

    return supcon_of(SupConLoss(TEMPERATURE))


def their_supcon() -> Callable[[Tensor, Tensor], Tensor]:
    return supcon_of(peers.load("pytorch_metric_learning.losses").SupConLoss(TEMPERATURE))


def eager_supcon(embeddings: Tensor, labels: Tensor) -> Tensor:
    """The formula with one product and a mask; every row has a positive here."""
    z = torch.nn.functional.normalize(embeddings, dim=1)
    similarity = z @ z.T / TEMPERATURE
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    same = (labels[:, None] == labels) & ~itself
    log_share = similarity - similarity.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
    return -((log_share * same).sum(dim=1) / same.sum(dim=1)).mean()


def call_one_way(make: Callable[[Any], Call], registers: bool, inputs: Any) -> Call:
    """A call with its gradient in registers or in strips, whatever the table of launches says."""
    from sslfast.kernels import _launch

    found = make(inputs)

    def forward_and_backward() -> Any:
        chosen, _launch.REGISTERS = _launch.REGISTERS, registers
        try:
            return found()
        finally:
            _launch.REGISTERS = chosen

    return forward_and_backward


def registers_and_strips(make: Callable[[Any], Call]) -> dict[str, Callable[[Any], Call]]:
    """Providers that check the table of launches: sslfast as it chooses, and each of its ways."""
    ways = {"registers": True, "strips": False}
    return {"sslfast": make} | {f"sslfast, in {name}": partial(call_one_way, make, way) for name, way in ways.items()}


SUPCON_PROVIDERS = {
    "sslfast": partial(call, our_supcon),
    "eager torch": partial(call, lambda: supcon_of(eager_supcon)),
    "torch.compile": partial(call, lambda: compiled(supcon_of(eager_supcon))),
    "pytorch-metric-learning SupConLoss": partial(call, their_supcon),
}

PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: one_product),
    "torch.compile": partial(call, lambda: compiled(one_product)),
    "lightly NTXentLoss": partial(call, lightly),
}
IN_BF16 = PROVIDERS | {"sslfast, fp32 inputs": partial(call_in_fp32, ours)}
SUPCON_IN_BF16 = {
    "sslfast": SUPCON_PROVIDERS["sslfast"],
    "sslfast, fp32 inputs": partial(call_in_fp32, our_supcon),
}
OF_FEW, SUPCON_OF_FEW = (
    {name: find for name, find in providers.items() if name != "torch.compile"}
    for providers in (PROVIDERS, SUPCON_PROVIDERS)
)
BOTH_WAYS = registers_and_strips(partial(call, ours))
STORING = ("eager torch", "torch.compile", "lightly NTXentLoss")
SUPCON_STORING = ("eager torch", "torch.compile", "pytorch-metric-learning SupConLoss")


def case(pairs: int, width: int, dtype: str = "fp32", op: str = "nt_xent", **options: Any) -> Case:
    options = {"providers": SUPCON_PROVIDERS if op == "supcon" else PROVIDERS} | options
    return Case(
        op=op,
        size=f"{pairs}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, pairs=pairs, width=width, dtype=DTYPES[dtype]),
        check=check,
        work=16 * pairs**2 * width,
        unit="FLOP",
        formula="16 N^2 D",
        **options,
    )


def cases() -> list[Case]:
    return [
        *(case(pairs, 128, providers=OF_FEW, devices=("cpu",)) for pairs in (16, 64)),
        case(256, 128, quick=True),
        case(1024, 128, devices=("cpu",), memory=True),
        case(4096, 128, memory=True),
        case(4096, 512, memory=True),
        case(4096, 512, "bf16", providers=IN_BF16),
        case(4096, 128, "bf16", devices=("cuda",)),
        *grid(case, PROVIDERS, storing=STORING, rows_per_pair=2),
        *(
            case(pairs, width, "bf16", op="nt_xent both ways", providers=BOTH_WAYS, devices=("cuda",))
            for pairs, width in ((1024, 256), (1024, 512), (2048, 384), (2048, 512), (4096, 256), (4096, 512))
        ),
        *(case(pairs, 128, op="supcon", providers=SUPCON_OF_FEW, devices=("cpu",)) for pairs in (16, 32, 64, 128)),
        case(256, 128, op="supcon", quick=True),
        case(4096, 128, op="supcon", memory=True),
        case(4096, 128, "bf16", op="supcon", devices=("cuda",)),
        case(4096, 512, "bf16", op="supcon", providers=SUPCON_IN_BF16, devices=("cpu",)),
        case(4096, 512, "bf16", op="supcon", devices=("cuda",)),
        *grid(
            *(partial(case, op="supcon"), SUPCON_PROVIDERS),
            storing=SUPCON_STORING,
            rows_per_pair=2,
            sizes=FEW_SIZES,
        ),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
