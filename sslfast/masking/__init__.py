"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.token_mask import mask_tokens

__all__ = ["mask_tokens"]
