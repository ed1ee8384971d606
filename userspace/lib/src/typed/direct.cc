// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread that is stopped in the middle of a commit loses its journal to those that wait for it.
// The next store of that commit is refused, and the kernel sends the thread to direct_resume.S.
// From there it comes back to the begin of the commit, and asks what has become of it.
#include "direct.hpp"

#include <cerrno>
#include <stm/ioctl.h>
#include <sys/ioctl.h>

#ifndef __x86_64__
#error "libstm: direct commits are written for x86-64 only"
#endif

extern "C" {
// Where a commit begins: frame, instruction, stack, as __builtin_setjmp() stores them.
[[gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] constinit thread_local void* stm_library_direct_begin[5] = {};
[[gnu::visibility("hidden")]] void stm_library_direct_resumed();
}

namespace stm::library::typed {
namespace {

// Whether the journal has told of this commit, so that what becomes of the journal becomes of it.
[[gnu::tls_model("initial-exec")]] constinit thread_local volatile bool is_described = false;

using protocol::AbortReason;
using protocol::DirectResult;

// The region as a commit in user space sees it.
class Memory {
public:
    explicit Memory(stm_region& region)
        : now_(region.clock.as<Atomic<u64>>()), clock_(region.clock.as<struct stm_clock>()),
          records_(region.records.as<Atomic<u64>>()), bytes_(region.bytes.as<u8>()) {}

    [[nodiscard]] Atomic<u64>& clock() { return *now_; }
    [[nodiscard]] Atomic<u64>* orec(u64 stripe) { return records_ + stripe; }
    [[nodiscard]] u8* data(u64 stripe) { return bytes_ + stripe * protocol::kStripeBytes; }
    // The first touch of a page makes it.
    [[nodiscard]] runtime::Status materialise(u64 stripe) {
        static_cast<void>(__atomic_load_n(data(stripe), __ATOMIC_RELAXED));
        return runtime::kSuccess;
    }
    [[nodiscard]] u64 size() const { return clock_->region_size; }
    void pause() { runtime::spin_hint(); }
    [[nodiscard]] u32 spin_limit() const { return 500; }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    void described() { is_described = true; }

    [[nodiscard]] bool closed() const {
        return __atomic_load_n(&clock_->closed, __ATOMIC_RELAXED) != 0;
    }
    [[nodiscard]] bool has_sleepers() const {
        return __atomic_load_n(&clock_->sleepers, __ATOMIC_ACQUIRE) != 0;
    }

private:
    Atomic<u64>* const now_; // the first member of *clock_
    struct stm_clock* const clock_;
    Atomic<u64>* const records_;
    u8* const bytes_;
};

void count(Atomic<u64>& counter) {
    counter.store(counter.load(runtime::Order::relaxed) + 1, runtime::Order::relaxed);
}

// What has become of the last commit, if it was taken.
enum class Outcome { none, undone, finished };

// 0 or an error number.
int claim(OwnJournal& own, stm_region& region, Outcome& outcome) {
    struct stm_claim_journal request {};
    request.size = sizeof request;
    request.resume = reinterpret_cast<u64>(&stm_library_direct_resumed);
    if (::ioctl(region.handle.get(), STM_IOC_JOURNAL, &request) < 0)
        return errno;
    own.place = region.place.place;
    own.journal = reinterpret_cast<protocol::Journal*>(region.journals.as<u8>() + request.offset);
    own.owner = request.owner;
    outcome = (request.outcome & STM_JOURNAL_FINISHED) != 0 ? Outcome::finished
              : (request.outcome & STM_JOURNAL_TAKEN) != 0  ? Outcome::undone
                                                            : Outcome::none;
    return 0;
}

[[gnu::cold, gnu::noinline]] bool has_claimed(OwnJournal& own, stm_region& region) {
    const int error = errno;
    Outcome outcome{};
    const bool done = claim(own, region, outcome) == 0;
    errno = error;
    return done;
}

[[gnu::cold, gnu::noinline]] AbortReason after_taken(OwnJournal& own, stm_region& region) {
    const int error = errno;
    Outcome outcome{};
    // It has one, so this asks for no memory.
    if (claim(own, region, outcome) != 0) {
        own = {};
        outcome = Outcome::undone;
    }
    errno = error;
    // Before that it was another commit that was finished, which a signal handler had left by a
    // jump.
    return outcome == Outcome::finished && is_described ? AbortReason::none
                                                        : AbortReason::commit_locked;
}

[[gnu::cold, gnu::noinline]] void wake(const stm_region& region, const Engine::Part& part) {
    const int error = errno;
    protocol::WaitMask keys = 0;
    for (const protocol::StripeWrite& write : part.writes().writes())
        keys |= protocol::wait_bit(write.stripe);
    ::ioctl(region.handle.get(), STM_IOC_WAKE, keys);
    errno = error;
}

[[gnu::cold, gnu::noinline]] AbortReason after_conflict(OwnJournal& own, const stm_region& region,
                                                        AbortReason reason, u64 stripe) {
    count(own.journal->head.conflicts);
    if (reason == AbortReason::commit_locked) {
        count(own.journal->head.locked);
        settle(region, stripe);
    }
    return reason;
}

// Apart from where it comes back to: a function with such a place keeps nothing in registers.
[[gnu::noinline]] AbortReason commit_claimed(OwnJournal& own, stm_region& region,
                                             const Engine::Part& part) {
    Memory memory(region);
    u64 stripe = 0;
    const DirectResult result =
        protocol::commit_directly(memory, *own.journal, own.owner, part.snapshot(),
                                  part.reads().runs(), part.writes().writes(), stripe);
    if (result.kind == DirectResult::Kind::committed) [[likely]] {
        count(own.journal->head.commits);
        if (memory.has_sleepers()) [[unlikely]]
            wake(region, part);
        protocol::end_direct(memory, *own.journal);
        return AbortReason::none;
    }
    return result.kind == DirectResult::Kind::closed
               ? AbortReason::serial_wait
               : after_conflict(own, region, result.reason, stripe);
}

} // namespace

AbortReason commit_directly(OwnJournal& own, stm_region& region, const Engine::Part& part) {
    if (part.writes().size() > protocol::Journal::kMostWrites) [[unlikely]]
        return AbortReason::serial_wait;
    // It has none, or its last commit was left by a jump out of a signal handler.
    if ((own.place != region.place.place ||
         own.journal->head.state.load(runtime::Order::relaxed) != 0) &&
        !has_claimed(own, region)) [[unlikely]]
        return AbortReason::serial_wait;
    // The compiler does not know that a store below may lead back here.
    OwnJournal* const volatile same_own = &own;
    stm_region* const volatile same_region = &region;
    is_described = false;
    if (__builtin_setjmp(stm_library_direct_begin) != 0) [[unlikely]]
        return after_taken(*same_own, *same_region);
    return commit_claimed(own, region, part);
}

void settle(const stm_region& region, u64 stripe) {
    const int error = errno;
    ::ioctl(region.handle.get(), STM_IOC_SETTLE, stripe);
    errno = error;
}

} // namespace stm::library::typed
