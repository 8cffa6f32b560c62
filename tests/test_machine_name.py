"""The names of CPUs in benchmarks/results: those that a virtual machine calls alike are told apart."""

import platform

import pytest

from benchmarks.machine import cpu_name

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: {family}
model\t\t: {model}
model name\t: {name}
stepping\t: 1

processor\t: 1
cpu family\t: 99
model\t\t: 99
model name\t: another
"""


@pytest.mark.parametrize(
    ("name", "family", "model", "slug"),
    [
        ("AMD EPYC", 25, 17, "amd-epyc-family-25-model-17"),
        ("AMD EPYC", 26, 2, "amd-epyc-family-26-model-2"),
        ("AMD EPYC Processor", 26, 2, "amd-epyc-family-26-model-2"),
        ("Intel(R) Xeon(R) Processor @ 2.10GHz", 6, 143, "intel-xeon-family-6-model-143"),
        ("AMD EPYC 9R14", 25, 17, "amd-epyc-9r14"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 6, 143, "intel-xeon-platinum-8481c"),
    ],
)
def test_name_tells_generations_apart(name: str, family: int, model: int, slug: str) -> None:
    assert cpu_name(CPUINFO.format(name=name, family=family, model=model)) == slug


def test_name_without_a_model_is_the_architecture() -> None:
    assert cpu_name("") == platform.machine().replace("_", "-").lower()
    assert cpu_name("processor\t: 0\nBogoMIPS\t: 50.00\n") == platform.machine().replace("_", "-").lower()
