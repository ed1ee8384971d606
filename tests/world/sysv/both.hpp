// SPDX-License-Identifier: GPL-2.0
// System V shared memory twice: the kernel's own, by system calls, and that of <stm/sysv.h>.
#pragma once

#include <stm/sysv.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::world {

enum Side { kKernel, kRegions, kSides };

inline constexpr const char* kSideNames[kSides] = {"the kernel", "regions"};

// Each returns what the function of that name does, and sets errno.
inline int shm_get(Side side, key_t key, size_t size, int flags) {
    return side == kKernel ? static_cast<int>(::syscall(SYS_shmget, key, size, flags))
                           : stm_shmget(key, size, flags);
}
inline void* shm_at(Side side, int id, const void* address, int flags) {
    return side == kKernel ? reinterpret_cast<void*>(::syscall(SYS_shmat, id, address, flags))
                           : stm_shmat(id, address, flags);
}
inline int shm_dt(Side side, const void* address) {
    return side == kKernel ? static_cast<int>(::syscall(SYS_shmdt, address)) : stm_shmdt(address);
}
inline int shm_ctl(Side side, int id, int command, void* buf) {
    return side == kKernel ? static_cast<int>(::syscall(SYS_shmctl, id, command, buf))
                           : stm_shmctl(id, command, static_cast<struct shmid_ds*>(buf));
}

} // namespace stm::world
