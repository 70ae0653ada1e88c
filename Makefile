# make demo    a Debian machine under QEMU: armed, edited, armed again, crashed, the dump read back
# make test    every linter, every test, the machines that really crash included
# make check   the same without the machines, in a few minutes
# make lint    the linters alone
# make vm      the machines alone
# make chaos   30 machines crashed at random moments while everything changes (CHAOS='--seed N --only K': one again)
# make fuzz    200,000 calls of a hostile crowd to the daemon on a private bus (FUZZ='--seed N --calls N': the same again)
# make directives  docs/DIRECTIVES.md, with what the last runs found
# make api     docs/api and the man page of the D-Bus API, from dbus/*.xml
# make bench   docs/BENCHMARKS.md: kdumpd beside kdump-tools and a hand-made image, in about 40 minutes
# make completions  completions/, what bash, zsh and fish know of kdumpctl
# make screens docs/screens/*.svg, what kdumpctl shows, for the README
# make deb     build/kdumpd_VERSION_all.deb
# make install DESTDIR= PREFIX=/usr
#
# As root on Debian 12 or 13, demo, test, check, vm, chaos, fuzz, bench and deb install what they need; otherwise they say what is
# missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := check

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' kdumpd/__init__.py)
DEB := build/kdumpd_$(VERSION)_all.deb
PYTEST = .venv/bin/python -m pytest
# Many of these tests wait for a shell or a bus more than they compute: more of them at once than there are cores.
SIDE_BY_SIDE = -n 4 --dist worksteal
# A capture kernel has one processor, and a test waits for it: two machines at once keep two cores busy.
TWO_MACHINES = -n 2 --dist worksteal

PREFIX ?= /usr
DESTDIR ?=
PYTHON ?= /usr/bin/python3
PYTHONDIR ?= $(PREFIX)/lib/python3/dist-packages
BINDIR = $(PREFIX)/bin
LIBEXECDIR = $(PREFIX)/libexec/kdumpd
UNITDIR = $(PREFIX)/lib/systemd/system
DATADIR = $(PREFIX)/share
# Where service(8) looks for words that systemd does not know: a script of init on Debian. On Fedora and RHEL set
# INITDIR= (empty) and ACTIONSDIR=/usr/libexec/initscripts/legacy-actions.
INITDIR ?= /etc/init.d
ACTIONSDIR ?=

