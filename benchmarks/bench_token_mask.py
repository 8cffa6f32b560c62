"""Token masking beside transformers' collator and torch, over tensors and over NumPy arrays.

Floor: 24 bytes a token, the ids read once, ids and labels written once, int64; and 1 byte for the special-tokens mask.
sslfast also writes the positions of the masked tokens, which no peer does. transformers masks in place: it gets no
copy inside the timed call, although a caller who keeps the ids would have to make one.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case, compiled

VOCABULARY, MASK_ID = 30522, 103


class Inputs(NamedTuple):
    ids: Tensor
    special: Tensor


def make_inputs(device: torch.device, *, rows: int, length: int) -> Inputs:
    ids = torch.randint(1000, VOCABULARY, (rows, length))
    special = torch.zeros(rows, length, dtype=torch.bool)
    special[:, 0] = True
    special[:, -length // 16 :] = True
    return Inputs(ids.to(device), special.to(device))


def ours(inputs: Inputs) -> Call:
    from sslfast.masking import mask_tokens

    options = {"mask_token_id": MASK_ID, "vocab_size": VOCABULARY, "special_tokens_mask": inputs.special}
    return lambda: mask_tokens(inputs.ids, **options)[:2]


def formulation(ids: Tensor, special: Tensor) -> tuple[Tensor, Tensor]:
    """BERT's rule in tensor operations, two uniform draws a token."""
    masked = (torch.rand(ids.shape, device=ids.device) < 0.15) & ~special
    fate = torch.rand(ids.shape, device=ids.device)
    words = torch.randint(VOCABULARY, ids.shape, device=ids.device)
    replaced = torch.where(fate < 0.8, MASK_ID, torch.where(fate < 0.9, words, ids))
    return torch.where(masked, replaced, ids), torch.where(masked, ids, -100)


def eager(inputs: Inputs) -> Call:
    return partial(formulation, *inputs)


def compile_of_eager(inputs: Inputs) -> Call:
    return partial(compiled(formulation), *inputs)


def collator(tensors: str) -> Any:
    """transformers' collator with a tokenizer of one word per id, so that no file is downloaded."""
    transformers = peers.load("transformers")
    tokenizers = peers.load("tokenizers")
    words = {f"w{i}": i for i in range(VOCABULARY)}
    words["[MASK]"] = words.pop(f"w{MASK_ID}")
    words["[UNK]"] = words.pop("w100")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=model, mask_token="[MASK]", unk_token="[UNK]")
    return transformers.DataCollatorForLanguageModeling(tokenizer, return_tensors=tensors)


def hugging_face(inputs: Inputs) -> Call:
    mask, ids = collator("pt").torch_mask_tokens, inputs.ids.clone()
    return lambda: mask(ids, special_tokens_mask=inputs.special)


def ours_on_arrays(inputs: Inputs) -> Call:
    from sslfast.host import mask_tokens

    ids, seeds = inputs.ids.numpy(), itertools.count()
    options = {"mask_token_id": MASK_ID, "vocab_size": VOCABULARY, "special_tokens_mask": inputs.special.numpy()}
    threads = torch.get_num_threads()
    return lambda: mask_tokens(ids, seed=next(seeds), threads=threads, **options)[:2]


def hugging_face_on_arrays(inputs: Inputs) -> Call:
    mask, ids, special = collator("np").numpy_mask_tokens, inputs.ids.numpy().copy(), inputs.special.numpy()
    return lambda: mask(ids, special_tokens_mask=special)


def check(inputs: Inputs, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> None:
    """Only ordinary tokens are masked, their labels are right, and the shares are those of the rule, as ours are."""
    special = inputs.special.cpu()
    for ids, labels in (ours, theirs):
        ids, labels, original = torch.as_tensor(ids).cpu(), torch.as_tensor(labels).cpu(), inputs.ids.cpu()
        masked = labels != -100
        assert not (masked & special).any(), "a special token is masked"
        assert torch.equal(labels[masked], original[masked]), "a label is not the original id"
        assert torch.equal(ids[~masked], original[~masked]), "an unmasked id is changed"
        kept, replaced = ids == original, ids == MASK_ID
        for what, share, of, expected in (
            ("masked tokens", masked, ~special, 0.15),
            ("[MASK] among the masked", replaced, masked, 0.8),
            ("unchanged among the masked", kept, masked, 0.1),
        ):
            count = int(of.sum())
            observed = float(share[of].float().mean())
            deviation = (expected * (1 - expected) / max(count, 1)) ** 0.5
            assert abs(observed - expected) < 5 * deviation + 1e-3, f"{what}: {observed:.3f}, expected {expected}"


def case(op: str, rows: int, length: int, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{length}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        check=check,
        work=25 * rows * length,
        unit="B",
        formula="(8 read + 16 written + 1 special) B a token",
        **options,
    )


def cases() -> list[Case]:
    providers = {
        "sslfast": ours,
        "eager torch": eager,
        "torch.compile": compile_of_eager,
        "transformers collator": hugging_face,
    }
    arrays = {"sslfast": ours_on_arrays, "transformers collator": hugging_face_on_arrays}
    return [
        case("token_mask", 256, 512, providers=providers, memory=True),
        case("token_mask", 8, 128, providers=providers, quick=True, one_thread_only=True),
        case("token_mask NumPy", 256, 512, providers=arrays, devices=("cpu",), quick=True),
        case("token_mask NumPy", 8, 128, providers=arrays, devices=("cpu",), one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
