"""What an import costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRESH = """
import sys, time
blocked = {blocked!r}
for name in blocked:
    sys.modules[name] = None  # importing it raises from here on
import torch
before, start = set(sys.modules), time.process_time()
import sslfast
cost = time.process_time() - start
assert not any(name.startswith("torch.") for name in set(sys.modules) - before), "sslfast alone must stay light"
from sslfast import augment, host, losses, masking, random, reference
import sslfast.doctor
heavy = {{"triton", "lightning", "pytorch_lightning", "transformers", "sklearn", "matplotlib", "torchvision"}}
heavy |= {{"PIL", "cv2", "simplejpeg", "av", "torchaudio"}}
loaded = {{name.split(".")[0] for name, module in sys.modules.items() if module is not None}} & heavy
assert not loaded, loaded
if torch.version.cuda is None:
    maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
    assert "_ops_cuda" not in maps and "libcuda" not in maps
ids, *_ = masking.mask_tokens(torch.arange(8), mask_token_id=0, vocab_size=9, generator=1)
masking.mask_patches(torch.ones(1, 4, 2, requires_grad=True))[0].sum().backward()
assert cost < 0.2, cost
"""


@pytest.mark.parametrize("blocked", [[], ["triton", "lightning"]])
def test_import_is_light_and_needs_no_triton(blocked, tmp_path):
    program = FRESH.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
