// SPDX-License-Identifier: LGPL-2.1-or-later
// Attaches regions for typed transactions.
#include "region.hpp"

#include "../error.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <sys/ioctl.h>
#include <utility>

namespace stm::library::typed {
namespace {

constexpr u64 kPage = 4096;

// A view never changes under its number, not even if another region gets this one's address.
u64 next_place() {
    static constinit std::atomic<u64> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// Of a map() that has failed. An older module has nothing at these offsets, and refuses them like
// any others that lie outside of the region.
int attach_error() {
    switch (errno) {
    case EINVAL:
    case ENODEV:
        return EOPNOTSUPP;
    case EACCES:
    case EPERM:
        return EBADF;
    default:
        return errno;
    }
}

// 0 or an error number.
int attach(stm_region& region) {
    const int fd = region.handle.get();
    struct stm_info info {};
    info.size = sizeof info;
    info.flags = STM_BY_HANDLE;
    if (::ioctl(fd, STM_IOC_INFO, &info) < 0)
        return EBADF;
    if ((info.region_flags & STM_REGION_PLAIN) != 0)
        return EOPNOTSUPP;
    region.may_write = (::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    region.is_direct = region.may_write && (info.region_flags & STM_REGION_DIRECT) != 0;
    const int protection = region.is_direct ? PROT_READ | PROT_WRITE : PROT_READ;
    // This settles the size of a region that had none.
    if (region.clock.map(fd, STM_OFFSET_CLOCK, kPage, protection) < 0)
        return attach_error();
    const auto* clock = region.clock.as<struct stm_clock>();
    const u64 size = clock->region_size;
    if (clock->stripe_size != protocol::kStripeBytes || clock->record_size != sizeof(u64) ||
        size == 0 || size % kPage != 0)
        return EOPNOTSUPP;
    const u64 records = size / protocol::kStripeBytes * sizeof(u64);
    if (region.records.map(fd, STM_OFFSET_RECORDS, (records + kPage - 1) & ~(kPage - 1),
                           protection) < 0 ||
        region.bytes.map(fd, STM_OFFSET_COMMITTED, size, protection) < 0 ||
        (region.is_direct &&
         region.journals.map(fd, STM_OFFSET_JOURNALS,
                             std::size_t{STM_MOST_JOURNALS} * STM_JOURNAL_BYTES, protection) < 0))
        return attach_error();
    region.place.view = View(region.records.as<Atomic<u64>>(), region.bytes.as<u8>(),
                             region.clock.as<Atomic<u64>>(), size);
    // The id of the region `default` is 0.
    region.place.region = info.id + 1;
    region.place.place = next_place();
    region.place.writable = region.may_write ? size : 0;
    return 0;
}

// Takes the descriptor, also if it fails.
stm_region* make_region(connection::Descriptor handle) {
    void* const memory = std::malloc(sizeof(stm_region));
    if (memory == nullptr) {
        errno = ENOMEM;
        return nullptr;
    }
    auto* const region = new (memory) stm_region;
    region->handle = std::move(handle);
    const int error = attach(*region);
    if (error == 0)
        return region;
    stm_region_close(region);
    static_cast<void>(fail(error, "the region cannot be attached for typed transactions"));
    return nullptr;
}

} // namespace
} // namespace stm::library::typed

using namespace stm::library;

static_assert(offsetof(struct stm_clock, now) == 0);

stm_region* stm_region_open(const char* name, size_t size, int flags, mode_t mode) {
    if ((flags & (STM_PLAIN | STM_EXEC)) != 0) {
        static_cast<void>(fail(EOPNOTSUPP, "a plain region has no transactions"));
        return nullptr;
    }
    stm::connection::Descriptor handle(stm_open(name, size, flags, mode));
    return handle ? typed::make_region(std::move(handle)) : nullptr;
}

stm_region* stm_region_attach(int fd) {
    stm::connection::Descriptor handle(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    return handle ? typed::make_region(std::move(handle)) : nullptr;
}

void stm_region_close(stm_region* region) {
    if (region == nullptr)
        return;
    const int error = errno;
    region->~stm_region();
    std::free(region);
    errno = error;
}

size_t stm_region_size(const stm_region* region) {
    return region->place.view.size();
}

int stm_region_fd(const stm_region* region) {
    return region->handle.get();
}

const void* stm_region_committed(const stm_region* region) {
    return region->bytes.as<void>();
}
