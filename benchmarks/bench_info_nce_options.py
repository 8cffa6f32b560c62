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
from torch.nn.functional import cross_entropy, normalize

from benchmarks import bench_thin_losses, peers
from benchmarks.bench_similarity_softmax import DTYPES, TOLERANCES
from benchmarks.harness import Call, Case, compiled

TEMPERATURE, MARGIN, TAU_PLUS, SMOOTHING, STRENGTH = 0.1, 0.1, 0.1, 0.1, 9.0
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


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    return normalize(rows, dim=1) @ normalize(columns, dim=1).T


def own(rows: Tensor) -> Tensor:
    """The positive of a query has its number."""
    return torch.arange(len(rows), device=rows.device)


def one_way(similarities: Tensor, **options: Any) -> Tensor:
    return cross_entropy(similarities / TEMPERATURE, own(similarities), **options)


def among_others(z: Tensor) -> Tensor:
    """The cosines of rows with the other rows."""
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return cosines(z, z).masked_fill(itself, float("-inf"))


def of_one_query(query: Tensor, negative_keys: Tensor) -> Tensor:
    return torch.einsum("nd,nhd->nh", normalize(query, dim=1), normalize(negative_keys, dim=2))


def without_false(similarities: Tensor) -> Tensor:
    """Negatives more similar than the positive by the margin are left out."""
    false = similarities.detach() > similarities.detach().diagonal()[:, None] + MARGIN
    return similarities.masked_fill(false, float("-inf"))


def eager_further(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    return one_way(cosines(query, torch.cat([positive_key, negative_keys])))


def eager_hard(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    return one_way(torch.cat([cosines(query, positive_key), of_one_query(query, negative_keys)], dim=1))


def eager_queries(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(torch.cat([cosines(query, positive_key), among_others(query)], dim=1))


def eager_keys(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(torch.cat([cosines(query, positive_key), among_others(positive_key)], dim=1))


def eager_all(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    parts = [cosines(query, positive_key), among_others(query), among_others(positive_key)]
    return one_way(without_false(torch.cat([*parts, of_one_query(query, negative_keys)], dim=1)))


def eager_margin(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(without_false(cosines(query, positive_key)))


def eager_ids(query: Tensor, positive_key: Tensor, query_ids: Tensor, key_ids: Tensor) -> Tensor:
    same = (query_ids[:, None] == key_ids).fill_diagonal_(False)
    return one_way(cosines(query, positive_key).masked_fill(same, float("-inf")))


def eager_weights(query: Tensor, positive_key: Tensor, weights: Tensor) -> Tensor:
    return (one_way(cosines(query, positive_key), reduction="none") * weights).sum() / weights.sum()


def eager_each(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(cosines(query, positive_key), reduction="none")


def eager_tau_plus(query: Tensor, positive_key: Tensor) -> Tensor:
    """As the paper's code, in sums of exponentials."""
    shares = (cosines(query, positive_key) / TEMPERATURE).exp()
    positive, count = shares.diagonal(), len(shares) - 1
    itself = torch.eye(len(shares), dtype=torch.bool, device=shares.device)
    negative = shares.masked_fill(itself, 0.0).sum(dim=1)
    least = count * torch.tensor(-1 / TEMPERATURE).exp()
    debiased = ((negative - TAU_PLUS * count * positive) / (1 - TAU_PLUS)).clamp_min(least)
    return -(positive / (positive + debiased)).log().mean()


def eager_smoothing(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(cosines(query, positive_key), label_smoothing=SMOOTHING)


def harder(logits: Tensor, similarities: Tensor, *, positives: bool) -> Tensor:
    """A share of the similarities is added, as constants; not of the ``positives``, on the diagonal."""
    added = STRENGTH * similarities.detach()
    return logits + (added.fill_diagonal_(0.0) if positives else added)


def eager_hardness(query: Tensor, positive_key: Tensor) -> Tensor:
    similar = cosines(query, positive_key)
    return cross_entropy(harder(similar / TEMPERATURE, similar, positives=True), own(query))


def eager_hard_hardness(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    similar, hard = cosines(query, positive_key), of_one_query(query, negative_keys)
    logits = [similar / TEMPERATURE, harder(hard / TEMPERATURE, hard, positives=False)]
    return cross_entropy(torch.cat(logits, dim=1), own(query))


def eager_key_to_query(query: Tensor, positive_key: Tensor) -> Tensor:
    """Both from one product."""
    similar = cosines(query, positive_key)
    itself = torch.eye(len(similar), dtype=torch.bool, device=similar.device)
    return one_way(torch.cat([similar, similar.T.masked_fill(itself, float("-inf"))], dim=1))


def eager_all_directions(query: Tensor, positive_key: Tensor) -> Tensor:
    similar = cosines(query, positive_key)
    itself = torch.eye(len(similar), dtype=torch.bool, device=similar.device)
    of_keys = similar.T.masked_fill(itself, float("-inf"))
    return one_way(torch.cat([similar, of_keys, among_others(query), among_others(positive_key)], dim=1))


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
    "negative_keys": Option(eager_further, 12, tensors=further, arguments=BATCH),
    "hard negatives": Option(eager_hard, hard=HARD, tensors=hard, arguments=BATCH, memeff={"margin": 2.0}),
    "query_negatives": Option(eager_queries, 9, arguments=QUERIES),
    "key_negatives": Option(eager_keys, 9, arguments=KEYS),
    "all negatives, margin": Option(
        *(eager_all, 12, HARD),
        tensors=hard,
        arguments=BATCH | QUERIES | KEYS | {"margin": MARGIN},
        memeff={"margin": MARGIN, "use_qq_negatives": True, "use_dd_negatives": True},
    ),
    "margin": Option(eager_margin, arguments={"margin": MARGIN}, memeff={"margin": MARGIN}),
    "ids": Option(eager_ids, tensors=ids),
    "weights": Option(eager_weights, tensors=weights),
    "reduction none": Option(eager_each, arguments={"reduction": "none"}),
    "tau_plus": Option(eager_tau_plus, arguments={"tau_plus": TAU_PLUS}),
    "hardness": Option(
        eager_hardness, arguments={"hardness_mode": "in_batch_negatives", "hardness_strength": STRENGTH}
    ),
    "hard negatives, hardness": Option(
        eager_hard_hardness,
        hard=HARD,
        tensors=hard,
        arguments=BATCH | {"hardness_mode": "hard_negatives", "hardness_strength": STRENGTH},
    ),
    "key_to_query_negatives": Option(eager_key_to_query, arguments=KEYS_TO_QUERIES),
    "all directions": Option(eager_all_directions, 12, arguments=BATCH | QUERIES | KEYS | KEYS_TO_QUERIES),
    "label_smoothing": Option(
        eager_smoothing,
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
