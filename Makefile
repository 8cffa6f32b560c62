# demo   pretrain, evaluate and report on embedded real data (needs nothing installed beforehand)
# test   every test that runs without a GPU
# lint   ruff, mypy, clang-format, and the README's benchmark table against the results
# bench  the CPU benchmarks beside their peers; fails where a ratio is under its threshold
# gpu    on a machine with a CUDA torch, nvcc and no network: build, GPU tests, sanitizer, GPU benchmarks; PYTHON has to
#        have triton, numpy, scipy, pytest, pytest-benchmark, setuptools and cmake beside torch
# cuda-on-cpu  the tests of operators with CUDA kernels, run by those kernels, thread by thread on the CPU; needs no GPU,
#        but g++ and x86-64. ARGS: for tests/cuda_on_cpu/run.py
#
# PYTHON  the interpreter to start from, 3.11 or newer. If it can import torch, that torch is used; otherwise TORCH is
#         installed, as its CPU build where the package index has that one.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
RUN := $(VENV)/bin/python
SOURCES := $(shell find csrc -type f) CMakeLists.txt setup.py pyproject.toml
CXX_FILES := $(shell find csrc tests/cuda_on_cpu -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh')

.PHONY: demo test lint bench gpu cuda-on-cpu clean

demo: $(VENV)/installed
	$(VENV)/bin/sslfast demo --out runs/demo

test: $(VENV)/installed
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m mypy tests/typed_masks.py
	"$$($(RUN) -c 'import clang_format; print(clang_format.get_executable("clang-format"))')" --dry-run --Werror $(CXX_FILES)
	$(RUN) -m benchmarks.table --check

bench: $(VENV)/bench
	$(RUN) -m benchmarks

gpu: $(VENV)/gpu
	PYTHON=$(RUN) bash benchmarks/gpu.sh

cuda-on-cpu: $(VENV)/installed
	$(RUN) tests/cuda_on_cpu/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info sslfast/*.so

# Next to a torch that is already there, the environment takes that interpreter's packages, torch and pip included.
# What fails half-way is removed, so that the next call starts anew.
$(RUN):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "sslfast: needs Python 3.11 or newer"; exit 1; }
	if $(PYTHON) -c "import torch" 2>/dev/null; then \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -c "import sys; print(*[p for p in sys.path if p.endswith('-packages')], sep='\n')" \
	    > "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/outer.pth"; \
	else \
	  $(PYTHON) -m venv $(VENV) && $(RUN) -m pip install -q --upgrade pip && \
	  { $(RUN) -m pip install -q "$(TORCH)+cpu" 2>/dev/null || $(RUN) -m pip install -q "$(TORCH)"; }; \
	fi || { rm -rf $(VENV); exit 1; }

$(VENV)/installed: $(RUN) $(SOURCES)
	$(RUN) -m pip install -q "setuptools>=77" wheel "cmake>=3.22"
	$(RUN) -m pip install -q --no-build-isolation -e ".[pretrain,test]"
	$(RUN) -m pip install -q --no-deps --upgrade --target build/peers torchvision==0.28.0 lightly==1.6.0 lightly-utils==0.0.2 \
	  open_clip_torch==3.3.0 pytorch-metric-learning==2.9.0 recbole==1.2.1
	@test -e sslfast/_ops_cuda.so || echo "sslfast: no nvcc found, built for the CPU only"
	touch $@

$(VENV)/lint: $(VENV)/installed
	$(RUN) -m pip install -q --no-build-isolation -e ".[lint]"
	touch $@

$(VENV)/bench: $(VENV)/installed benchmarks/requirements.txt benchmarks/requirements-no-deps.txt
	$(RUN) -m pip install -q -r benchmarks/requirements.txt
	$(RUN) -m pip install -q --no-deps --upgrade --target build/peers -r benchmarks/requirements-no-deps.txt
	touch $@

$(VENV)/gpu: $(RUN) $(SOURCES)
	$(RUN) -m pip install -q --no-index --no-deps --no-build-isolation -e .
	touch $@
