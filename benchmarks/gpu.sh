#!/usr/bin/env bash
# What `make gpu` runs once sslfast is built on a machine with a CUDA torch: the GPU tests natively, the memory checker
# over the CUDA C++ kernels, and the GPU benchmarks, which write benchmarks/results/<gpu>.csv, also after a memory check
# that failed. Needs no network. Where the GPU is there for minutes only, run parts of it by hand: docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

"$PYTHON" -m sslfast.doctor
"$PYTHON" -c "import sys, torch; sys.exit(None if torch.cuda.is_available() else 'sslfast: this torch finds no CUDA device')"
"$PYTHON" -m pytest -m gpu
failed=0
if ! command -v compute-sanitizer >/dev/null; then
  echo "compute-sanitizer is not on the PATH: memory check left out"
elif ! compute-sanitizer --error-exitcode 1 "$PYTHON" -c "import torch; torch.ones(1).cuda()" >/dev/null 2>&1; then
  # On the PATH it may still be older than the driver, or not allowed to debug.
  echo "compute-sanitizer does not run on this device: memory check left out"
else
  # By what tests are, not by kernels' names: every masking rule's contract, every operator against its reference, whose
  # sizes lie at the edges of blocks, and the gradients of those that copy rows.
  CHECKED="test_mask_rules or equals_reference or id_range or token_counts or graph_mask or feature_corruption"
  CHECKED="$CHECKED or patch or masked_feature or sampled_softmax or item_negatives or mask_token or image_augment"
  CHECKED="$CHECKED or batch_mix or random_erase or replaced_token or audio or frame_indices or token_augment or token_mask"
  CHECKED="$CHECKED or test_many_or_few_views"
  compute-sanitizer --error-exitcode 1 "$PYTHON" -m pytest -m gpu -k "$CHECKED" || failed=1
  # Races for shared memory and barriers that some threads miss, where blocks walk over views.
  for tool in racecheck synccheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$PYTHON" -m pytest -m gpu -k test_many_or_few_views || failed=1
  done
fi
"$PYTHON" -m benchmarks --device cuda || failed=1
if [ "$failed" != 0 ]; then
  echo "sslfast: a memory check or a benchmark failed, see above" >&2
fi
exit "$failed"