PAGES := $(patsubst docs/%.md,build/man/%,$(wildcard docs/*.[1-9].md))

.PHONY: api demo test check lint vm chaos fuzz bench directives completions screens deb man install venv clean

demo:
	@.ci/prepare check deb vm
	@$(MAKE) --no-print-directory $(DEB)
	@KDUMPD_DEB=$(DEB) .venv/bin/python -m tests.vm.demo

test:
	@.ci/prepare check deb vm
	@$(MAKE) --no-print-directory $(DEB)
	@$(PYTEST) $(SIDE_BY_SIDE) -m "not vm" tests
	@KDUMPD_DEB=$(DEB) $(PYTEST) -v $(TWO_MACHINES) -m vm tests

check:
	@.ci/prepare check deb
	@$(PYTEST) $(SIDE_BY_SIDE) -m "not vm" tests

lint:
	@.ci/prepare check
	@$(PYTEST) -q tests/test_linters.py

vm:
	@.ci/prepare check deb vm
	@$(MAKE) --no-print-directory $(DEB)
	@KDUMPD_DEB=$(DEB) $(PYTEST) -v $(TWO_MACHINES) -m vm tests

chaos:
	@.ci/prepare check deb vm
	@$(MAKE) --no-print-directory $(DEB)
	@KDUMPD_DEB=$(DEB) .venv/bin/python -m tests.bench.chaos $(CHAOS)

fuzz:
	@.ci/prepare check
	@.venv/bin/python -m tests.fuzz $(FUZZ)

bench:
	@.ci/prepare check deb vm
	@$(MAKE) --no-print-directory $(DEB)
	@KDUMPD_DEB=$(DEB) .venv/bin/python -m tests.bench $(BENCH)

directives:
	@.ci/prepare check
	@.venv/bin/python -m tests.directives

api:
	@.ci/prepare check
	@.venv/bin/python -m tests.api

completions:
	@.ci/prepare check
	@.venv/bin/python -m tests.completions

screens:
	@.ci/prepare check
	@.venv/bin/python -m tests.pictures

deb:
	@.ci/prepare deb
	@$(MAKE) --no-print-directory $(DEB)
	@echo $(DEB)

venv:
	@.ci/prepare check

# Built in a copy, so that the working tree stays as it is. Directories count too: a removed file is a change.
$(DEB): $(shell find kdumpd completions dbus dracut units docs debian -name __pycache__ -prune -o -print) Makefile pyproject.toml LICENSE
	@echo "==> building $@" >&2
	@rm -rf build/deb && mkdir -p build/deb/kdumpd-$(VERSION)
	@tar --exclude=__pycache__ -c kdumpd completions dbus dracut units docs debian Makefile pyproject.toml LICENSE README.md CHANGELOG.md \
	  | tar -x -C build/deb/kdumpd-$(VERSION)
	@cd build/deb/kdumpd-$(VERSION) && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc -b \
	  >../build.log 2>&1 || { tail -n 40 ../build.log >&2; echo "make deb: the whole of it is in build/deb/build.log" >&2; exit 1; }
	@mv build/deb/kdumpd_*_all.deb $@ && touch $@

man: $(PAGES)

# A page begins with "# name(8): what it is", which reads well in Markdown; man(1) wants the same as title and NAME.
build/man/%: docs/%.md
	@mkdir -p $(@D)
	sed -E -e '1s/^# ([A-Za-z0-9.]+)\(([0-9])\): (.*)/% \U\1\E \2 "" "kdumpd $(VERSION)" ""\n\n## NAME\n\n\1 - \3/' -e '/^<!--.*-->$$/d' $< \
	  | go-md2man -out $@

# The programs are written here rather than by pip, so that installing needs neither pip nor a network. -I: root's
# daemon takes its modules from the system and from nowhere that the environment or a home directory says.
define PROGRAM
#!$(PYTHON) -I
import sys

from kdumpd.$(1) import main

sys.exit(main())
endef
export DAEMON := $(call PROGRAM,daemon)
export CTL := $(call PROGRAM,cli)
export EARLY := $(call PROGRAM,early)

# Every pattern below may match nothing on an unfinished tree; `for` with the test keeps that from being an error.
put = for file in $(1); do if [ -e "$$file" ]; then install -Dpm 644 "$$file" "$(DESTDIR)$(2)/$${file\#\#*/}"; fi; done

install: man
	find kdumpd -name __pycache__ -prune -o -type f -printf '%P\n' | while read -r file; do \
	  install -Dpm 644 "kdumpd/$$file" "$(DESTDIR)$(PYTHONDIR)/kdumpd/$$file"; done
	install -d "$(DESTDIR)$(BINDIR)"
	printf '%s\n' "$$DAEMON" >"$(DESTDIR)$(BINDIR)/kdumpd"
	printf '%s\n' "$$CTL" >"$(DESTDIR)$(BINDIR)/kdumpctl"
	chmod 755 "$(DESTDIR)$(BINDIR)/kdumpd" "$(DESTDIR)$(BINDIR)/kdumpctl"
	install -d "$(DESTDIR)$(PREFIX)/lib/dracut/modules.d/98kdumpd"
	install -pm 755 dracut/98kdumpd/*.sh "$(DESTDIR)$(PREFIX)/lib/dracut/modules.d/98kdumpd/"
	install -d "$(DESTDIR)$(LIBEXECDIR)"
	printf '%s\n' "$$EARLY" >"$(DESTDIR)$(LIBEXECDIR)/kdumpd-early"
	chmod 755 "$(DESTDIR)$(LIBEXECDIR)/kdumpd-early"
	for file in kdump-stopped askpass; do install -Dpm 755 "units/$$file" "$(DESTDIR)$(LIBEXECDIR)/$$file"; done
	$(call put,units/*.service,$(UNITDIR))
	if [ -n "$(INITDIR)" ]; then install -Dpm 755 units/rhel6/kdump "$(DESTDIR)$(INITDIR)/kdump"; fi
	if [ -n "$(ACTIONSDIR)" ]; then install -Dpm 755 units/rhel6/propagate "$(DESTDIR)$(ACTIONSDIR)/kdump/propagate"; fi
	install -Dpm 644 units/kdumpd.tmpfiles "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/kdumpd.conf"
	install -Dpm 644 units/kdumpd.preset "$(DESTDIR)$(PREFIX)/lib/systemd/system-preset/90-kdumpd.preset"
	install -Dpm 644 units/kdumpd.catalog "$(DESTDIR)$(PREFIX)/lib/systemd/catalog/kdumpd.catalog"
	$(call put,dbus/*.conf,$(DATADIR)/dbus-1/system.d)
	$(call put,dbus/*.service,$(DATADIR)/dbus-1/system-services)
	$(call put,dbus/*.xml,$(DATADIR)/dbus-1/interfaces)
	$(call put,dbus/*.policy,$(DATADIR)/polkit-1/actions)
	$(call put,dbus/python-dbusmock/*.py,$(DATADIR)/python-dbusmock/templates)
	install -Dpm 644 completions/kdumpctl.bash "$(DESTDIR)$(DATADIR)/bash-completion/completions/kdumpctl"
	install -Dpm 644 completions/_kdumpctl "$(DESTDIR)$(DATADIR)/zsh/vendor-completions/_kdumpctl"
	install -Dpm 644 completions/kdumpctl.fish "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/kdumpctl.fish"
	$(call put,build/man/*.5,$(DATADIR)/man/man5)
	$(call put,build/man/*.8,$(DATADIR)/man/man8)
	for file in kdump.conf kdumpd.toml; do \
	  if [ ! -e "$(DESTDIR)/etc/$$file" ]; then install -Dpm 644 units/etc/$$file "$(DESTDIR)/etc/$$file"; fi; done

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find kdumpd tests -name __pycache__ -prune -exec rm -rf {} +
