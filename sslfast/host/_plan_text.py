"""Plans of views as JSON, and back: what a process without torch, or another machine, can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sslfast import _batch_rules, _check
from sslfast._image_plan import Plan
from sslfast._image_steps import (
    CHOICES,
    CODES,
    CROP,
    EXACT,
    INTERPOLATIONS,
    KEEP,
    MAX_SIDE,
    MOST_KERNEL,
    MOST_RULES,
    MOST_STEPS,
    NO_FILL,
    PADDINGS,
    SHORTER,
    Erase,
    Resample,
    Segment,
    Step,
)
from sslfast.host._images import DTYPES

_VERSION = 1
_RULES = {"jitter": 9, "solarize": 2, "posterize": 2, "sharpness": 3, "blur": 3, "affine": 16}  # else 1


def write(names: Sequence[str], plans: Sequence[Plan], order: Sequence[int]) -> str:
    """The text of plans and of the order in which views come from them."""
    transforms = []
    for name, plan in zip(names, plans, strict=True):
        segments = [
            {"resample": asdict(one.resample), "steps": [_written(s) for s in one.steps]} for one in plan.segments
        ]
        form = {"mean": plan.mean, "std": plan.std, "dtype": plan.dtype, "scale": plan.scale, "erases": plan.erases}
        transforms.append({"name": name, "segments": segments, **form})
    return json.dumps({"sslfast_views": _VERSION, "transforms": transforms, "order": list(order)})


def _written(step: Step) -> dict[str, Any]:
    listed = {"fill": [*map(float, step.fill)]} if step.fill else {}
    return {"name": step.name, "settings": [*map(float, step.settings)], "rules": [*map(float, step.rules)]} | listed


def read(function: str, text: str) -> tuple[list[str], list[Plan], list[int]]:
    """What ``write`` was given.

    Raises:
        TypeError: ``text`` is no string.
        ValueError: it is not of ``write``: nothing that a kernel could stumble over is let through.
    """
    if not isinstance(text, str):
        raise TypeError(f"{function}: text must be a string, got {type(text).__name__}")
    try:
        found = json.loads(text)
        if found["sslfast_views"] != _VERSION:
            raise ValueError(f"version {found['sslfast_views']}, not {_VERSION}")
        names = [str(one["name"]) for one in found["transforms"]]
        plans = [_plan(one) for one in found["transforms"]]
        order = [_check.integer("it", "order", k, 0, len(plans) - 1) for k in found["order"]]
        if not order:
            raise ValueError("no view")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise ValueError(f"{function}: text must be what to_json gave, got {text[:40]!r} ({reason})") from None
    return names, plans, order


def _plan(found: dict[str, Any]) -> Plan:
    plan = Plan()
    plan.segments = [_segment(one) for one in found["segments"]]
    if not plan.segments:
        raise ValueError("no segment")
    if found["mean"] is not None:
        plan.mean, plan.std = _numbers(found["mean"]), _numbers(found["std"])
        if len(plan.mean) != len(plan.std) or not plan.mean or min(plan.std) <= 0:
            raise ValueError("mean and std")
    plan.dtype = found["dtype"]
    if plan.dtype is not None and plan.dtype not in DTYPES:
        raise ValueError(f"dtype {plan.dtype!r}")
    plan.scale = _check.boolean("it", "scale", found["scale"])
    for p, scale, ratio, values, noise in found["erases"]:
        p, scales, ratios = _batch_rules.erase_rules("it", p, scale, ratio)
        value = "random" if _check.boolean("it", "noise", noise) else values
        numbers, noise = _batch_rules.erase_values("it", value, None)
        plan.erase(Erase(p, (scales[0], scales[1]), (ratios[0], ratios[1]), tuple(numbers), noise))
    return plan.complete()


def _segment(found: dict[str, Any]) -> Segment:
    segment = Segment()
    values = {field.name: found["resample"][field.name] for field in fields(Resample)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    segment.resample = Resample(**values)
    _check_resample(segment.resample)
    for step in found["steps"]:
        numbers = _three(step["settings"]), _numbers(step["rules"]), _numbers(step.get("fill", ()))
        segment.steps.append(Step(step["name"], *numbers))
    for step in segment.steps:
        known = step.name in CODES and step.name != "resample"
        if not known or not _has_its_rules(step) or not _has_its_settings(step):
            raise ValueError(f"step {step.name!r}")
    if len(segment.steps) > MOST_STEPS or 13 + sum(len(step.rules) for step in segment.steps) > MOST_RULES:
        raise ValueError("too many steps")
    return segment


def _check_resample(one: Resample) -> None:
    sides = [] if one.size is None else [*one.size]
    if one.kind == CROP and len(_numbers(one.box)) != 6:
        raise ValueError("box")
    if (one.kind == CROP or one.size is not None) and len(sides) != 2:
        raise ValueError("size")
    how, first, second = one.rule
    sides += [first, second] if how == EXACT else [first] if how == SHORTER else []
    if how not in (KEEP, SHORTER, EXACT) or (how == SHORTER and not 0 <= second <= MAX_SIDE):
        raise ValueError("rule")
    for side in sides:
        _check.integer("it", "size", side, 1, MAX_SIDE)
    if len([_check.integer("it", "padding", side, 0, MAX_SIDE) for side in one.padding]) != 4:
        raise ValueError("padding")
    if one.interpolation not in INTERPOLATIONS or one.kind not in (0, 1) or one.placement not in (0, 1):
        raise ValueError("resample")
    _check.boolean("it", "antialias", one.antialias)
    _check.boolean("it", "smaller_images", one.smaller_images)
    _check.one_of("it", "padding_mode", one.padding_mode, PADDINGS)
    fills = one.fill if isinstance(one.fill, tuple) else (one.fill,)
    if not fills:
        raise ValueError("fill")
    for number in (one.hflip, one.vflip, *fills):
        _check.probability("it", "resample", number)


def _has_its_rules(step: Step) -> bool:
    if step.name != "choice":
        return len(step.rules) == _RULES.get(step.name, 1)
    first, last, bins, count, *table = step.rules
    whole = all(number.is_integer() for number in (first, last, bins, count, *table[::4]))
    codes_known = all(0 <= code < len(CHOICES) for code in table[::4])
    return whole and codes_known and 0 <= first <= last and bins >= 1 and 1 <= count == len(table) / 4


def _has_its_settings(step: Step) -> bool:
    first, second, _ = step.settings
    if step.name == "blur":
        return all(1 <= side <= MOST_KERNEL and side % 2 == 1 for side in (first, second))
    if step.name not in ("affine", "choice"):
        return not step.fill
    return first in (0, 1) and (second == NO_FILL or 0 <= second <= 1) and all(0 <= value <= 1 for value in step.fill)


def _numbers(found: Sequence[float]) -> tuple[float, ...]:
    return tuple(_check.real("it", "numbers", number) for number in found)


def _three(found: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = _numbers(found)
    return first, second, third
