"""How a loss with many options shows itself."""

from __future__ import annotations

import inspect

from torch import Tensor, nn


def shown_options(module: nn.Module, made: type[nn.Module], *always: str) -> str:
    """``name=value`` of the options that are ``always`` shown, and of the others of ``made`` that are not the default.

    Args:
        module: has the arguments of the constructor for attributes, but those that are not to be shown.
        made: the class whose constructor it is.
        always: names of arguments.
    """
    options = [p for p in inspect.signature(made).parameters.values() if hasattr(module, p.name)]
    values = {p.name: (getattr(module, p.name), p.default) for p in options}
    shown = {name: value for name, (value, default) in values.items() if name in always or value != default}
    return ", ".join(f"{name}={_text(value)}" for name, value in shown.items())


def _text(value: object) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    return "meta" if value.is_meta else repr(value.tolist())  # which has no numbers there
