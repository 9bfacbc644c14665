# SPDX-License-Identifier: Apache-2.0
# Every target prepares what it needs: packages by apt-get (root), our own package in .venv.

.DEFAULT_GOAL := help
.PHONY: help setup run test test-long test-security test-versions test-engines
.PHONY: bench bench-short bench-tables bench-plots bench-compare lint man pins clean
.PHONY: dist sbom release deb rpm bundle image

# -rs says why what is skipped is
PYTEST := .venv/bin/pytest -n 3 --dist loadgroup -rs tests
# All, even if the first is over budget.
BENCH = status=0; for script in bench machines containers cold engines pods; do \
  .venv/bin/python tests/benchmarks/$$script.py $(1) || status=1; done; exit $$status

help: ## list the targets (default)
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## install runc and busybox (apt), and the package into .venv
	@sh tests/setup.sh run

run: setup ## start a real container with simulated GPUs, or real ones, and show what went in
	@.venv/bin/python tests/demo.py $(if $(FULL),--full)

test: ## run the tests, with real engines (apt: docker, containerd, podman, crun ...)
	@sh tests/setup.sh test
	@$(PYTEST)

test-long: ## run the tests that take minutes, too
	@sh tests/setup.sh long
	@$(PYTEST) --long

test-security: ## try every known attack, in its long form
	@sh tests/setup.sh test
	@$(PYTEST)/security tests/engines/test_security.py --long

test-versions: ## try Python 3.11 to 3.15, the oldest dependencies and the newest
	@sh tests/setup.sh test
	@.venv/bin/python tests/versions.py

test-engines: ## try the engines of Debian 12, 13 and sid, each in a root of its own
	@sh tests/setup.sh test
	@.venv/bin/python tests/generations.py

bench: ## time the runtime against its budgets, on an idle machine; writes build/bench.json
	@sh tests/setup.sh test
	@rm -f build/bench.json
	@$(call BENCH)

bench-short: ## the same by CPU time, in fewer rounds, with a quarter more allowed
	@sh tests/setup.sh test
	@rm -f build/bench-short.json
	@$(call BENCH,--short)

bench-tables: ## put the figures of the last make bench into BENCHMARKS.md, or of SECTIONS alone
	@sh tests/setup.sh test
	@.venv/bin/python tests/benchmarks/tables.py $(SECTIONS)

bench-plots: ## draw how a create grows, into packaging/pictures and BENCHMARKS.md (3 minutes)
	@sh tests/setup.sh test
	@[ -d .venv/plots/matplotlib ] || .venv/bin/python -m pip install -qq --disable-pip-version-check --target .venv/plots 'matplotlib>=3.8'
	@.venv/bin/python tests/benchmarks/scale.py
	@PYTHONPATH=.venv/plots .venv/bin/python tests/benchmarks/plots.py

bench-compare: ## compare with the revision BASE, by PAIRS of runs (200): is anything slower?
	@sh tests/setup.sh test
	@.venv/bin/python tests/benchmarks/compare.py $(if $(PAIRS),--pairs $(PAIRS)) $(if $(ROWS),--rows '$(ROWS)') $(or $(BASE),$(error BASE=REVISION is missing))

lint: ## check style and types
	@sh tests/setup.sh test
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict nvidia_runtime tests
	@shellcheck packaging/bin/nvidia-container-runtime tests/setup.sh .ci/run packaging/install packaging/version \
	  packaging/sbom packaging/release packaging/*/build nvidia_runtime/cli/completions/nvidia-ctk.bash

man: ## write the manual pages that are made of tables and schemas
	@sh tests/setup.sh python
	@.venv/bin/python -m nvidia_runtime.cli.manual packaging/man

# For every Python from pyproject's floor on; uv is for this alone, and stays out of .venv/bin.
pins: ## renew tests/pins.txt: the newest of all that pip installs for the tests
	@sh tests/setup.sh python
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --upgrade --target .venv/uv uv
	@.venv/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra test --annotation-style line \
	  --custom-compile-command 'make pins' --output-file tests/pins.txt pyproject.toml

dist: ## build the wheel and the source archive, into dist
	@sh tests/setup.sh python
	@rm -rf dist
	@.venv/bin/python -m build --no-isolation --outdir dist .

sbom: dist ## add a CycloneDX SBOM of the wheel, and SHA-256 sums
	@packaging/sbom

release: ## make the release VERSION: version, change log, tag, packages, SBOM, sums
	@packaging/release "$(VERSION)"

deb: ## build the Debian package of what is committed, into build/deb
	@sh tests/setup.sh deb
	@packaging/debian/build

rpm: ## build the RPM of what is committed, into build/rpm
	@sh tests/setup.sh rpm
	@packaging/rpm/build

bundle: ## build a folder with an interpreter of its own, for ARCH amd64 or arm64, into build/bundle
	@sh tests/setup.sh bundle
	@packaging/bundle/build $(ARCH)

image: ## build the image that installs the runtime on nodes of Kubernetes, into build/image
	@sh tests/setup.sh image
	@packaging/kubernetes/build $(ARCH)

clean: ## remove .venv, caches and what was built; apt's packages stay
	@rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	@find nvidia_runtime tests -name __pycache__ -prune -exec rm -rf {} +
