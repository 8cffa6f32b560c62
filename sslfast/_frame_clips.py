"""The rules of frame sub-sampling, in the form in which the operator takes them: torch's and NumPy's face."""

from __future__ import annotations

from sslfast import _check


def frame_clips(
    function: str,
    num_frames: int,
    clip_length: int,
    stride: int,
    clips: int,
    mode: str,
    position: str,
    out_of_range: str,
) -> tuple[int, int, int, int, bool, bool, bool]:
    """Returns the arguments of frame indices as the operator takes them, from ``frames`` to ``loop``.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a number is out of range, a word is none of its two, or ``stride`` does not go with the mode.
    """
    most = 2**31 - 1
    num_frames = _check.integer(function, "num_frames", num_frames, 0, most)
    clip_length = _check.integer(function, "clip_length", clip_length, 1, most)
    stride = _check.integer(function, "stride", stride, 1, most)
    clips = _check.integer(function, "clips", clips, 1, most // clip_length)
    for name, value, words in (
        ("mode", mode, ("clip", "segments")),
        ("position", position, ("random", "centre")),
        ("out_of_range", out_of_range, ("last", "loop")),
    ):
        _check.one_of(function, name, value, words)
    if mode == "segments" and stride != 1:
        raise ValueError(f"{function}: stride must be 1 with mode 'segments', got {stride}")
    return num_frames, clips, clip_length, stride, mode == "segments", position == "random", out_of_range == "loop"
