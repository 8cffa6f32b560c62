"""How a loss with many options shows itself."""

from __future__ import annotations

import inspect

from torch import Tensor, nn


def shown_options(module: nn.Module, made: type[nn.Module], *always: str) -> str:
    """``name=value`` of the options that are ``always`` shown, and of the others of ``made`` that are not the default.

    Args:
        module: has every argument of the constructor for an attribute.
        made: the class whose constructor it is.
        always: names of arguments.
    """
    options = inspect.signature(made).parameters.values()
    values = {
        p.name: getattr(module, p.name) for p in options if p.name in always or getattr(module, p.name) != p.default
    }
    numbers = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}
    return ", ".join(f"{name}={value!r}" for name, value in numbers.items())
