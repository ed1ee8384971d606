# SPDX-License-Identifier: GPL-2.0
# The features of the kernel. Each file of kernel/features is compiled like the glue; if it
# compiles, the kernel has that feature. Where Linux has changed, each of its ways has a file.
# kernel/glue/compat.h takes the way that is there, and says what is missing if there is none.

# The newest kernel that the module was built for. With a newer one, whoever reads an error below
# should know that.
newest := 7.3
is-newer := $(shell printf '%s\n' $(newest) $(VERSION).$(PATCHLEVEL) | sort -CV || echo older)
ifeq ($(is-newer)$(filter $(newest),$(VERSION).$(PATCHLEVEL)),)
$(info stm: Linux $(VERSION).$(PATCHLEVEL) is newer than $(newest), the newest kernel that this \
	version was built for. An error tells what it has no more.)
endif

features := $(sort $(patsubst $(src)/kernel/features/%.c,%,$(wildcard $(src)/kernel/features/*.c)))
answers := $(patsubst %,$(obj)/kernel/features/%.h,$(features))

quiet_cmd_feature = FEATURE $@
      cmd_feature = $(need-gcc)if $(CC) $(filter-out -Wp$(comma)-MMD$(comma)%,$(c_flags)) -Werror \
			-Wno-error=attributes -c -o $(@:.h=.probe.o) $< >$(@:.h=.log) 2>&1; \
			then echo '\#define STM_HAS_$*'; fi >$@

$(answers): $(obj)/kernel/features/%.h: $(src)/kernel/features/%.c FORCE
	$(call if_changed,feature)

quiet_cmd_features = FEATURE $@
      cmd_features = cat $(real-prereqs) >$@

$(obj)/kernel/features.h: $(answers) FORCE
	$(call if_changed,features)

targets += $(patsubst %,kernel/features/%.h,$(features)) kernel/features.h
clean-files += kernel/features.h kernel/features/*.h kernel/features/*.log kernel/features/*.o

$(addprefix $(obj)/,$(glue)): $(obj)/kernel/features.h
