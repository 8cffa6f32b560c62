"""sslfast: masking, similarity losses and augmentation for self-supervised pretraining, in C++, CUDA and Triton.

``sslfast.losses``, ``sslfast.masking`` and ``sslfast.augment`` hold the public functions and modules,
``sslfast.host`` the same masks and views over NumPy arrays, ``sslfast.random`` the counter-based random bits behind all
of them and ``sslfast.reference`` the plain PyTorch definition of each. ``sslfast doctor`` says what is installed.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

__all__ = ["augment", "distributed", "host", "losses", "masking", "random", "reference"]


def __getattr__(name: str) -> ModuleType:
    # Loaded at first use, so that `import sslfast` costs nothing and `sslfast doctor` works on a broken installation.
    if name in __all__:
        return importlib.import_module(f"sslfast.{name}")
    raise AttributeError(f"module 'sslfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
