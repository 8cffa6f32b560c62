"""csrc/cuda as C++: launches become calls, and shared memory what the block of threads has.

    python rewrite.py csrc/cuda FOLDER

writes a file to FOLDER for each one, with the same lines under the same numbers.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DYNAMIC = re.compile(r"extern __shared__ (?P<type>[\w:]+) (?P<name>\w+)\[\];")
SHARED = re.compile(
    r"__shared__ (?P<type>(?:typename )?[\w:]+) (?P<names>\w+(?:\[[^\]]+\])*(?:, \w+(?:\[[^\]]+\])*)*);"
)


def static_shared(found: re.Match[str]) -> str:
    """Each variable by the address of a key of its own, one for each instantiation of a template."""
    lines = []
    for declarator in re.split(r", (?=\w)", found["names"]):
        name = re.match(r"\w+", declarator)[0]
        extents = declarator[len(name) :]
        lines.append(f"static char {name}_key;")
        lines.append(f"auto& {name} = ::cuda_on_cpu::shared<{found['type']}{extents}>(&{name}_key);")
    return " ".join(lines)


def kernel_before(text: str, end: int) -> int:
    """Where the name of the kernel, with its template arguments, begins that ends at ``end``."""
    at = len(text[:end].rstrip())
    if text[at - 1] == ">":
        depth = 0
        while True:
            at -= 1
            depth += {">": 1, "<": -1}.get(text[at], 0)
            if depth == 0:
                break
    while re.match(r"[\w:]", text[at - 1]):
        at -= 1
    return at


def behind_parenthesis(text: str, at: int) -> int:
    """The place behind the parenthesis that closes the one at ``at``."""
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return at


def launches(text: str) -> str:
    limited = set(re.findall(r"(?:cudaFuncSetAttribute|allow_shared)\((\w+)", text))  # their limits are their own
    while (begin := text.find("<<<")) >= 0:
        first = kernel_before(text, begin)
        end = text.index(">>>", begin)
        last = behind_parenthesis(text, end + 3)
        kernel, configuration, arguments = text[first:begin], text[begin + 3 : end], text[end + 3 : last]
        name = re.match(r"[\w:]+", kernel)[0]
        function = f"reinterpret_cast<const void*>(+{kernel})" if name in limited else "nullptr"
        call = f'::cuda_on_cpu::launch("{name}", {function}, {configuration}, [=] {{ {kernel}{arguments}; }})'
        text = text[:first] + call + text[last:]
    return text


def barriers(text: str) -> str:
    """A function that is one barrier stands where its caller does."""
    function = r"void (\w+)\(\) const \{ (__syncthreads|cooperative_groups::this_grid\(\)\.sync)\(\); \}"
    return re.sub(function, r"void \1(Site at = Site::current()) const { \2(at); }", text)


def rewritten(text: str, name: str) -> str:
    text = DYNAMIC.sub(r"auto* \g<name> = static_cast<\g<type>*>(::cuda_on_cpu::dynamic_shared());", text)
    text = barriers(text)
    text = launches(SHARED.sub(static_shared, text)).replace("__noinline__", "[[gnu::noinline]]")
    if "__shared__" in text:
        raise SystemExit(f"{name}: a declaration of shared memory that is not understood")
    return f'#line 1 "{name}"\n{text}'


def main(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted([*source.glob("*.cu"), *source.glob("*.cuh")]):
        text = rewritten(path.read_text(), f"csrc/cuda/{path.name}")
        to = target / path.name.replace(".cu", ".cpp") if path.suffix == ".cu" else target / path.name
        if not to.exists() or to.read_text() != text:
            to.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
