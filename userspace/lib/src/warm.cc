// SPDX-License-Identifier: LGPL-2.1-or-later
#include "warm.hpp"

#include "module_version.hpp"

#include <cerrno>
#include <cstddef>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace stm::library {
namespace {

constexpr unsigned kNumbers = 4096;
constexpr std::size_t kPage = 4096;
constexpr int kMinorOfWarm = 7;

struct Slot {
    std::atomic<const Clock*> clock; // null: not warm
    std::atomic<void*> place;        // null: none yet
    std::atomic<dev_t> device;       // of the file, which its mapping keeps alive
    std::atomic<ino_t> inode;
    std::atomic<pid_t> process;
};
constinit Slot slots[kNumbers];
// All numbers from here on have never been warm.
constinit std::atomic<unsigned> end_of_used = 0;

class KeptErrno {
public:
    KeptErrno() : error_(errno) {}
    ~KeptErrno() { errno = error_; }
    KeptErrno(const KeptErrno&) = delete;
    KeptErrno& operator=(const KeptErrno&) = delete;

private:
    int error_;
};

void* anonymous(void* place) {
    return ::mmap(place, kPage, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | (place != nullptr ? MAP_FIXED : 0), -1, 0);
}

// Null with errno.
void* place_of(Slot& slot) {
    void* place = slot.place.load(std::memory_order_acquire);
    if (place != nullptr)
        return place;
    void* const made = anonymous(nullptr);
    if (made == MAP_FAILED)
        return nullptr;
    if (slot.place.compare_exchange_strong(place, made, std::memory_order_acq_rel))
        return made;
    ::munmap(made, kPage);
    return place;
}

void forget(Slot& slot) {
    slot.clock.store(nullptr, std::memory_order_relaxed);
    anonymous(slot.place.load(std::memory_order_acquire));
}

int refuse(int error) {
    errno = error;
    return -1;
}

} // namespace

const Clock* warm_clock(int fd) {
    const auto number = static_cast<unsigned>(fd);
    return number < kNumbers ? slots[number].clock.load(std::memory_order_acquire) : nullptr;
}

const std::atomic<const Clock*>* warm_clock_place(int fd) {
    const auto number = static_cast<unsigned>(fd);
    return number < kNumbers ? &slots[number].clock : nullptr;
}

const Clock* warm_clock_of_file(int fd) {
    const Clock* const clock = warm_clock(fd);
    if (clock == nullptr)
        return nullptr;
    const KeptErrno kept;
    Slot& slot = slots[fd];
    struct stat now {};
    if (::fstat(fd, &now) == 0 && now.st_dev == slot.device.load(std::memory_order_relaxed) &&
        now.st_ino == slot.inode.load(std::memory_order_relaxed))
        return clock;
    forget(slot);
    return nullptr;
}

int keep_warm(int fd) {
    struct stat file {};
    if (::fstat(fd, &file) < 0)
        return -1;
    const auto number = static_cast<unsigned>(fd);
    if (number >= kNumbers)
        return refuse(EMFILE);
    const int minor = older_minor(fd);
    if (minor >= 0 && minor < kMinorOfWarm)
        return refuse(EOPNOTSUPP);
    Slot& slot = slots[number];
    void* const place = place_of(slot);
    if (place == nullptr)
        return -1;
    if (::mmap(place, kPage, PROT_READ, MAP_SHARED | MAP_FIXED, fd, STM_OFFSET_CLOCK) == MAP_FAILED)
        return errno == EINVAL ? refuse(EOPNOTSUPP) : -1;
    slot.device.store(file.st_dev, std::memory_order_relaxed);
    slot.inode.store(file.st_ino, std::memory_order_relaxed);
    slot.process.store(::getpid(), std::memory_order_relaxed);
    slot.clock.store(static_cast<const Clock*>(place), std::memory_order_release);
    for (unsigned end = end_of_used.load(std::memory_order_relaxed);
         end <= number && !end_of_used.compare_exchange_weak(end, number + 1);)
        continue;
    return 0;
}

void forget_warm(unsigned first, unsigned last) {
    const unsigned end = end_of_used.load(std::memory_order_acquire);
    if (first >= end) [[likely]]
        return;
    const KeptErrno kept;
    for (unsigned number = first; number < end && number <= last; ++number) {
        Slot& slot = slots[number];
        if (slot.clock.load(std::memory_order_acquire) != nullptr &&
            slot.process.load(std::memory_order_relaxed) == ::getpid())
            forget(slot);
    }
}

void adopt_warm() {
    const unsigned end = end_of_used.load(std::memory_order_relaxed);
    for (unsigned number = 0; number < end; ++number)
        slots[number].process.store(::getpid(), std::memory_order_relaxed);
}

} // namespace stm::library

int stm_refresh(int fd) {
    struct stm_transaction now {};
    now.size = sizeof now;
    if (::ioctl(fd, STM_IOC_TRANSACTION, &now) < 0)
        return -1;
    if (now.depth != 0)
        return stm::library::refuse(EBUSY);
    // A transaction that does nothing: its start brings the pages up to date.
    while (::ioctl(fd, STM_IOC_START, STM_START_NO_PREDICTION) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return ::ioctl(fd, STM_IOC_CANCEL, 0);
}

int stm_set_warm(int fd, int warm) {
    if (warm != 0)
        return stm::library::keep_warm(fd);
    struct stat file {};
    if (::fstat(fd, &file) < 0)
        return -1;
    stm::library::forget_warm(static_cast<unsigned>(fd), static_cast<unsigned>(fd));
    return 0;
}
