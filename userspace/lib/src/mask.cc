// SPDX-License-Identifier: LGPL-2.1-or-later
#include "mask.hpp"

#include "handlers.hpp"
#include "thread_state.hpp"

#include <cerrno>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::library {
namespace {

// libc's own signals, the two below the first one that programs may use. It keeps them out of every
// mask.
constexpr Mask kOfLibc = mask_of(32) | mask_of(33);

constexpr Mask kFaults = mask_of_ours() & ~mask_of(kDoomSignal);

int system_call(int how, const Mask* mask, Mask* old) {
    return static_cast<int>(::syscall(SYS_rt_sigprocmask, how, mask, old, sizeof(Mask)));
}

} // namespace

constinit thread_local ThreadMask this_mask{};

Mask to_mask(const sigset_t& set) {
    Mask mask;
    std::memcpy(&mask, &set, sizeof mask);
    return mask;
}

sigset_t to_set(Mask mask) {
    sigset_t set;
    sigemptyset(&set);
    std::memcpy(&set, &mask, sizeof mask);
    return set;
}

// The calls below are repeated while the kernel cannot read or write their arguments. Only want of
// memory causes that, and a mask that is not changed would keep signals blocked forever. Each call
// either changes the mask or returns it. A call for both could change it and then fail to return
// what it was.
Mask current_mask() {
    Mask now = 0;
    while (system_call(SIG_BLOCK, nullptr, &now) < 0 && errno == EFAULT) {
    }
    return now;
}

void change_mask(int how, Mask mask) {
    mask &= ~kOfLibc;
    while (system_call(how, &mask, nullptr) < 0 && errno == EFAULT) {
    }
}

void ThreadMask::look() {
    const int error = errno;
    static const bool seen = masks_are_seen();
    is_known_ = seen; // first: a handler that runs meanwhile may change it
    const Mask blocked = current_mask() & mask_of_ours();
    withheld_ |= blocked;
    if (blocked != 0)
        change_mask(SIG_UNBLOCK, blocked);
    errno = error;
}

void ThreadMask::restore() {
    if (has_mask_of_start_)
        change_mask(SIG_SETMASK, mask_of_start_);
    has_mask_of_start_ = false;
    if (!is_known_)
        look();
}

bool ThreadMask::forget() {
    const bool was_known = is_known_;
    is_known_ = false;
    return was_known;
}

int ThreadMask::change(int how, const sigset_t* set, sigset_t* old, Within within) {
    const int error = errno;
    Mask wanted = 0;
    if (set != nullptr)
        wanted = to_mask(*set) & ~kOfLibc;
    if (set != nullptr && within == Within::transaction) {
        if (how != SIG_UNBLOCK)
            wanted &= ~kFaults;
        if (!has_mask_of_start_) {
            mask_of_start_ = current_mask();
            has_mask_of_start_ = true;
        }
    }
    Mask before = 0;
    const bool blocks = set != nullptr && how != SIG_UNBLOCK && (wanted & mask_of_ours()) != 0;
    if (blocks)
        is_known_ = false; // first: a handler that leaves by longjmp may run at once
    int result = 0;
    if (system_call(how, set != nullptr ? &wanted : nullptr, old != nullptr ? &before : nullptr) <
        0)
        result = errno;
    errno = error;
    if (result != 0)
        return result;
    if (set != nullptr && how == SIG_SETMASK)
        withheld_ = 0;
    else if (set != nullptr && how == SIG_UNBLOCK)
        withheld_ &= ~wanted;
    if (old != nullptr) // as in libc, only the part that the kernel has
        std::memcpy(old, &before, sizeof before);
    return 0;
}

int program_mask(int how, const sigset_t* set, sigset_t* old) {
    // In a handler the mask is the program's own: the handler's end restores it.
    const ThreadState* thread = ThreadState::current();
    const bool running =
        thread != nullptr && thread->is_running() && !is_in_handler(__builtin_frame_address(0));
    return ThreadMask::current().change(
        how, set, old, running ? ThreadMask::Within::transaction : ThreadMask::Within::nothing);
}

} // namespace stm::library
