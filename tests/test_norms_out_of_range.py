"""bfloat16 rows whose norm float32 cannot hold: F.normalize makes them 0, and so does every loss that normalises.

The kernels multiply such rows as they are, and by the factor 0 afterwards, which is no 0 of an infinite product.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from torch import Tensor

from sslfast.losses import clip_loss, info_nce_loss, multi_positive_nt_xent_loss, nt_xent_loss, siglip_loss, supcon_loss


def _groups(a: Tensor) -> Tensor:
    return torch.arange(len(a)) % (len(a) // 3)


LOSSES = {
    "clip": lambda a, b: clip_loss(a, b, 10.0, normalize=True),
    "siglip": lambda a, b: siglip_loss(a, b, 10.0, -3.0, normalize=True),
    "info_nce": info_nce_loss,
    "info_nce of all": lambda a, b: info_nce_loss(a, b, query_negatives=True, key_negatives=True, symmetric=True),
    "info_nce of others": lambda a, b: info_nce_loss(a, b, negative_keys=a.detach()),
    "nt_xent": nt_xent_loss,
    "supcon": lambda a, b: supcon_loss(torch.cat([a, b]), _groups(a).repeat(2)),
    "supcon of references": lambda a, b: supcon_loss(a, _groups(a), ref_emb=b, ref_labels=_groups(b)),
    "multi_positive": lambda a, b: multi_positive_nt_xent_loss(torch.cat([a, b]), _groups(a).repeat(2)),
}


@pytest.mark.parametrize("pairs", [12, 600])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_row_beyond_the_largest_norm_is_zero(loss, pairs: int) -> None:
    a, b = torch.randn(pairs, 16), torch.randn(pairs, 16)
    a[3] *= 1e20
    b[5] *= 1e25
    a, b = a.bfloat16(), b.bfloat16()
    found, d_a, d_b = with_grads(loss, a, b)
    unit, other = (F.normalize(z.float(), dim=1) for z in (a, b))
    torch.testing.assert_close(found, loss(unit, other), rtol=1e-5, atol=0.0)
    assert not unit[3].any()
    assert d_a.isfinite().all()
    assert d_b.isfinite().all()
    assert not d_a[3].any()
    assert not d_b[5].any()


@pytest.mark.parametrize("pairs", [12, 600])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_an_infinite_number_is_not(loss, pairs: int) -> None:
    a = torch.randn(pairs, 16).bfloat16()
    a[3, 2] = torch.inf
    assert loss(a, torch.randn(pairs, 16).bfloat16()).isnan()
