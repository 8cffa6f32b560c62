"""Centers and Sinkhorn-Knopp of the teacher-student losses over several ranks (gloo, CPU)."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import start
from torch import Tensor

from sslfast.losses import DINOLoss, IBOTPatchLoss

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


def run(part: slice, images: int) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
    """Sums of the losses over the images of a part, with the state after each of some steps."""
    dino, ibot = DINOLoss(K, center_momentum=0.5), IBOTPatchLoss(K, center_momentum=0.5)
    balanced = DINOLoss(K, centering="sinkhorn_knopp")
    masked = IBOTPatchLoss(K, centering="sinkhorn_knopp")
    losses, centers, others = [], [], []
    for step in range(STEPS):
        teachers, students, mask, t, s = data(images, step)
        views = list(teachers[:, part]), list(students[:, part])
        own = mask[part]
        patches = t[part][own], s[part][own], own
        losses.append(torch.stack([dino(*views), ibot(*patches), balanced(*views), masked(*patches)]) * len(own))
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


def rank_main(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    sizes = SHARDS[world]
    part = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    torch.save(run(part, sum(sizes)), f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may still run when the interpreter is torn down, which then aborts now and then


@pytest.mark.parametrize("world", [1, 2, 3])
def test_over_ranks_as_in_one_process(world: int, tmp_path: Path) -> None:
    start(rank_main, world, str(tmp_path))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    losses, *states = run(slice(None), sum(SHARDS[world]))
    # The centers are float32: what they are subtracted from is not, but they round in another order.
    for step in range(STEPS):
        torch.testing.assert_close(sum(rank[0][step] for rank in ranks), losses[step], rtol=1e-6, atol=1e-6)
    for rank in ranks:
        torch.testing.assert_close(list(rank[1:]), states)
    assert states[2].any()
    assert states[3].any()
