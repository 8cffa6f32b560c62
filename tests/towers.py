"""Encoders for the tests of cached_backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIM, OUT = 6, 4


class Tower(nn.Module):
    """With dropout, and sizes of the batches that it saw with a graph."""

    def __init__(self, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(DIM, 8, dtype=dtype), nn.Linear(8, OUT, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.graphs: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.graphs.append(len(x))
        return self.second(self.dropout(self.first(x).tanh()))


class Both(nn.Module):
    """A model of images and texts that returns its scale beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = Tower(), Tower()
        self.log_scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return F.normalize(self.image(image), dim=1), F.normalize(self.text(text), dim=1), self.log_scale.exp()
