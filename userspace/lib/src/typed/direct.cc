// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread that is stopped in the middle of a commit loses its journal to those that wait for it.
// The next store of that commit is refused, and the kernel sends the thread to direct_enter.S. From
// there it comes back to the begin of the commit, and asks what has become of it. Nothing but the
// sets and the journal is stored between the begin and the last such store.
#include "direct.hpp"

#include "runtime/protocol/direct_commit.hpp"
#include "transaction.hpp"

#include <cerrno>
#include <stm/ioctl.h>
#include <sys/ioctl.h>

#ifndef __x86_64__
#error "libstm: direct commits are written for x86-64 only"
#endif

// Where the kernel sends the thread: direct_enter.S.
extern "C" [[gnu::visibility("hidden")]] void stm_library_direct_resumed();

namespace stm::library::typed {
namespace {

using protocol::AbortReason;
using runtime::Order;

// The region as a commit in user space sees it.
class Memory {
public:
    Memory(const stm_region& region, OwnJournals& own) : region_(region), own_(own) {}

    [[nodiscard]] Atomic<u64>& clock() { return *region_.clock.as<Atomic<u64>>(); }
    [[nodiscard]] Atomic<u64>* orec(u64 stripe) {
        return region_.records.as<Atomic<u64>>() + stripe;
    }
    [[nodiscard]] u8* data(u64 stripe) {
        return region_.bytes.as<u8>() + stripe * protocol::kStripeBytes;
    }
    // A load makes the page.
    [[nodiscard]] runtime::Status materialise(u64) { return runtime::kSuccess; }
    [[nodiscard]] u64 size() const { return page().region_size; }
    void pause() { runtime::spin_hint(); }
    [[nodiscard]] u32 spin_limit() const { return 500; }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    void described() { own_.progress = OwnJournals::Progress::described; }

    [[nodiscard]] bool closed() const {
        return __atomic_load_n(&page().closed, __ATOMIC_RELAXED) != 0;
    }
    [[nodiscard]] bool has_sleepers() const {
        return __atomic_load_n(&page().sleepers, __ATOMIC_ACQUIRE) != 0;
    }

private:
    // Of which the clock is the first member.
    [[nodiscard]] struct stm_clock& page() const { return *region_.clock.as<struct stm_clock>(); }

