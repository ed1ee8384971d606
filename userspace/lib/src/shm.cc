// SPDX-License-Identifier: LGPL-2.1-or-later
// stm/shm.h: segments by number. Each is a plain region. Its name is "shm:" and 16 random digits.
#include "attachments.hpp"
#include "control.hpp"
#include "error.hpp"
#include "userspace/connection/segment_id.hpp"

#include <cstdio>
#include <cstring>
#include <stm/shm.h>
#include <sys/mman.h>
#include <sys/random.h>

namespace stm::library {
namespace {

using connection::kSegmentPrefix;
using connection::segment_id;
using connection::segment_minor;

constexpr mode_t kMode = 0600;

constinit AttachmentTable segments;
constinit pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

AttachmentTable& table() {
    pthread_once(&fork_handlers, [] {
        pthread_atfork([] { segments.lock(); }, [] { segments.unlock(); },
                       [] { segments.reset_lock(); });
    });
    return segments;
}

int connect_and_find(int id, Control& control, struct stm_info& info) {
    if (id <= 0)
        return fail(EINVAL, "%d is no segment", id);
    if (control.connect() < 0)
        return -1;
    if (control.info_of_minor(segment_minor(id), info) < 0)
        return fail(errno == ENOENT ? EINVAL : errno, "there is no segment %d", id);
    if (segment_id(info.id) != id ||
        std::strncmp(info.name, kSegmentPrefix, sizeof kSegmentPrefix - 1) != 0)
        return fail(EINVAL, "segment %d is gone", id);
    return 0;
}

} // namespace
} // namespace stm::library

using namespace stm::library;

int shm_create(int size) {
    if (size <= 0)
        return fail(EINVAL, "shm_create: a segment of %d bytes", size);
    Control control;
    if (control.connect() < 0)
        return -1;
    for (;;) {
        unsigned long long random = 0;
        if (::getrandom(&random, sizeof random, 0) != sizeof random)
            return fail(errno, "shm_create: no random number");
        struct stm_open request {};
        std::snprintf(request.name, sizeof request.name, "%s%016llx", kSegmentPrefix, random);
        request.flags =
            STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE | STM_OPEN_EXCL | STM_OPEN_CLOEXEC;
        request.region_flags = STM_REGION_PLAIN;
        request.region_size = static_cast<std::uint64_t>(size);
        request.mode = kMode;
        Descriptor handle(control.open(request));
        if (!handle) {
            if (errno == EEXIST)
                continue;
            return fail(errno, "shm_create: a segment of %d bytes", size);
        }
        int id = segment_id(request.id);
        if (id > 0)
            return id;
        struct stm_destroy destroy {};
        destroy.flags = STM_BY_ID | STM_DESTROY_DEFERRED;
        destroy.id = request.id;
        (void)control.destroy(destroy);
        return fail(ENOSPC, "shm_create: minor %u does not fit in an id", request.minor);
    }
}

int shm_attach(int id, void* addr) {
    auto address = reinterpret_cast<std::uintptr_t>(addr);
    if (address % static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)) != 0)
        return fail(EINVAL, "shm_attach: %p is not page aligned", addr);
    Control control;
    struct stm_info info;
    if (connect_and_find(id, control, info) < 0)
        return -1;

    ExclusiveGuard guard(table());
    if (segments.find_id_locked(id) != nullptr)
        return fail(EALREADY, "shm_attach: segment %d is attached already", id);
    if (segments.reserve_locked() < 0)
        return fail(ENOMEM, "shm_attach: no room to remember segment %d", id);
    struct stm_open request {};
    request.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_BY_ID | STM_OPEN_CLOEXEC;
    request.id = info.id;
    Descriptor handle(control.open(request));
    if (!handle)
        return fail(errno == ESTALE ? EINVAL : errno, "shm_attach: segment %d", id);
    // The mapping keeps the segment; the handle is closed on return.
    int placement = addr == nullptr ? 0 : MAP_FIXED_NOREPLACE;
    void* mapped = ::mmap(addr, request.region_size, PROT_READ | PROT_WRITE, MAP_SHARED | placement,
                          handle.get(), 0);
    if (mapped == MAP_FAILED)
        return fail(errno, "shm_attach: segment %d cannot be mapped at %p", id, addr);
    segments.add_locked({reinterpret_cast<std::uintptr_t>(mapped), request.region_size, id, -1,
                         PROT_READ | PROT_WRITE});
    return 0;
}

int shm_detach(int id) {
    ExclusiveGuard guard(table());
    Attachment* attachment = segments.find_id_locked(id);
    if (attachment == nullptr)
        return fail(EINVAL, "shm_detach: segment %d is not attached", id);
    if (::munmap(reinterpret_cast<void*>(attachment->address), attachment->length) < 0)
        return fail(errno, "shm_detach: segment %d", id);
    segments.remove_locked(attachment);
    return 0;
}

int shm_destroy(int id) {
    Control control;
    struct stm_info info;
    if (connect_and_find(id, control, info) < 0)
        return -1;
    struct stm_destroy request {};
    request.flags = STM_BY_ID;
    request.id = info.id;
    if (control.destroy(request) < 0)
        return fail(errno == ESTALE ? EINVAL : errno, "shm_destroy: segment %d", id);
    return 0;
}

void* shm_address(int id) {
    SharedGuard guard(table());
    Attachment* attachment = segments.find_id_locked(id);
    if (attachment == nullptr) {
        fail(EINVAL, "shm_address: segment %d is not attached", id);
        return nullptr;
    }
    return reinterpret_cast<void*>(attachment->address);
}
