"""Nearest neighbours in a bank by definition (Dwibedi et al., 2021, equation 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest_neighbours(output: Tensor, bank: Tensor) -> Tensor:
    """For each row of (N, D) the row of the bank (K, D) of the largest cosine similarity, as it is in the bank."""
    similarity = F.normalize(output, dim=1) @ F.normalize(bank, dim=1).T
    return bank[torch.argmax(similarity, dim=1)]
