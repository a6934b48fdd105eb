# `make demo` and `make test` work alone in a fresh clone; everything else is for development.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSIONS := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
CORE := $(VENV)/.core-$(VERSIONS)
ALL := $(VENV)/.all-$(VERSIONS)
INSTALL := sh tools/install_packages.sh $(PYTHON) $(VENV) -c constraints.txt
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
# Tests start many processes, which read what the first one compiled.
XVFB := env -u QT_QPA_PLATFORM -u PYTHONDONTWRITEBYTECODE xvfb-run -a -s "-screen 0 1600x1000x24"
SYSTEM_PACKAGES := xvfb xauth libegl1 libgl1 libgl1-mesa-dri libopengl0 libdbus-1-3 libxkbcommon-x11-0 \
  libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-xinerama0 libxcb-shape0 libxcb-image0 libxcb-render-util0 \
  libxcb-randr0 libfontconfig1 fonts-dejavu-core fonts-liberation chromium

.PHONY: demo test test-slow install system lint types docs package clean

# Installs only what the demo needs.
demo: $(CORE)
	$(BIN)/dift-edit demo -o demo

test: system install
	$(XVFB) $(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not alone'

# What takes seconds each: killed runs, whole guides, long clips, most of the window. CI runs both.
test-slow: system install
	$(XVFB) $(BIN)/python -m pytest $(PARALLEL) -m 'slow and not alone'
	$(XVFB) $(BIN)/python -m pytest -m alone $$(grep -rl --include='test_*.py' 'mark.alone' tests)

install: $(ALL)

$(CORE): pyproject.toml constraints.txt
	test -e $(ALL) || $(INSTALL) -e .
	rm -f $(VENV)/.core-*
	touch $@

$(ALL): pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	rm -f $(VENV)/.all-*
	touch $@

# Packages of the system that the tests of the napari plugin and of the review page need. They are installed where
# this user may do so (root, or sudo without a password); elsewhere their absence is named.
system:
	@sh tools/system_packages.sh $(SYSTEM_PACKAGES)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

docs: install
	$(BIN)/mkdocs build --strict

# Builds the wheel and the sdist, and tries the wheel outside the repository in a bare environment of its own.
package: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tools/check_package.py dist

clean:
	rm -rf $(VENV) demo site dist build
