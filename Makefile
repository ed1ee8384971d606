# SPDX-License-Identifier: GPL-2.0
# The front door. kbuild builds the module, CMake everything else; this file joins them. All output
# is under build/.

KERNEL ?= 6.12
# The stock kernels of the host's release, and the newest that there is.
KERNELS ?= 6.12 6.1 7.3
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)

export DESTDIR
export CMAKE_BUILD_PARALLEL_LEVEL = $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help deps all userspace module modules demo test storm check-fast check-module check-guest
.PHONY: fuzz coverage sweep world soak mutants reliability bench install uninstall deb deb-check
.PHONY: clean docs site check-tracing check-examples check-debugging arm64 matrix deaths

help:
	@echo 'make deps          install the Debian packages that are missing (root or sudo)'
	@echo 'make all           build library, tools, tests, and the module for $(KERNELS)'
	@echo 'make demo          boot a guest and watch processes share a region in it'
	@echo 'make test          run all tests: on this host, and in guests with $(KERNELS)'
	@echo 'make check-fast    run the quick tests: the text of the files, and unit tests here'
	@echo 'make check-module  check what the compiler made of the module (KERNELS=…)'
	@echo 'make check-guest   run the tests that need the module, in guests (KERNELS=…)'
	@echo 'make matrix        run these two on each kernel of docs/kernels.md (KERNELS=…)'
	@echo 'make storm         kill, stop, fork and starve processes that use the module'
	@echo '                   (SECONDS=60, SEED=…, KERNEL=…, STORM=--json)'
	@echo 'make deaths        kill a process at each instruction of its own commits'
	@echo '                   (KERNEL=…)'
	@echo 'make fuzz          call the module in every order, on this host and in a guest'
	@echo '                   (SECONDS=300, FUZZ=--seed=…)'
	@echo 'make sweep         let each allocation and user copy fail in turn, everywhere'
	@echo '                   (kernel debug; SWEEP="--quick WORD…")'
	@echo 'make coverage      tell which lines of the module tests and fuzzing reach'
	@echo 'make mutants       break one promise at a time and check that a test notices'
	@echo '                   (MUTANTS=WORD…)'
	@echo 'make world         run programs of others on this memory: PostgreSQL, Boost, others'
	@echo '                   (KERNELS=…, WORLD="postgresql --rounds 5")'
	@echo 'make soak          run all of these at once for two hours, on the debug kernel'
	@echo '                   (SECONDS=7200)'
	@echo 'make reliability   write docs/reliability.md from the results of the long tests'
	@echo 'make check-tracing run perf, trace-cmd and bpftrace beside transactions (KERNELS=…)'
	@echo 'make check-examples  build each folder of examples alone, and run it in a guest'
	@echo 'make check-debugging  run gdb on a program with regions and its core (KERNELS=…)'
	@echo 'make check-pages   follow the pages for newcomers word by word, in a guest'
	@echo 'make docs          make the manual pages, in build/host/man, and the site'
	@echo 'make site          make a site of the documents, in build/site'
	@echo 'make bench         measure memory, transactions and what others use, in a guest'
	@echo '                   (KERNEL=…, BENCH="--json mapped")'
	@echo 'make arm64         compile for 64-bit ARM what there is for it, and test it'
	@echo 'make install       install library, headers, tools and module source'
	@echo '                   (DESTDIR=, PREFIX=$(PREFIX)); make uninstall takes it away again'
	@echo 'make deb           build the packages of Debian, into build/deb'
	@echo 'make deb-check     build, check, install and remove them in clean roots'
	@echo '                   (RELEASES="12 13")'
	@echo 'make module        build stm.ko alone (KERNEL=$(KERNEL), or KDIR=… for any other)'
	@echo 'make clean         remove build/'
	@echo
	@echo 'ci/vm run -- CMD runs any program of this machine in a guest with the module loaded;'
	@echo 'see docs/vm.md.'

deps:
	@ci/deps

all: userspace modules

userspace: deps
	@ci/cmake-build host

module: deps
	@ci/module $(if $(KDIR),--kdir '$(KDIR)','$(KERNEL)')

modules: deps
	@for kernel in $(KERNELS); do ci/module "$$kernel" || exit; done

# Less than 'deps': it may be the first thing that somebody tries.
demo:
	@ci/deps --demo
	@ci/demo $(if $(filter-out file,$(origin KERNEL)),'$(KERNEL)')

check-fast: deps
	@ci/check-fast

check-module: modules
	@ci/check-module $(KERNELS)

check-guest: userspace modules
	@ci/check-guest $(KERNELS)

test: deps
	@ci/deps --site
	@ci/test $(KERNELS)

storm: deps
	@ci/storm --kernel '$(KERNEL)' $(if $(SECONDS),--seconds '$(SECONDS)') \
		$(if $(SEED),--seed '$(SEED)') $(STORM)

deaths: deps
	@ci/deaths --kernel '$(KERNEL)'

fuzz: deps
	@ci/fuzz $(if $(SECONDS),--seconds '$(SECONDS)') $(FUZZ)

coverage: deps
	@ci/coverage

sweep: deps
	@ci/sweep $(SWEEP)

reliability:
	@ci/reliability $(RELIABILITY)

world: deps
	@ci/world --kernels \
		'$(if $(filter command line,$(origin KERNELS)),$(KERNELS),$(KERNEL))' $(WORLD)

soak: deps
	@ci/soak $(if $(SECONDS),--seconds '$(SECONDS)')

matrix: deps
	@ci/matrix $(if $(filter command line,$(origin KERNELS)),$(KERNELS))

mutants: deps
	@tests/mutants/run $(MUTANTS)

bench: deps
	@ci/deps --bench
	@ci/bench --kernel '$(KERNEL)' $(BENCH)

arm64: deps
	@ci/arm64

install:
	@ci/install '$(PREFIX)' '$(DESTDIR)'

uninstall:
	@ci/install --undo '$(PREFIX)' '$(DESTDIR)'

deb:
	@ci/deb

check-tracing: deps
	@ci/check-tracing $(KERNELS)

check-examples: userspace module
	@ci/check-examples '$(KERNEL)'

check-debugging: deps
	@ci/check-debugging $(KERNELS)

check-pages: userspace module
	@ci/check-pages '$(KERNEL)'

docs: deps
	@ci/cmake-build host manual_pages
	@echo 'the manual pages: build/host/man'
	@$(MAKE) --no-print-directory site

site:
	@ci/deps --site
	@ci/site

deb-check: deps
	@ci/check-hosts $(or $(RELEASES),12) --only packages --no-result

clean:
	rm -rf build
