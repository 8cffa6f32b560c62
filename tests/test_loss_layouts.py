"""Tensors that losses cannot read: sparse and nested ones are refused by name; on "meta" losses are worked through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sslfast import losses

N, D = 6, 4
X, Y = (torch.linspace(start, 2.0, N * D).reshape(N, D).sin() for start in (-3.0, 1.0))
LABELS = torch.arange(N) // 2
ROWS = torch.arange(N)
REFERENCES = {"ref_emb": Y, "ref_labels": LABELS, "copies": ROWS}
LISTED = {"embeddings": X, "labels": LABELS}
WEIGHT, BIAS = X[:5].contiguous(), Y[0, :1].expand(5).contiguous()
HIDDEN = torch.stack([X, Y])  # (2, N, D)
CODES = torch.arange(2 * N).reshape(2, N) % 5
MASK = CODES > 1
AT = MASK.flatten().nonzero().flatten()
PAIR = {"z0": X, "z1": Y}
LAYER = {"weight": WEIGHT, "bias": BIAS}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("nt_xent_loss", PAIR),
    ("dcl_loss", PAIR),
    ("dclw_loss", PAIR),
    (
        "info_nce_loss",
        {"query": X, "positive_key": Y, "weights": X[:, 0].abs(), "negative_keys": HIDDEN[:, :, None][0]},
    ),
    ("info_nce_loss", {"query": X, "positive_key": Y, "queue": Y}),
    ("info_nce_loss", {"query": X, "positive_key": Y, "query_ids": LABELS, "key_ids": LABELS, "positives": ROWS}),
    (
        "clip_loss",
        {"image_features": X, "text_features": Y, "logit_scale": BIAS[0], "image_ids": ROWS, "text_ids": ROWS},
    ),
    ("siglip_loss", {"image_features": X, "text_features": Y, "logit_scale": BIAS[0], "logit_bias": BIAS[0]}),
    ("supcon_loss", LISTED | REFERENCES),
    ("multi_positive_nt_xent_loss", LISTED | REFERENCES),
    ("triplet_loss", LISTED | REFERENCES),
    ("contrastive_loss", LISTED | REFERENCES),
    ("supcon_loss", LISTED | {"indices_tuple": (ROWS[:2], ROWS[2:4], ROWS[4:])}),
    ("alignment_loss", {"x": X, "y": Y}),
    ("uniformity_loss", {"x": X}),
    ("hypersphere_loss", {"z_a": X, "z_b": Y}),
    ("barlow_twins_loss", {"z_a": X, "z_b": Y}),
    ("vicreg_loss", {"z_a": X, "z_b": Y}),
    ("negative_cosine_similarity", {"x0": X, "x1": Y}),
    ("koleo_loss", {"x": X}),
    ("dino_loss", {"teacher_out": [X], "student_out": [Y, X], "center": X[:1]}),
    ("ibot_patch_loss", {"teacher_out": X, "student_out": Y, "mask": ROWS.reshape(2, 3) >= 0, "center": X[:1]}),
    ("ibot_patch_loss", {"teacher_out": X, "student_out": Y, "mask": MASK, "masks_weight": X[:, 0].abs()}),
    ("swav_loss", {"high_resolution_outputs": [X, Y], "low_resolution_outputs": [Y], "queue_outputs": [X, Y]}),
    ("sinkhorn_knopp", {"scores": X}),
    ("msn_loss", {"anchors": X, "targets": Y, "prototypes": WEIGHT}),
    ("gan_discriminator_loss", {"real_logits": X, "fake_logits": Y}),
    ("gan_generator_loss", {"fake_logits": X}),
    ("bigan_loss", {"encoder_logits": X, "generator_logits": Y}),
    ("feature_matching_loss", {"real_features": X, "fake_features": Y}),
    ("linear_cross_entropy", {"input": X, "linear_weight": WEIGHT, "target": ROWS % 5, "linear_bias": BIAS}),
    ("linear_cross_entropy", {"input": X, "linear_weight": WEIGHT, "target": ROWS % 5, "weight": BIAS.abs()}),
    (
        "vocab_parallel_cross_entropy",
        {"input": X, "linear_weight": WEIGHT, "target": ROWS % 5, "linear_bias": BIAS, "num_items": BIAS[:1].abs()},
    ),
    ("masked_lm_loss", {"hidden": HIDDEN, "labels": CODES, "indices": AT} | LAYER),
    ("masked_code_loss", {"hidden": HIDDEN, "codes": CODES, "mask": MASK} | LAYER),
    ("masked_code_loss", {"hidden": HIDDEN, "codes": CODES, "indices": AT} | LAYER),
    ("replaced_token_loss", {"logits": X, "replaced": X > 0, "attention_mask": Y < 1}),
    (
        "hubert_loss",
        {
            "hidden": HIDDEN,
            "label_embs": WEIGHT,
            "targets": CODES,
            "mask_time_indices": MASK,
            "padding_mask": ~MASK,
            "features_pen": X[0, 0],
        },
    ),
    ("hubert_loss", {"hidden": HIDDEN, "label_embs": WEIGHT, "targets": CODES, "indices": AT}),
    ("wav2vec2_contrastive_loss", {"context": HIDDEN, "targets": HIDDEN, "mask_time_indices": MASK, "codes": CODES}),
    ("wav2vec2_contrastive_loss", {"context": HIDDEN, "targets": HIDDEN, "indices": AT}),
    ("diversity_loss", {"perplexity": X[0, 0], "num_codevectors": 8, "num_masked": MASK}),
    ("gumbel_quantize", {"logits": HIDDEN[:, :, None], "codebook": X[None, :D], "mask_time_indices": MASK}),
    ("item_sampling", {"distribution": torch.arange(6)}),
    ("masked_item_loss", {"hidden": HIDDEN, "weight": WEIGHT, "labels": CODES}),
    ("masked_feature_loss", {"pred": HIDDEN, "targets": HIDDEN, "mask": MASK}),
    ("masked_feature_loss", {"pred": HIDDEN[:, :2], "targets": HIDDEN, "ids": CODES[:, :2]}),
    (
        "masked_patch_loss",
        {"pred": HIDDEN[:, :4, :3], "images": X.reshape(2, 3, 2, 2), "patch_size": 1, "mask": MASK[:, :4]},
    ),
]
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "one of torch.sparse_coo": lambda t: t.to_sparse(),
    "a nested one": lambda t: torch.nested.nested_tensor([t]),
}


ARGUMENTS = [
    (loss, given, name)
    for loss, given in CALLS
    for name, value in given.items()
    if isinstance(value, (Tensor, list, tuple))
]


@pytest.mark.parametrize("got", KINDS)
@pytest.mark.parametrize(("loss", "given", "name"), ARGUMENTS, ids=[f"{loss}-{name}" for loss, _, name in ARGUMENTS])
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, that these are beta
def test_tensors_of_other_layouts(loss: str, given: dict[str, Any], name: str, got: str) -> None:
    value = given[name]
    bad = KINDS[got](value) if isinstance(value, Tensor) else [KINDS[got](value[0]), *value[1:]]
    with pytest.raises(TypeError) as raised:
        getattr(losses, loss)(**(given | {name: bad}))
    which = f"{name}[0]" if isinstance(value, list) else name
    assert str(raised.value) == f"{loss}: {which} must be a plain strided tensor, got {got}"


def on_meta(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [on_meta(z) for z in value]
    return value.to("meta") if isinstance(value, Tensor) else value


@pytest.mark.parametrize(("loss", "given"), CALLS, ids=[loss for loss, _ in CALLS])
def test_meta(loss: str, given: dict[str, Any]) -> None:
    here = getattr(losses, loss)(**given)
    there = getattr(losses, loss)(**{name: on_meta(value) for name, value in given.items()})
    for a, b in zip(*([z] if isinstance(z, Tensor) else z for z in (here, there)), strict=True):
        if isinstance(a, Tensor):
            assert (b.device.type, b.shape, b.dtype) == ("meta", a.shape, a.dtype)


@pytest.mark.parametrize(
    "loss", ["nt_xent_loss", "barlow_twins_loss", "gan_discriminator_loss", "supcon_loss", "triplet_loss"]
)
def test_gradients_on_meta(loss: str) -> None:
    z = on_meta(X).requires_grad_()
    getattr(losses, loss)(z, on_meta(LABELS if loss in ("supcon_loss", "triplet_loss") else Y)).backward()
    assert (z.grad.device.type, z.grad.shape) == ("meta", X.shape)
