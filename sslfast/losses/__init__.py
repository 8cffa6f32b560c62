"""Losses for self-supervised pretraining, exact and in O(N D) memory."""

from sslfast.losses.nt_xent import NTXentLoss, nt_xent_loss

__all__ = ["NTXentLoss", "nt_xent_loss"]
