"""What a call launches on a GPU, counted on the CPU, too: torch's operators and our own kernels."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

_NO_LAUNCH = {"empty", "new_empty", "empty_like", "empty_strided", "detach", "view", "alias"}


class Launches(TorchDispatchMode):
    """Counts torch operators that launch a kernel, and our own kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace != "sslfast" and func.overloadpacket.__name__ not in _NO_LAUNCH:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class Counted:
    """A kernel that says when it is launched."""

    def __init__(self, kernel, names: list[str]) -> None:
        self.kernel, self.names = kernel, names

    def __getitem__(self, grid):
        def launch(*args, **kwargs):
            self.names.append(self.kernel.__name__)
            with _disable_current_modes():  # the interpreter copies its arguments with torch
                self.kernel[grid](*args, **kwargs)

        return launch
