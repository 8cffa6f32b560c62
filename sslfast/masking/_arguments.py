"""Arguments that every masking rule takes, and whose name its errors carry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sslfast._arguments import in_range, numbered_rows, row_lengths

__all__ = ["errors_of", "in_range", "numbered_rows", "row_lengths"]


@contextmanager
def errors_of(caller: str) -> Iterator[None]:
    """Within it the errors of a masking rule begin with the name of the collator that calls the rule: the rule's own
    name means nothing to whoever called the collator.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        function, colon, text = str(error).partition(": ")
        if type(error) not in (TypeError, ValueError) or not colon or not function.isidentifier():
            raise
        raise type(error)(f"{caller}: {text}") from None
