"""Arguments that every masking rule takes."""

from sslfast._arguments import numbered_rows, row_lengths

__all__ = ["numbered_rows", "row_lengths"]
