# One set-up: make demo, make test, make play. `make help` lists the rest.
SHELL := /bin/bash
.DELETE_ON_ERROR:
WORLD ?= coinrun_plain
CONFIG ?= configs/$(WORLD).yaml
WORKERS ?= $(shell nproc)
RUN := .venv/bin/python
export PYTHON := $(RUN)
export TF_CPP_MIN_LOG_LEVEL := 3
FIND_PYTHON := for p in python3.11 python3.12 python3 python; do $$p -c 'import sys; sys.exit(not (3, 11, 5) <= sys.version_info[:3] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done

.PHONY: help setup demo agent games cluster play notebooks pairs outputs pictures screens ship bench test screen lint format lock clean
help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: .venv/installed ## make .venv and install the pinned requirements, once

.venv/installed: requirements.txt
	@base=$$($(FIND_PYTHON)); [ -n "$$base" ] || { echo "error: no Python 3.12 (or 3.11, from 3.11.5 on) found: install one, or put it on the PATH" >&2; exit 2; }; \
	echo "set up: .venv with $$base"; $$base -m venv .venv
	@$(RUN) -m pip install --disable-pip-version-check --progress-bar on -q -r requirements.txt
	@touch $@

.venv/installed_dev: .venv/installed requirements-dev.txt
	@$(RUN) -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch $@

demo: setup ## record, train, evaluate: a world to play, in about 30 minutes on 2 cores
	@echo "1/6 record: CoinRun episodes of a random agent"
	@./data_collect.bash $(WORKERS) --config $(CONFIG)
	@echo "2/6 latent actions: the action between two frames, found without labels"
	@$(RUN) idm_training.py --config $(CONFIG)
	@echo "3/6 tokenizer: each frame becomes a few tokens, and back"
	@$(RUN) tokenizer_training.py --config $(CONFIG)
	@echo "4/6 dynamics: learn the next frame's tokens, from past tokens and actions"
	@$(RUN) dream_train_tf.py --config $(CONFIG)
	@echo "5/6 evaluation: sharpness and obedience, on held-out levels"
	@$(RUN) dream_evaluate_tf.py --config $(CONFIG)
	@echo "6/6 film: the recording, and the dream under the same keys"
	@$(RUN) dream_play_tf.py --config $(CONFIG) --policy recorded --steps 30 --play.scale 4 --out model/$(WORLD)/dream.gif
	@echo; echo "done. Figures, pictures and the film lie in model/$(WORLD). Now play it: make play$(if $(filter coinrun_plain,$(WORLD)),, WORLD=$(WORLD))"

games: setup ## install the extra for Gymnasium's games: Atari, MiniGrid
	@$(RUN) -m pip install --disable-pip-version-check -q -r requirements-games.txt

cluster: setup ## install the extra for recording and tokenizing on a Ray cluster
	@$(RUN) -m pip install --disable-pip-version-check -q -r requirements-cluster.txt

agent: setup ## install the extra for the trained agent: PyTorch, stable-baselines3
	@$(RUN) -m pip install --disable-pip-version-check -q -r requirements-agent.txt

play: setup ## open the window and play the trained world
	@$(RUN) dream_play_tf.py --config $(CONFIG)

notebooks: setup ## open the notebooks
	@.venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

pairs: .venv/installed_dev ## write the notebooks' .ipynb from their .py, and keep their outputs
	@cd notebooks && ../.venv/bin/jupytext --update --to ipynb [1-5]_*.py

outputs: pairs ## run the notebooks with the settings of CONFIG, and keep their outputs
	@GENIE_CONFIG=$(CONFIG) $(RUN) notebooks/run.py

pictures: setup ## draw the pictures of the models in docs/ anew
	@$(RUN) docs/draw.py

screens: setup ## photograph the window and the page that play the trained world, for docs/
	@$(RUN) docs/screens.py

ship: setup ## pack the trained and measured WORLD into model/shipped/, for git
	@$(RUN) -m genie_tf.shipping --config $(CONFIG)

bench: setup ## measure speed and memory, each with its limit; ROW=load measures one row
	@$(RUN) -m benchmarks $(if $(ROW),--only $(ROW))

test: .venv/installed_dev lint ## lint, types and tests; QUICK=1 leaves out the slow ones
	@$(RUN) -m pytest $(if $(QUICK),-m "not slow")

screen: ## install Xvfb, xdotool and Chromium for the tests of the windows and of the page (Debian)
	@install="apt-get install -y -qq --no-install-recommends"; \
	$(if $(filter 0,$(shell id -u)),,sudo) sh -c "apt-get update -qq && $$install xvfb xdotool && { $$install chromium || echo 'no Chromium to be had: the tests of the page are skipped' >&2; }"

lint: .venv/installed_dev
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: .venv/installed_dev ## format the code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .

lock: ## update the pinned versions
	@base=$$($(FIND_PYTHON)); rm -rf .lock && $$base -m venv .lock && .lock/bin/pip install -q pip-tools
	@.lock/bin/pip-compile -q --upgrade --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate -o requirements.txt requirements.in
	@.lock/bin/pip-compile -q --upgrade --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate -o requirements-dev.txt requirements-dev.in
	@rm -rf .lock

clean: ## remove .venv and the caches, keep recordings and models
	rm -rf .venv .lock .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
