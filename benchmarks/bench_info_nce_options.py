"""InfoNCE with further negatives, or with an option, forward and backward, beside the formula in plain torch.

Floor, N queries of D numbers: 6 N^2 D FLOPs for the keys of the batch and as many for as many further keys, the product
and two of its gradient; 3 N^2 D for queries or keys among themselves, half of whose product is enough; 6 N H D for
H hard negatives of one query each. The rule: never slower than eager torch.

On a GPU also beside memeff's loss of Qwen3 embeddings, where it has the option; its temperature is a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import bench_thin_losses, peers
from benchmarks import info_nce_formulas as formulas
from benchmarks.bench_similarity_softmax import DTYPES, TOLERANCES
from benchmarks.harness import Call, Case, compiled
from benchmarks.info_nce_formulas import MARGIN, SMOOTHING, STRENGTH, TAU_PLUS, TEMPERATURE

HARD = 8  # negatives of one query each
Inputs = dict[str, Tensor]  # arguments of info_nce_loss by name
Loss = Callable[..., Tensor]


class Option(NamedTuple):
    """What goes with queries and keys: tensors, of N and D, and other arguments; the formula; and its floor.

    ``memeff`` are the arguments of memeff's loss, where it has the option: its margin of 2 leaves nothing out.
    """

    eager: Loss
    products: float = 6  # FLOPs, in N^2 D
    hard: int = 0
    tensors: Callable[[int, int], Inputs] = lambda n, d: {}
    arguments: Mapping[str, Any] = {}
    memeff: Mapping[str, Any] | None = None


def make_inputs(
    device: torch.device, *, queries: int, width: int, option: Option, dtype: torch.dtype = torch.float32
) -> Inputs:
    """So much noise that the margin leaves some keys out: wide rows drawn at random hardly resemble."""
    query = torch.randn(queries, width)
    keys = query + (4.0 if width < 512 else 16.0) * torch.randn(queries, width)
    made = {"query": query, "positive_key": keys} | option.tensors(queries, width)
    learning = ("query", "positive_key", "negative_keys")
    return {
        name: z.to(device, dtype if name in learning else z.dtype).requires_grad_(name in learning)
        for name, z in made.items()
    }


def further(n: int, d: int) -> Inputs:
    return {"negative_keys": torch.randn(n, d)}


def hard(n: int, d: int) -> Inputs:
    return {"negative_keys": torch.randn(n, HARD, d)}


def ids(n: int, d: int) -> Inputs:
    """Every key is there about twice."""
    drawn = torch.randint(n // 2, (n,))
    return {"query_ids": drawn, "key_ids": drawn.clone()}


def weights(n: int, d: int) -> Inputs:
    return {"weights": torch.rand(n)}


BATCH = {"in_batch": True}
QUERIES, KEYS = {"query_negatives": True}, {"key_negatives": True}
KEYS_TO_QUERIES = {"key_to_query_negatives": True}
OPTIONS = {
    "negative_keys": Option(formulas.further, 12, tensors=further, arguments=BATCH),
    "hard negatives": Option(formulas.hard, hard=HARD, tensors=hard, arguments=BATCH, memeff={"margin": 2.0}),
    "query_negatives": Option(formulas.queries, 9, arguments=QUERIES),
    "key_negatives": Option(formulas.keys, 9, arguments=KEYS),
    "all negatives, margin": Option(
        *(formulas.all_kinds, 12, HARD),
        tensors=hard,
        arguments=BATCH | QUERIES | KEYS | {"margin": MARGIN},
        memeff={"margin": MARGIN, "use_qq_negatives": True, "use_dd_negatives": True},
    ),
    "margin": Option(formulas.margin, arguments={"margin": MARGIN}, memeff={"margin": MARGIN}),
    "ids": Option(formulas.ids, tensors=ids),
    "weights": Option(formulas.weighted, tensors=weights),
    "reduction none": Option(formulas.each, arguments={"reduction": "none"}),
    "tau_plus": Option(formulas.tau_plus, arguments={"tau_plus": TAU_PLUS}),
    "hardness": Option(
        formulas.hardness, arguments={"hardness_mode": "in_batch_negatives", "hardness_strength": STRENGTH}
    ),
    "hard negatives, hardness": Option(
        formulas.hard_hardness,
        hard=HARD,
        tensors=hard,
        arguments=BATCH | {"hardness_mode": "hard_negatives", "hardness_strength": STRENGTH},
    ),
    "key_to_query_negatives": Option(formulas.key_to_query, arguments=KEYS_TO_QUERIES),
    "all directions": Option(formulas.all_directions, 12, arguments=BATCH | QUERIES | KEYS | KEYS_TO_QUERIES),
    "label_smoothing": Option(
        formulas.smoothing,
        arguments={"label_smoothing": SMOOTHING},
        memeff={"margin": 2.0, "label_smoothing": SMOOTHING},
    ),
}
ON_GPU = ("margin", "ids", "hard negatives", "label_smoothing", "hard negatives, hardness", "all negatives, margin")
LARGE = ("margin", "all negatives, margin")  # measured with many pairs, too
HARDNESS = ("hardness", "hard negatives, hardness", "key_to_query_negatives", "all directions")


def ours(option: Option) -> Loss:
    from sslfast.losses import info_nce_loss

    return partial(info_nce_loss, temperature=TEMPERATURE, **option.arguments)


def memeff(option: Option) -> Loss:
    """With ``stable=True``, the default, its gradients would be another factor times those of its loss."""
    criterion = peers.load("memeff").MemoryEfficientQwen3Loss(TEMPERATURE, stable=False, **(option.memeff or {}))

    def loss(query: Tensor, positive_key: Tensor, negative_keys: Tensor | None = None) -> Tensor:
        return criterion(query, positive_key, negative_keys)

    return loss


def check_norms(theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradients as a whole: a similarity rounded to bf16 may be over the margin or not, and
    all of what its negative gets goes with it."""
    for i, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        relative = float((their.float() - our.float()).norm() / our.float().norm())
        assert relative <= TOLERANCES[torch.bfloat16][i > 0], (
            f"{f'gradient {i}' if i else 'loss'} differs by {relative:.1e} of its norm"
        )


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradients, to the rounding of the inputs."""
    if inputs["query"].dtype == torch.bfloat16:
        check_norms(theirs, ours)
    else:
        bench_thin_losses.check(inputs, theirs, ours)


def call(find: Callable[[], Loss], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradients of what takes one."""
    loss_function = find()
    leaves = [z for z in inputs.values() if z.requires_grad]

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(**inputs)
        return loss.detach(), *torch.autograd.grad(loss.sum() if loss.dim() else loss, leaves)

    return forward_and_backward


