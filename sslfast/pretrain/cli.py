"""The command line ``sslfast``."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sslfast import __version__
from sslfast.pretrain.config import UserError
from sslfast.pretrain.files import holds_checkpoint

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fast self-supervised pretraining: pretrain, evaluate and report with one command each.",
)

# Settings are None unless given: the defaults depend on the method and the data, and --resume takes the saved ones.
_RUN = "Run"
_OPTIMISATION = "Optimisation"
_METHOD = "Method"
_MODEL = "Encoder"


def _option(help_text: str, panel: str) -> Any:
    return typer.Option(help=help_text, rich_help_panel=panel, show_default=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sslfast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Run folder, e.g. runs/first.", rich_help_panel=_RUN)],
    method: Annotated[str | None, _option("simclr, masked-pixels, mae or mlm (texts).", _RUN)] = None,
    data: Annotated[
        str | None,
        _option("digits, fashion-mnist, a folder of images; mlm: glosses, a .txt file, a folder of them.", _RUN),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.", rich_help_panel=_RUN)] = False,
    seed: Annotated[int | None, _option("Key of every random draw (default 0).", _RUN)] = None,
    threads: Annotated[
        int | None, _option("CPU threads (default 1; more is slower on small images and models).", _RUN)
    ] = None,
    device: Annotated[str | None, _option("auto, cpu or cuda (default auto).", _RUN)] = None,
    precision: Annotated[str | None, _option("32-true or bf16-mixed (default 32-true).", _RUN)] = None,
    log_every: Annotated[int | None, _option("Steps between two rows of metrics.csv (default 1).", _RUN)] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be decoded.", rich_help_panel=_RUN)
    ] = False,
    epochs: Annotated[int | None, _option("Passes over the training images or texts.", _OPTIMISATION)] = None,
    batch_size: Annotated[int | None, _option("Images or texts per step.", _OPTIMISATION)] = None,
    optimizer: Annotated[str | None, _option("adam, adamw or sgd (default adamw).", _OPTIMISATION)] = None,
    lr: Annotated[float | None, _option("Peak learning rate.", _OPTIMISATION)] = None,
    weight_decay: Annotated[float | None, _option("L2 penalty.", _OPTIMISATION)] = None,
    dropout: Annotated[float | None, _option("Dropout probability (default 0).", _OPTIMISATION)] = None,
    warmup_epochs: Annotated[int | None, _option("Linear warm-up before the cosine.", _OPTIMISATION)] = None,
    patience: Annotated[
        int | None, _option("Stop after this many validations without a lower loss (default 0: never).", _OPTIMISATION)
    ] = None,
    val_every: Annotated[int | None, _option("Epochs between validations.", _OPTIMISATION)] = None,
    val_fraction: Annotated[
        float | None, _option("Held-out share of the training data (default 0.1).", _OPTIMISATION)
    ] = None,
    temperature: Annotated[float | None, _option("simclr: temperature.", _METHOD)] = None,
    crop_scale: Annotated[float | None, _option("simclr: least area a random crop keeps.", _METHOD)] = None,
    hflip: Annotated[float | None, _option("simclr: probability of a horizontal flip.", _METHOD)] = None,
    jitter: Annotated[float | None, _option("simclr: strength of the colour jitter (default 0.4).", _METHOD)] = None,
    erase_ratio: Annotated[float | None, _option("simclr: share of patches blanked in a view.", _METHOD)] = None,
    mask_ratio: Annotated[float | None, _option("Share of hidden patches or tokens.", _METHOD)] = None,
    patch_size: Annotated[int | None, _option("Side of a patch in pixels.", _METHOD)] = None,
    vocab_size: Annotated[int | None, _option("mlm: entries of the WordPiece vocabulary.", _METHOD)] = None,
    max_length: Annotated[int | None, _option("mlm: most tokens of a text; longer ones are cut.", _METHOD)] = None,
    whole_words: Annotated[
        bool, typer.Option("--whole-words", help="mlm: mask whole words.", rich_help_panel=_METHOD)
    ] = False,
    width: Annotated[
        int | None, _option("Channels of the first ResNet stage; half the ViT or BERT dimension (even).", _MODEL)
    ] = None,
    depth: Annotated[int | None, _option("BERT: transformer layers.", _MODEL)] = None,
    norm: Annotated[str | None, _option("ResNet: batch or group normalisation (default batch).", _MODEL)] = None,
    pool_grid: Annotated[int | None, _option("ResNet: cells per side that features are pooled to.", _MODEL)] = None,
    image_size: Annotated[
        int | None, _option("Side the images are resized to (default for a folder: 64).", _MODEL)
    ] = None,
) -> None:
    """Pretrain an encoder on unlabelled images or texts."""
    given = {
        key: value
        for key, value in locals().items()
        if key not in ("out", "resume") and value is not None and value is not False
    }
    try:
        _import_lightning()
        from sslfast.pretrain.loop import pretrain as run_pretraining

        run_pretraining(given, out, resume=resume, console=Console())
    except KeyboardInterrupt:
        if holds_checkpoint(out):
            _print_line(f"interrupted; sslfast pretrain --out {out} --resume continues after the last complete epoch")
        else:
            _print_line("interrupted before the first epoch was complete; the same command starts anew")
        raise typer.Exit(130) from None
    print(f"encoder: {out / 'encoder.pt'}   next: sslfast evaluate {out}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="One run, or runs that differ in the seed.")],
    labels: Annotated[str, typer.Option(help="Labels per class, e.g. 1,5,10 or 1,10,all.")] = "1,5,10",
    seeds: Annotated[int, typer.Option(help="Seeds for mean and standard deviation.")] = 3,
) -> None:
    """Linear probe, nearest neighbours and fine-tuning, beside the baselines."""
    counts = _label_counts(labels)
    if seeds < 1:
        raise UserError(f"evaluate: --seeds must be at least 1, got {seeds}")
    _import_lightning()
    from sslfast.pretrain.evaluate import evaluate as run_evaluation

    run_evaluation(runs, labels=counts, seeds=seeds, console=Console())
    print(f"written: {runs[0] / 'evaluation.json'}   next: sslfast report {runs[0]}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Runs to show, one section each.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report (default: the folder of one run, the parent of several).")
    ] = None,
) -> None:
    """Write report.html, self-contained, and its pictures."""
    _import_lightning()
    from sslfast.pretrain.report import write_report

    folder = out if out is not None else runs[0] if len(runs) == 1 else runs[0].parent
    print(f"report: {write_report(runs, folder)}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(help="Pretraining runs of each method.")] = 3,
) -> None:
    """Pretrain SimCLR and masked pixels on digits, evaluate both, write the report (about 2 minutes on 2 cores)."""
    if seeds < 1:
        raise UserError(f"demo: --seeds must be at least 1, got {seeds}")
    try:
        _import_lightning()
        from sslfast.pretrain.demo import run_demo

        path = run_demo(out, seeds=seeds, console=Console())
    except KeyboardInterrupt:
        _print_line(f"interrupted; sslfast demo --out {out} keeps every complete epoch and does the rest")
        raise typer.Exit(130) from None
    print(f"report: {path}")


@app.command()
def doctor() -> None:
    """Print versions, loaded libraries and the backend of each operator."""
    from sslfast import doctor as diagnosis

    raise typer.Exit(diagnosis.main())


def _import_lightning() -> None:
    """Imports lightning, which takes seconds, once the arguments are known to be right."""
    try:
        import lightning.pytorch  # noqa: F401
    except Exception as error:
        # Its dependency torchmetrics imports torchvision and transformers where there are such, and these break, with
        # errors of every kind, on another torch's build or where a package of theirs is missing.
        raise UserError(
            f"cannot import lightning ({error}); do the installed torchvision, transformers and torch match?"
        ) from error


def _label_counts(text: str) -> list[int]:
    """``1,5,10`` or ``1,all`` as numbers; ``all`` is ``probe.ALL``."""
    counts = []
    for part in text.split(","):
        part = part.strip()
        if part != "all" and (not part.isdigit() or int(part) < 1):
            raise UserError(f"evaluate: --labels must be positive numbers or 'all', with commas between, got '{text}'")
        counts.append(0 if part == "all" else int(part))
    return counts


def _print_line(text: str) -> None:
    print(f"sslfast: {text}", file=sys.stderr)


def run(argv: list[str]) -> int:
    """Runs one command; every mistake of the user becomes one line on standard error.

    Args:
        argv: Arguments without the program name.

    Returns:
        The exit code: 0, 2 for a mistake, 130 after Ctrl-C.
    """
    try:
        return app(argv, prog_name="sslfast", standalone_mode=False) or 0
    except UserError as error:
        _print_line(" ".join(str(error).split()))
        return 2
    except KeyboardInterrupt:
        _print_line("interrupted")
        return 130
    except OSError as error:
        _print_line(str(error))
        return 2
    except Exception as error:
        # The usage errors of typer (of click, in its older versions) are known by this method.
        if not hasattr(error, "format_message"):
            raise
        if message := _misspelt_option(error) or error.format_message():
            _print_line(message)
        return 2


def _misspelt_option(error: Any) -> str:
    """The message for an unknown option, with the closest known one; typer's own lists those of a common start."""
    context = getattr(error, "ctx", None)
    if not hasattr(error, "possibilities") or context is None:
        return ""
    options = [name for parameter in context.command.params for name in parameter.opts]
    close = difflib.get_close_matches(error.option_name, options, n=1, cutoff=0.5)
    return f"no such option: {error.option_name}" + (f" (did you mean {close[0]}?)" if close else "")
