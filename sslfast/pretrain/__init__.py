"""The toolkit: pretrain an encoder on unlabelled images or texts, evaluate it, write a report.

Only this package may import lightning, typer and the other packages of the extra ``pretrain``; they are imported when
a command runs, so that ``sslfast doctor`` and ``sslfast --version`` work without them.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sslfast.pretrain.bert import TextEncoder
    from sslfast.pretrain.encoders import ImageEncoder

__all__ = ["load_encoder", "main"]

_REQUIRED = ("lightning", "typer", "rich", "sklearn", "matplotlib", "PIL", "tensorboard")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line ``sslfast`` and returns its exit code.

    Args:
        argv: arguments without the program name. Default: None, ``sys.argv[1:]``.

    Returns:
        0 on success, 2 for a mistake of the user (one line on standard error), 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["doctor"]:
        from sslfast import doctor

        return doctor.main()
    if argv == ["--version"]:
        from sslfast import __version__

        print(f"sslfast {__version__}")
        return 0
    missing = [name for name in _REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        command = "pip install --no-build-isolation '.[pretrain]'"
        print(f"sslfast: {', '.join(missing)} not installed; in the repository run: {command}", file=sys.stderr)
        return 2
    from sslfast.pretrain.cli import run

    return run(argv)


def load_encoder(run_dir: str | Path) -> ImageEncoder | TextEncoder:
    """Loads the pretrained encoder of a finished run, in evaluation mode.

    The encoder is called on raw images or texts, ``features = encoder(images)``, and does the normalisation of the run
    itself.

    Args:
        run_dir: The folder given to ``sslfast pretrain --out``.

    Returns:
        A module that maps uint8 images (N, C, H, W), or a list of N texts, to float features (N, D).

    Raises:
        UserError: The folder holds no finished run, or one of texts where transformers is not installed.
    """
    from sslfast.pretrain.encoder_file import load_encoder as load

    return load(run_dir)
