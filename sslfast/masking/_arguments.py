"""Arguments that every masking rule takes, and whose name its errors carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sslfast._arguments import in_range, numbered_rows, row_lengths, strided

__all__ = ["errors_of", "in_range", "numbered_rows", "row_lengths", "strided"]


@contextmanager
def errors_of(caller: str, **arguments: str) -> Iterator[None]:
    """Within it the errors of a masking rule begin with the name of the collator or drop-in that calls the rule, whose
    own name means nothing to whoever called; and with the caller's words for its arguments, the rule's name to the
    caller's.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        function, colon, text = str(error).partition(": ")
        if type(error) not in (TypeError, ValueError) or not colon or not function.isidentifier():
            raise
        argument = _ARGUMENT.match(text)
        if argument is not None:
            text = arguments.get(argument[0], argument[0]) + text[argument.end() :]
        raise type(error)(f"{caller}: {text}") from None


_ARGUMENT = re.compile(r"\w+")
