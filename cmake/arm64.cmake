# SPDX-License-Identifier: GPL-2.0
# 64-bit ARM, by Debian's cross compiler (g++-aarch64-linux-gnu). Its programs run in qemu-aarch64
# (qemu-user): that shows how they count and what sizes they expect, but it has the memory order of
# the processor below it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
