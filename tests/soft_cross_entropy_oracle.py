"""soft_cross_entropy by its definition in torch, and the operator's call that tests compare with it."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast.reference.soft_cross_entropy import soft_cross_entropy

TEMPERATURES = (0.1, 0.04)


def by_definition(students: list[Tensor], teachers: list[Tensor], centers: Tensor | None, skip: bool, weights: Tensor):
    leaves = [s.clone().requires_grad_() for s in students]
    losses = soft_cross_entropy(leaves, teachers, centers, *TEMPERATURES, skip)
    grads = torch.autograd.grad((losses * weights).sum(), leaves, materialize_grads=True)
    return losses.detach(), torch.stack(grads)


def call(students: list[Tensor], teachers: list[Tensor], weights: Tensor | None = None, **kwargs) -> list[Tensor]:
    return list(ops.soft_cross_entropy(students, teachers, None, weights, 10.0, 25.0, 1.0, False, True, True, **kwargs))
