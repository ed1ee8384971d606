# SPDX-License-Identifier: GPL-2.0
# How freestanding C++ is compiled for the kernel. For Kbuild files, which set ccflags-y before.

# C++ gets the kernel's own flags for C, so that every hardening option is kept: return thunks,
# stack protector, branch tracking, ftrace. Out come those that say something else there, and those
# that the compiler says it does not know for C++: asked is the compiler, since each version has
# others. It names all of them at once.
c-only-flags := -std=% -Wmissing-declarations -Wimplicit-fallthrough=% -Wenum-conversion
unknown-flags = $(eval unknown-flags := $(shell echo | LC_ALL=C $(CXX) \
	$(filter-out $(c-only-flags),$(KBUILD_CFLAGS)) -x c++ -fsyntax-only - 2>&1 | \
	sed -n "s/^.*'\(-[^']*\)'.*$$/\1/p"))$(unknown-flags)

# -mno-outline-atomics: libgcc's functions for old and new arm64 processors are not in the kernel.
# -fcheck-new: operator new may return null. -g0: pahole cannot read the debug information of C++
# and fails the build of the module's BTF.
cxx-flags := -std=gnu++20 -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-use-cxa-atexit \
	-fcheck-new -ffreestanding -Wall -Wextra -Werror -Wno-unused-parameter -DSTM_KERNEL_CORE \
	$(if $(STM_CXX_DEBUG),-g,-g0) $(if $(CONFIG_ARM64),-mno-outline-atomics)

# Of the kernel's own C compiler, gcc in the name of its file, and only there: a folder may be
# called gcc, too. One given on make's command line goes before; that of the environment is for user
# space.
cxx-of = $(if $(filter -%,$(1)),$(1),$\
	$(patsubst %$(notdir $(1)),%,$(1))$(subst gcc,g++,$(notdir $(1))))
CXX := $(foreach word,$(CC),$(call cxx-of,$(word)))

# Nothing where the module can be built. Where it cannot, one line says why, or what to install:
# flags of clang say nothing to g++, and what clang makes of the module was never tried.
need-gcc = $(if $(CONFIG_CC_IS_CLANG)$(findstring clang,$(notdir $(filter-out -%,$(CC)))),$(error \
	stm: the compiler of this kernel is clang: the module is for kernels that gcc has built))
need-cxx = $(need-gcc)$\
	$(foreach word,$(filter-out -%,$(CXX)),$(if $(shell command -v $(word)),,$(error \
	stm: $(word) is missing: it has to be beside the compiler of this kernel, $(CC) \
	(Debian: apt install $(patsubst x86_64-linux-gnu-%,%,$(notdir $(word)))))))

cxx_flags = -Wp,-MMD,$(depfile) -nostdinc $(ccflags-y) \
	$(filter-out $(c-only-flags) $(unknown-flags),$(KBUILD_CFLAGS)) $(KBUILD_CFLAGS_MODULE) \
	$(cxx-flags) $(_stm_kasan) $(_stm_kcsan) $(_stm_ubsan) $(_stm_kcov) -DMODULE -D__KERNEL__

# The sanitizers of a debug kernel, as scripts/Makefile.lib adds them for C; tests/instrumentation
# shows that they work.
_stm_kasan = $(if $(CONFIG_KASAN),$(CFLAGS_KASAN))
_stm_kcsan = $(if $(CONFIG_KCSAN),$(CFLAGS_KCSAN))
_stm_ubsan = $(if $(CONFIG_UBSAN),$(CFLAGS_UBSAN))
_stm_kcov = $(if $(CONFIG_KCOV),$(CFLAGS_KCOV))

# Two objects that hold the same inline function put it in a COMDAT group, and the link of a module
# (ld -r) discards one of them while tables of ftrace and objtool still point there. Without the
# groups the functions are plain weak ones. The steps are joined by semicolons: kbuild's set -e
# overlooks what fails on the left of an &&.
quiet_cmd_cxx_o_cc = CXX [M]  $@
      cmd_cxx_o_cc = $(need-cxx)$(CXX) $(cxx_flags) -c -o $@ $<; \
		     $(OBJCOPY) --remove-section=.group $@ $(cmd_objtool)

$(obj)/%.o: $(src)/%.cc FORCE
	$(call if_changed_dep,cxx_o_cc)
