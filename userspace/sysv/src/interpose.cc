// SPDX-License-Identifier: LGPL-2.1-or-later
// The names of the C library, for programs that know nothing of stm/sysv.h. They are exported
// without a version, so they stand for libc's in every object.
#include "listing.hpp"

#include <cstring>
#include <dlfcn.h>
#include <stm/sysv.h>

namespace {

using Open = std::FILE*(const char*, const char*);

// fopen of the path that has the list of segments gives the list of these segments.
std::FILE* open_stream(const char* name, const char* path, const char* mode) {
    if (path != nullptr && mode != nullptr && mode[0] == 'r' &&
        std::strcmp(path, stm::sysv::kListingPath) == 0)
        return stm::sysv::open_listing();
    auto* next = reinterpret_cast<Open*>(::dlsym(RTLD_NEXT, name));
    return next(path, mode);
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

int shmget(key_t key, size_t size, int flags) noexcept {
    return stm_shmget(key, size, flags);
}

void* shmat(int id, const void* address, int flags) noexcept {
    return stm_shmat(id, address, flags);
}

int shmdt(const void* address) noexcept {
    return stm_shmdt(address);
}

int shmctl(int id, int command, struct shmid_ds* buf) noexcept {
    return stm_shmctl(id, command, buf);
}

std::FILE* fopen(const char* path, const char* mode) {
    return open_stream("fopen", path, mode);
}

std::FILE* fopen64(const char* path, const char* mode) {
    return open_stream("fopen64", path, mode);
}

} // extern "C"
#pragma GCC visibility pop
