# The first Python that runs and is new enough; a broken, foreign or old one of the name is passed over.
ifndef PYTHON
PYTHON := $(shell for p in .venv/bin/python python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11) or print(sys.executable))' 2>/dev/null && break; done)
endif
DO = $(if $(PYTHON),,$(error Python 3.11 or newer is needed on PATH))@"$(PYTHON)" tools/bootstrap.py

.PHONY: run serve test lint lock bench soak graphiql schema fuzz clean

run: ; $(DO) run $(ARGS)
serve: ; $(DO) serve $(if $(WORKERS),--workers $(WORKERS)) $(ARGS)
test: ; $(DO) test
lint: ; $(DO) lint
lock: ; $(DO) lock $(if $(UPGRADE),--upgrade)
bench: ; $(DO) in dev -m bench $(ARGS)
soak: ; $(DO) in dev -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)
graphiql: ; $(DO) in dev -m tests.node install tools/graphiql
schema: ; $(DO) in run -m cli schema
fuzz: ; $(DO) in dev -m tests.fuzz $(ARGS)
clean: ; $(DO) clean
