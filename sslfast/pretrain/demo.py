"""``sslfast demo``: two methods on the digits, evaluated over seeds, one report; two processes of one thread each."""

from __future__ import annotations

import io
import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console

from sslfast.pretrain.evaluate import evaluate
from sslfast.pretrain.files import CONFIG, ENCODER, EVALUATION
from sslfast.pretrain.loop import pretrain
from sslfast.pretrain.report import write_report

METHODS = ("simclr", "masked-pixels")
LABELS = (1, 5, 10)


def run_demo(out: Path, *, seeds: int, console: Console) -> Path:
    """Pretrains every method once per seed, evaluates, and writes the report.

    Images of 8x8 pixels keep one thread busy and no more, so two runs go side by side. Run again on the same folder,
    it reuses what is complete and continues what is not.

    Args:
        out: Folder of the runs and the report.
        seeds: Pretraining runs of each method.
        console: Where progress is shown.

    Returns:
        The path of report.html.
    """
    started = time.perf_counter()
    folders = {
        method: [out / (method if seed == 0 else f"{method}-seed{seed}") for seed in range(seeds)] for method in METHODS
    }
    console.print(
        f"pretraining {' and '.join(METHODS)} on the digits, {seeds} seed{'s' * (seeds > 1)} each, two at a time",
        highlight=False,
    )
    # Spawned, not forked: a forked child inherits the locks of torch's threads.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            runs = {
                pool.submit(_pretrain, method, seed, folder): folder
                for method in METHODS
                for seed, folder in enumerate(folders[method])
            }
            _report_each(runs, started, console)
            evaluations = {pool.submit(_evaluate, folders[method], seeds): folders[method][0] for method in METHODS}
            console.print("evaluating with 1, 5 and 10 labels per class", highlight=False)
            _report_each(evaluations, started, console)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    report = write_report([folders[method][0] for method in METHODS], out)
    console.print(f"done in {time.perf_counter() - started:.0f} s", highlight=False)
    return report


def _report_each(futures: dict[Future[tuple[str, str]], Path], started: float, console: Console) -> None:
    """Prints what was done to each folder, and the text that belongs to it."""
    for future in as_completed(futures):
        done, text = future.result()
        console.print(
            f"[{time.perf_counter() - started:4.0f} s] {done} {futures[future]}", highlight=False, markup=False
        )
        if text:
            console.print(text, highlight=False, markup=False, soft_wrap=True)


def _pretrain(method: str, seed: int, folder: Path) -> tuple[str, str]:
    done = "reused" if (folder / ENCODER).is_file() else "pretrained"
    given = {"method": method, "data": "digits", "seed": seed, "device": "cpu"}
    pretrain(given, folder, resume=(folder / CONFIG).is_file(), console=Console(quiet=True))
    return done, ""


def _evaluate(folders: list[Path], seeds: int) -> tuple[str, str]:
    """The comparison table of one method as text."""
    (folders[0] / EVALUATION).unlink(missing_ok=True)
    text = io.StringIO()
    evaluate(folders, labels=LABELS, seeds=seeds, console=Console(file=text, width=100))
    return "evaluated", text.getvalue()