    const stm_region& region_;
    OwnJournals& own_;
};

void count(Atomic<u64>& counter) {
    counter.store(counter.load(Order::relaxed) + 1, Order::relaxed);
}

bool is_idle(const OwnJournal& own) {
    return protocol::JournalState{own.journal->head.state.load(Order::relaxed)}.is_idle();
}

// What has become of the last commit, if it was taken.
enum class Outcome { none, undone, finished };

// A signal handler may leave it at any moment by a jump, and what has a place belongs together.
void put(OwnJournal& to, const OwnJournal& from) {
    to.place = 0;
    protocol::signal_fence();
    to.journal = from.journal;
    to.owner = from.owner;
    protocol::signal_fence();
    to.place = from.place;
    protocol::signal_fence();
}

// 0 or an error number.
int claim(OwnJournal& own, stm_region& region, Outcome& outcome) {
    struct stm_claim_journal request {};
    request.size = sizeof request;
    request.resume = reinterpret_cast<u64>(&stm_library_direct_resumed);
    if (::ioctl(region.handle.get(), STM_IOC_JOURNAL, &request) < 0)
        return errno;
    auto* const journal = region.journals.as<u8>() + request.offset;
    put(own, {region.place.place, reinterpret_cast<protocol::Journal*>(journal), request.owner});
    outcome = (request.outcome & STM_JOURNAL_FINISHED) != 0 ? Outcome::finished
              : (request.outcome & STM_JOURNAL_TAKEN) != 0  ? Outcome::undone
                                                            : Outcome::none;
    return 0;
}

[[gnu::cold, gnu::noinline]] void wake(const stm_region& region, const Engine::Part& part) {
    const int error = errno;
    protocol::WaitMask keys = 0;
    for (const protocol::StripeWrite& write : part.stripes_written())
        keys |= protocol::wait_bit(write.stripe);
    ::ioctl(region.handle.get(), STM_IOC_WAKE, keys);
    errno = error;
}

// Makes `last` a journal that is idle. errno is left alone.
[[gnu::noinline]] bool claim_idle(OwnJournals& own, stm_region& region) {
    if (own.last.place != region.place.place) {
        OwnJournal* found = &own.others[own.oldest];
        for (OwnJournal& other : own.others) {
            if (other.place == region.place.place)
                found = &other;
        }
        if (found->place != region.place.place)
            own.oldest = (own.oldest + 1) % OwnJournals::kOthers;
        // None of them is there twice, in between either: the owner of one may become an old one.
        const OwnJournal wanted = *found;
        const OwnJournal last = own.last;
        put(*found, {});
        put(own.last, wanted);
        put(*found, last);
        if (own.last.place == region.place.place && is_idle(own.last))
            return true;
    }
    const int error = errno;
    Outcome outcome{};
    const bool done = claim(own.last, region, outcome) == 0;
    errno = error;
    return done;
}

// What has become of a commit whose journal was taken. errno is left alone.
AbortReason reason_of_taken(OwnJournals& own, stm_region& region) {
    const int error = errno;
    Outcome outcome{};
    // It has one, so this asks for no memory.
    if (claim(own.last, region, outcome) != 0) {
        put(own.last, {});
        outcome = Outcome::undone;
    }
    errno = error;
    // Before that it was another commit that was finished, which a signal handler had left by a
    // jump.
    const bool is_its_own = own.progress == OwnJournals::Progress::described;
    own.progress = OwnJournals::Progress::none;
    return outcome == Outcome::finished && is_its_own ? AbortReason::none
                                                      : AbortReason::commit_locked;
}

[[gnu::cold, gnu::noinline]] int after_conflict(stm_tx& tx, AbortReason reason, u64 stripe) {
    tx.journals.progress = OwnJournals::Progress::none;
    if (reason == AbortReason::serial_wait)
        return commit_by_request(tx);
    protocol::Journal& journal = *tx.journals.last.journal;
    count(journal.head.conflicts);
    if (reason == AbortReason::commit_locked) {
        count(journal.head.locked);
        settle(*tx.known[0], stripe);
    }
    return after_failed_commit(tx, reason);
}

[[gnu::always_inline]] inline int end_as_committed(stm_tx& tx) {
    tx.journals.progress = OwnJournals::Progress::none;
    tx.engine.end_only_part();
    tx.known_count = 1;
    return 0;
}

} // namespace

void settle(const stm_region& region, u64 stripe) {
    const int error = errno;
    ::ioctl(region.handle.get(), STM_IOC_SETTLE, stripe);
    errno = error;
}

void end_left_commit(stm_tx& tx) {
    OwnJournals& own = tx.journals;
    if (own.progress == OwnJournals::Progress::none) [[likely]]
        return;
    own.progress = OwnJournals::Progress::none;
    stm_region& region = *tx.known[0];
    if (own.last.place != region.place.place)
        return;
    const int error = errno;
    Outcome outcome{};
    if (claim(own.last, region, outcome) != 0)
        put(own.last, {});
    errno = error;
}

} // namespace stm::library::typed

using namespace stm::library::typed;
namespace protocol = stm::protocol;

int stm_library_direct_commit(stm_tx& tx) {
    const Engine::Part* const part = tx.engine.only_part();
    stm_region& region = *tx.known[0];
    OwnJournals& own = tx.journals;
    if (part == nullptr || tx.is_serial || part->writes().size() > protocol::Journal::kMostWrites)
        [[unlikely]]
        return commit_by_request(tx);
    // It has none, or its last commit was left by a jump out of a signal handler.
    const bool has_idle = own.last.place == region.place.place && is_idle(own.last);
    if (!has_idle && !claim_idle(own, region)) [[unlikely]]
        return commit_by_request(tx);
    tx.engine.order_only_part();
    own.progress = OwnJournals::Progress::begun;
    protocol::signal_fence(); // before any store to the journal
    Memory memory(region, own);
    protocol::Journal& journal = *own.last.journal;
    const protocol::DirectResult result =
        protocol::commit_directly(memory, journal, own.last.owner, *part);
    if (result.reason != AbortReason::none) [[unlikely]]
        return after_conflict(tx, result.reason, result.stripe);
    count(journal.head.commits);
    if (memory.has_sleepers()) [[unlikely]]
        wake(region, *part);
    protocol::end_direct(memory, journal);
    return end_as_committed(tx);
}

int stm_library_direct_taken(stm_tx& tx) {
    const AbortReason reason = reason_of_taken(tx.journals, *tx.known[0]);
    return reason == AbortReason::none ? end_as_committed(tx) : after_failed_commit(tx, reason);
}
