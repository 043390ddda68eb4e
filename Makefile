# SPDX-License-Identifier: Apache-2.0 OR MIT

# Where `make install` puts things.
PREFIX ?= /usr
DESTDIR ?=

# Where rustup puts cargo, for a shell that does not know yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help build demo demo-host test test-containers kernel-demo kernel-test kernel-soak kernel-check bench bench-quick bench-rsa plots fuzz ci deps deps-guest deny advisories install uninstall clean

help: ## this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

build: ## what is shipped, into target/dist
	scripts/build.sh

demo: ## the whole way of a key, before your eyes, in virtual machines
	scripts/deps.sh demo
	scripts/build.sh
	scripts/demo.sh

demo-host: deps build ## the same on the live kernel (needs root or sudo)
	scripts/demo-host.sh

test: deps ## everything that can be tested here
	scripts/test.sh

test-containers: deps ## the tests of TPMs, against software TPMs in containers
	scripts/test-containers.sh

kernel-demo: ## a kernel with the patch series, booted, and a key that it has made
	scripts/deps.sh kernel
	scripts/kernel-demo.sh

kernel-test: ## the kernel patch series: builds kernels with it, boots and tests them; KERNEL_SRC=~/linux
	scripts/deps.sh kernel
	scripts/kernel-test.sh

kernel-soak: ## kernels that look for errors in themselves, for an hour or so
	scripts/deps.sh kernel
	scripts/kernel-test.sh --soak

kernel-check: ## what the kernel's own checkers say of the series, and that each patch builds
	scripts/deps.sh kernel-check
	for version in 6.12 6.1; do \
		kernel-patch/scripts/build.sh $$version >/dev/null && \
		kernel-patch/scripts/check.sh $$version || exit 1; \
	done

bench: ## what requests take, beside what one could have instead: some minutes, docs/benchmarks.md
	scripts/bench.sh full

bench-quick: ## the same with few samples; prints the table, writes no page
	scripts/bench.sh quick

bench-rsa: ## how long RSA keys take, beside other generators: half an hour
	scripts/bench.sh rsa

plots: ## the table and pictures of docs/benchmarks.md anew, from the newest of benches/runs
	scripts/bench.sh page

fuzz: deps ## anything at all, for whatever reads what others write; FUZZ_SECONDS=600 each
	scripts/fuzz.sh

ci: export CI = true
ci: deps-guest ## everything, and nothing may be left out
	scripts/ci.sh

deps: ## installs what is missing
	scripts/deps.sh

deps-guest: ## the same, and what virtual machines need
	scripts/deps.sh guest

deny: deps ## dependencies: licences, sources, versions
	scripts/deny.sh bans licenses sources

advisories: deps ## dependencies: known vulnerabilities (needs RustSec's database from the network)
	scripts/deny.sh advisories

install: ## the callout, tdk and their configuration
	scripts/install.sh '$(DESTDIR)' '$(PREFIX)'

uninstall: ## removes them, but for a configuration that was changed
	scripts/uninstall.sh '$(DESTDIR)' '$(PREFIX)'

clean:
	cargo clean
