# Everything runs from here; `make` alone lists the targets. Set-up is part of whatever needs it.

VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
LINE ?= rft
# How many processes share the tests: a number, 0 for none, or auto, which is what cores and memory are good for.
WORKERS ?= auto
# How an image is built: docker, or `podman build --tag`; it is given TAG, context, and options.
IMAGE_BUILD ?= docker build --tag
# The same without a tag, for what leaves files and no image: docker with BuildKit, or podman.
FILES_BUILD ?= docker build
# How an image's size is asked for.
IMAGE_INSPECT ?= $(firstword $(IMAGE_BUILD)) image inspect
IMAGE_REGISTRY ?= localhost
# The Containerfile's arguments, where they are named: which torch, where PyTorch's builds are, Python's image by digest.
IMAGE_ARGUMENTS = $(foreach name,TORCH TORCH_INDEX BASE,$(if $(filter undefined,$(origin $(name))),,--build-arg $(name)="$($(name))"))
IMAGE_VERSION := 0.1.0
IMAGES ?= steps trainer engine value-server
MODEL := smollm2-135m-instruct
MODELS := $(or $(SELFTAUGHT_HOME),.selftaught)/models

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Big imports take twice as long without bytecode.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: model ## a model teaches itself: one round, real weights, about 15 minutes on two cores; again for the next round
	@# 3 is a refusal by the gate: a normal end, and the champion is served all the same.
	$(BIN)/selftaught run recipes/rft.yaml || [ $$? -eq 3 ]
	$(BIN)/selftaught up $(LINE)

.PHONY: stop
stop: setup ## stop the endpoint and the MLflow UI that the demo left running
	$(BIN)/selftaught down

.PHONY: chat
chat: setup ## talk to the champion (LINE=rft)
	$(BIN)/selftaught chat $(LINE)

.PHONY: serve
serve: setup ## serve the champion (LINE=rft) on loopback until Ctrl-C
	$(BIN)/selftaught serve $(LINE)

.PHONY: mlflow
mlflow: setup ## the MLflow UI over the runs of this checkout, on loopback, until Ctrl-C
	$(BIN)/python -m selftaught.state.tracking_ui 5000

.PHONY: test
test: lint types imports pytest ## everything that has to hold before a change goes in

.PHONY: pytest
pytest: model ## the tests without a cluster (make pytest ARGS="-m 'not model and not cluster'" for the quick ones)
	$(BIN)/python -m pytest $(if $(filter 0,$(WORKERS)),,-p tests.workers -n $(WORKERS) --no-loadscope-reorder) -m "not cluster" $(ARGS)

.PHONY: test-cluster
test-cluster: model ## the tests on the cluster that KUBECONFIG names, with the images built and at hand there
	@test -n "$$KUBECONFIG" || { echo "test-cluster: set KUBECONFIG to a cluster's" >&2; exit 2; }
	$(BIN)/python -m pytest -m cluster --durations=10 --timeout=2400 tests/cluster $(ARGS)

.PHONY: images
images: ## the images (IMAGES="steps engine-cuda", IMAGE_BUILD="podman build --tag", IMAGE_REGISTRY=…, TORCH=…, BASE=…)
	@set -e; for image in $(IMAGES); do \
	    case $$image in engine-cuda) torch="--build-arg TORCH=index";; *) torch=;; esac; \
	    $(IMAGE_BUILD) $(IMAGE_REGISTRY)/selftaught/$$image:$(IMAGE_VERSION) . -f components/images/Containerfile --target $$image \
	        $$torch $(IMAGE_ARGUMENTS); \
	done
	$(IMAGE_BUILD) $(IMAGE_REGISTRY)/seaweedfs:test tests/cluster/images/seaweedfs -f tests/cluster/images/seaweedfs/Containerfile
	$(IMAGE_BUILD) $(IMAGE_REGISTRY)/postgresql:test tests/cluster/images/postgresql -f tests/cluster/images/postgresql/Containerfile
	@$(PYTHON) scripts/image_sizes.py "$(IMAGE_INSPECT)" $(foreach image,$(IMAGES),$(IMAGE_REGISTRY)/selftaught/$(image):$(IMAGE_VERSION))

.PHONY: sbom
sbom: ## what the images are made of, in CycloneDX: dist/<image>.cdx.json (FILES_BUILD="podman build")
	@set -e; for image in $(IMAGES); do \
	    $(FILES_BUILD) . -f components/images/Containerfile --target sbom --build-arg IMAGE=$$image --output dist/$$image; \
	    mv dist/$$image/sbom.json dist/$$image.cdx.json; rmdir dist/$$image; \
	done

.PHONY: lint
lint: setup ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: setup ## pyright, strict
	$(BIN)/pyright

.PHONY: imports
imports: setup ## import-linter: imports go one way
	$(BIN)/lint-imports

.PHONY: format
format: setup ## ruff: fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: compile
compile: setup ## compile the pipelines to pipelines/compiled/
	$(BIN)/selftaught compile

.PHONY: bench
bench: model ## the benchmarks, each against its baseline in the same run
	@set -e; for benchmark in benchmarks/bench_*.py; do echo "== $$benchmark"; $(BIN)/python "$$benchmark"; done

.PHONY: recipes
recipes: model ## each recipe for a short round of every stage, real weights (hours; again: what is missing)
	$(BIN)/python scripts/short_rounds.py $(NAMES)

.PHONY: effects
effects: model ## the effects in effects/, one after another (hours; again: what is missing), and the pages of them
	$(BIN)/selftaught compare effects/*.yaml
	$(BIN)/python scripts/effects_page.py
	$(BIN)/python scripts/recipes_page.py

.PHONY: doctor
doctor: setup ## what is missing on this machine, and how to get it
	$(BIN)/selftaught doctor

.PHONY: setup
setup: ## the virtual environment, with pinned dependencies (instant when nothing changed)
	@$(PYTHON) scripts/environment.py $(VENV)

.PHONY: model
model: setup ## the starter model, checked against its SHA-256
	@$(BIN)/python -m selftaught.state.starter $(MODEL) "$(MODELS)"

.PHONY: lock
lock: ## resolve constraints.txt and the GPU engine's lock file (make lock ARGS=--upgrade for newer versions)
	@test -x $(BIN)/uv || $(PYTHON) scripts/environment.py $(VENV) || test -x $(BIN)/uv # a new dependency has no hash yet
	$(BIN)/python scripts/lock.py $(ARGS)

.PHONY: clean
clean: setup ## stop engines that were left behind, free what can be made again
	$(BIN)/selftaught clean
	rm -rf .hypothesis .pytest_cache .ruff_cache .import_linter_cache local_outputs dist build

.PHONY: distclean
distclean: ## remove the environment and everything that runs have made: models, registry, reports
	rm -rf $(VENV) .selftaught .hypothesis .pytest_cache .ruff_cache .import_linter_cache local_outputs dist build
