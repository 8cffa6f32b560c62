"""Losses for self-supervised pretraining, exact and in O(N D) memory."""

from sslfast.losses.info_nce import info_nce_loss
from sslfast.losses.memory_bank import MemoryBank
from sslfast.losses.nt_xent import NTXentLoss, nt_xent_loss

__all__ = ["MemoryBank", "NTXentLoss", "info_nce_loss", "nt_xent_loss"]
