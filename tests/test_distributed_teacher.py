"""The teacher-student losses over several ranks equal those of one process on the whole batch (gloo, CPU)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import found_by_ranks
from torch import Tensor

from sslfast.distributed import world_size
from sslfast.losses import DINOLoss, IBOTPatchLoss, MSNLoss

SHARDS = {1: [5], 2: [5, 2], 3: [3, 1, 4]}  # images of each rank; uneven ones too
STEPS, K, PATCHES = 3, 6, 4


def data(images: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Teacher (2, N, K) and student (3, N, K) views, a mask, and patches of both; the last image has none masked."""
    generator = torch.Generator().manual_seed(step)
    teachers, students, patches = (
        torch.randn(n, images, size, generator=generator, dtype=torch.float64)
        for n, size in ((2, K), (3, K), (2 * PATCHES, K))
    )
    mask = torch.rand(images, PATCHES, generator=generator) < 0.6
    mask[0] = True
    mask[-1] = False  # of a rank with one image: nothing at all
    return teachers, students, mask, *patches.transpose(0, 1).chunk(2, dim=1)


def run(
    part: slice, images: int, gather: bool = True
) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
    """Losses and gradients of what ranks share, with the state after each of some steps."""
    options = {"center_momentum": 0.5, "gather_distributed": gather}
    dino, ibot = DINOLoss(K, **options), IBOTPatchLoss(K, **options)
    balanced = DINOLoss(K, centering="sinkhorn_knopp", gather_distributed=gather)
    masked = IBOTPatchLoss(K, centering="sinkhorn_knopp", gather_distributed=gather)
    msn = [MSNLoss(0.2, *numbers, gather_distributed=gather) for numbers in ((3, 1.0), (0, 0.5), (2, 0.0))]
    losses, centers, others = [], [], []
    for step in range(STEPS):
        teachers, students, mask, t, s = data(images, step)
        head = torch.linspace(0.5, 1.5, K * K, dtype=torch.float64).view(K, K).cos().requires_grad_()
        views = list(teachers[:, part]), list(students[:, part] @ head)
        own = mask[part]
        patches = t[part][own], s[part][own] @ head, own
        found = [dino(*views), ibot(*patches), balanced(*views), masked(*patches)]
        found += [criterion(students[:, part].flatten(0, 1), teachers[0, part], head) for criterion in msn]
        found += [criterion(torch.cat(views[1]), teachers[0, part], teachers[1, :3]) for criterion in msn]
        grads = [torch.autograd.grad(loss, head, retain_graph=True)[0] for loss in found]
        for grad in grads if world_size() > 1 else []:  # what DistributedDataParallel does
            dist.all_reduce(grad)
            grad /= world_size()
        losses.append([torch.stack(found).detach(), torch.stack(grads)])
        if step == 1:  # while sums are on their way
            centers.append(dino.state_dict()["center"].clone())
            others.append(copy.deepcopy(ibot).center.value.clone())
    loaded = DINOLoss(K, center_momentum=0.5)
    state = {name: torch.full_like(value, 7) for name, value in loaded.state_dict().items()}
    loaded(*views)
    loaded.load_state_dict(state)  # while sums are on their way, which belong to what was before
    loaded.finish_center_update()
    assert (loaded.center == 7).all()
    dino.finish_center_update()
    ibot.finish_center_update()
    return losses, centers, others, dino.center, ibot.center.value


def rank_main(rank: int, world: int) -> Any:
    sizes = SHARDS[world]
    part = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    return (run(part, sum(sizes)), run(part, sum(sizes), gather=False)[0])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_over_ranks_as_in_one_process(world: int, tmp_path: Path) -> None:
    ranks, local = zip(*found_by_ranks(rank_main, world, tmp_path), strict=True)
    losses, *states = run(slice(None), sum(SHARDS[world]))
    # The centers are float32: what they are subtracted from is not, but they round in another order.
    for rank in ranks:
        torch.testing.assert_close(rank[0], losses, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(list(rank[1:]), states)
    assert states[2].any()
    assert states[3].any()
    # Without the option a rank's value is its own; of those over centers and assignments of all, the sum is known.
    for step in range(STEPS):
        shares = [size / sum(SHARDS[world]) for size in SHARDS[world]]
        of_samples = sum(share * rank[step][0][:4] for share, rank in zip(shares, local, strict=True))
        torch.testing.assert_close(of_samples, losses[step][0][:4], rtol=1e-6, atol=1e-6)
        assert world == 1 or not torch.isclose(local[0][step][0], losses[step][0]).any()