def providers(option: Option, on_gpu: bool) -> dict[str, Callable[[Inputs], Call]]:
    found = {"sslfast": partial(call, partial(ours, option)), "eager torch": partial(call, lambda: option.eager)}
    if on_gpu:
        found["torch.compile"] = partial(call, lambda: compiled(option.eager))
    if on_gpu and option.memeff is not None:
        found["memeff Qwen3Loss"] = partial(call, partial(memeff, option))
    return found


def case(name: str, queries: int, width: int, dtype: str = "fp32", *, on_gpu: bool = False, **options: Any) -> Case:
    option = OPTIONS[name]
    return Case(
        op=f"info_nce {name}",
        size=f"{queries}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, queries=queries, width=width, option=option, dtype=DTYPES[dtype]),
        providers=providers(option, on_gpu),
        check=check,
        work=(option.products * queries + 6 * option.hard) * queries * width,
        unit="FLOP",
        formula=f"{option.products:g} N^2 D" + f" + {6 * option.hard} N D" * (option.hard > 0),
        devices=("cuda",) if on_gpu else ("cpu",),
        **options,
    )


def cases() -> list[Case]:
    few = [case(name, 256, 128, quick=name in ("hard negatives", "label_smoothing")) for name in OPTIONS]
    return [
        *few,
        case("reduction none", 64, 128),
        *(case(name, 16, 128) for name in ("all negatives, margin", *HARDNESS)),
        *(case(name, n, d) for name in HARDNESS for n, d in ((64, 128), (1024, 128))),
        *(case(name, 8192, 512, "bf16", on_gpu=True) for name in ON_GPU),
        *(case(name, 65536, 512, "bf16", on_gpu=True, memory=True) for name in LARGE),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
