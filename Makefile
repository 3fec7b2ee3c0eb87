# Everything here installs what it needs first; see CONTRIBUTING.md for each as a plain command.
#
#   make demo    the main job: publish, kill a worker, count; INPUT=path LAYER=name COUNT=n JSON=1
#   make test    every test, with the brokers it starts itself; BROKER=redis: those that ask for it
#   make test-fast     the core, the machines, the codecs, the memory layers: under a minute
#   make test-lowest   the core, the codecs and the layers, with the lowest versions that are promised
#   make test-pythons  what test-fast runs, on every other Python of this machine
#   make coverage      every test, measured; below a floor it fails
#   make crash   break everything in mid-stream and count: LAYER=name
#   make check   format, lint, types, contracts, machines, docs: under a minute
#   make chat    a chat in the browser; LAYER=memory, redis, redis-streams, postgres, mqtt
#   make bench   the table of benchmarks, half an hour; NAME=one of them, QUICK=1: less of each
#   make docs    the documentation, into site/
#   make release-rehearsal   a release, to an index on this machine

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest
RELEASE := .venv-release

# The checkers look for the environment they check first on the path.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export NO_MKDOCS_2_WARNING := 1

# The longest first: it decides when all are done.
CHECKS := check-tests check-pyright check-complete check-docs check-mypy check-floors check-lint \
  check-format
# Where make can, each check's words stay together.
TOGETHER := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Rooms of tests/rooms.py that need no broker and little time.
FAST := core machines codecs memory

CHAT_BROKER = $(filter-out memory,$(firstword $(subst -, ,$(LAYER))))

.PHONY: demo test test-fast test-lowest test-pythons coverage crash check chat bench docs $(CHECKS)

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What users install, and what it takes to run its tests: no tools.
$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	@test -x $(LOWEST)/bin/pip || $(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints-lowest.txt \
	  --editable '.[all,conformance]' trio pytest-timeout
	@touch $@

# The installer's words go to stderr: what is printed is the demo's, to the last line with JSON=1.
demo: $(INSTALLED)
	@$(if $(filter redis-streams,$(LAYER)),ACKED_BROKERS=native python compose/brokers.py install redis >&2)
	@python -m acked demo $(if $(INPUT),--input '$(INPUT)') $(if $(LAYER),--layer '$(LAYER)') \
	  $(if $(COUNT),--count '$(COUNT)') $(if $(JSON),--json)

# A broker that cannot be installed is a skip with its reason, or an error if ACKED_REQUIRE names it.
test: $(INSTALLED)
	@python compose/brokers.py install $(BROKER) || echo 'going on without'
	@python -m tests.rooms --second-look $(if $(BROKER),-- -m '$(BROKER)')

test-fast: $(INSTALLED)
	@python -m tests.rooms $(FAST) -- -m 'not broker'

test-lowest: $(LOWEST)/.installed
	@$(LOWEST)/bin/python compose/brokers.py install || echo 'going on without'
	@$(LOWEST)/bin/python -m tests.rooms --second-look core codecs layers

test-pythons: $(INSTALLED)
	@python -m tests.pythons $(FAST)

# Also when a test failed: what was not tried is often why.
coverage: $(INSTALLED)
	@python compose/brokers.py install || echo 'going on without'
	@coverage erase
	@python -m tests.rooms --coverage --second-look; status=$$?; \
	  coverage combine --quiet && python -m tests.covered && exit $$status

crash: $(INSTALLED)
	@python compose/brokers.py install >&2
	@python -m tests.crash $(or $(LAYER),redis-streams)

check: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs=4 --keep-going $(TOGETHER) $(CHECKS)

# One line for a check that holds, all its words for one that does not.
quietly = $(1) > $(VENV)/$@.log 2>&1 && echo '$@: ok' || { cat $(VENV)/$@.log; exit 1; }

check-format: ; @$(call quietly,ruff format --check)
check-lint: ; @$(call quietly,ruff check)
check-mypy: ; @$(call quietly,mypy)
check-pyright: ; @$(call quietly,pyright)
check-complete: ; @$(call quietly,pyright --verifytypes acked --ignoreexternal)
check-floors: ; @$(call quietly,lint-imports)
check-docs: ; @$(call quietly,mkdocs build --strict)
# On a machine where nothing was installed yet: without the few that ask a broker.
check-tests: ; @$(call quietly,python -m pytest -m 'not broker' tests/machines tests/meta tests/typing)

chat: $(INSTALLED)
	@$(if $(CHAT_BROKER),python compose/brokers.py install $(CHAT_BROKER))
	@python -m docs.examples.chat $(if $(LAYER),--layer '$(LAYER)') $(if $(PORT),--port '$(PORT)')

bench: $(INSTALLED)
	@python compose/brokers.py install || echo 'going on without'
	@python -m benchmarks $(or $(NAME),table) $(if $(QUICK),--quick)

docs: $(INSTALLED)
	@mkdocs build --strict

# With the tools of a release alone: what users install must not need ours.
$(RELEASE)/.installed: tests/release/requirements.txt
	@test -x $(RELEASE)/bin/pip || $(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.PHONY: release-rehearsal
release-rehearsal: $(RELEASE)/.installed
	@$(RELEASE)/bin/python -m tests.release $(if $(VERSION),--version '$(VERSION)')
