PYTHON ?= python3
PIP_FLAGS ?= -q --disable-pip-version-check -c constraints.txt
FOLDERS := configs sensors export stream train audit cli
SOURCES := $(shell find $(FOLDERS) -name '*.py' -o -name '*.yaml' -o -name '*.onnx') setup.py pyproject.toml constraints.txt

.PHONY: demo test pytest soak chaos lint links bundle audit-deps clean

# Anonymous skeletons arriving at a subscriber: nothing but the base install and onnxruntime.
demo: build/base/.installed
	build/base/bin/skelanon demo

# Everything: the wheel is built and installed, then linted, type-checked and tested; with -j2, both at once.
test: lint pytest

pytest: .venv/.installed build/base/.installed links
	OMP_NUM_THREADS=1 .venv/bin/pytest -n auto --dist loadfile --no-loadscope-reorder

# Hours of simulated sensor time with faults; a fleet whose parts are killed at random. docs/reliability.md has results.
HOURS ?= 8
ROUNDS ?= 1000
soak: .venv/.installed
	PYTHONPATH=tests/endurance .venv/bin/python -m soak --hours $(HOURS) --out build/soak.json

chaos: .venv/.installed
	PYTHONPATH=tests/endurance:tests/support .venv/bin/python -m chaos --rounds $(ROUNDS) --out build/chaos.json

lint: .venv/.installed links
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy build/ns/skelanon
	.venv/bin/mypy tests

# The default bundle, byte for byte as it is in the repository.
bundle: .venv/.installed
	.venv/bin/skelanon export --out export/template.onnx

# Advisories for all pinned versions; what cannot be looked up fails. It needs PyPI's own service, no mirror of its files.
audit-deps:
	test -d build/audit-env || $(PYTHON) -m venv build/audit-env
	build/audit-env/bin/pip install -q --disable-pip-version-check pip-audit
	build/audit-env/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# An environment as users have it, without torch.
build/base/.installed: dist/.built
	$(PYTHON) -m venv build/base
	build/base/bin/pip install $(PIP_FLAGS) "$$(ls dist/*.whl)[cpu]"
	build/base/bin/pip install $(PIP_FLAGS) --force-reinstall --no-deps dist/*.whl
	touch $@

# The environment of developers. pykinect_azure asks for OpenCV with windows, which needs libraries of a desktop; comtypes
# is for Windows, which the tests of pykinect2 stand in for.
.venv/.installed: dist/.built
	$(PYTHON) -m venv .venv
	.venv/bin/pip install $(PIP_FLAGS) "$$(ls dist/*.whl)[cpu,train,test,view]"
	.venv/bin/pip install $(PIP_FLAGS) opencv-python-headless
	.venv/bin/pip install $(PIP_FLAGS) --no-deps pykinect_azure pykinect2 comtypes
	.venv/bin/pip install $(PIP_FLAGS) --force-reinstall --no-deps dist/*.whl
	touch $@

dist/.built: $(SOURCES)
	rm -rf dist build/lib build/bdist.* build/build-env
	$(PYTHON) -m venv build/build-env
	build/build-env/bin/pip install $(PIP_FLAGS) build
	build/build-env/bin/python -m build -q --wheel --outdir dist
	touch $@

# What type checkers need to see through the mapped layout: build/ns/skelanon/<folder> -> <folder>.
links:
	mkdir -p build/ns/skelanon
	for f in $(FOLDERS); do ln -sfn ../../../$$f build/ns/skelanon/$$f; done

clean:
	rm -rf build dist .venv *.egg-info
