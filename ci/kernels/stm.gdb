# SPDX-License-Identifier: GPL-2.0
# For gdb on a guest that `ci/vm gdb` has started; its guest.gdb sets $stm_symbols.

set pagination off
set confirm off
set architecture i386:x86-64

define stm-symbols
  eval "source %s", $stm_symbols
end
document stm-symbols
Loads the symbols of stm.ko at the addresses where the guest has loaded it.
Needs the guest to have come that far: 'continue' until its shell appears,
interrupt with Ctrl-C, then 'stm-symbols'. After a reload of the module in the
guest the addresses are others.
end
