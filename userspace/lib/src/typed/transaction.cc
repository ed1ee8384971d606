// SPDX-License-Identifier: LGPL-2.1-or-later
// The functions of <stm/tx.h>. Loads and stores are the engine's. Here are the commit by one
// request, the back-off, and the serial path: a transaction by STM_START_SERIAL on each region's
// handle, which holds the region's token while this one runs.
//
// Tokens are taken in ascending order of the regions' ids, so that two such transactions do not
// wait for each other. A region that joins a serial transaction later would break the order. So
// that attempt ends, and the next one takes all of them.
//
// A transaction that is known to read only, in one region, and meets conflicts again and again,
// runs beside a transaction by STM_START_FIXED, at the snapshot of that. It gets by read calls
// within that one what has been committed since. See "At a fixed snapshot" in
// typed_transaction.hpp.
#include "transaction.hpp"

#include "../aborts.hpp"

#include "runtime/protocol/backoff.hpp"

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <new>
#include <optional>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace stm::library::typed {
namespace {

using protocol::AbortReason;
using protocol::is_conflict;
using Part = Engine::Part;
using Mode = Engine::Mode;

static_assert(sizeof(protocol::StripeWrite) == sizeof(struct stm_stripe_write) &&
              offsetof(protocol::StripeWrite, mask) == offsetof(struct stm_stripe_write, mask) &&
              offsetof(protocol::StripeWrite, bytes) == offsetof(struct stm_stripe_write, bytes));
static_assert(Engine::kMaxParts <= STM_MAX_OTHERS + 1);

[[gnu::tls_model("initial-exec")]] constinit thread_local stm_tx* this_thread = nullptr;

pthread_key_t at_exit_key;
pthread_once_t at_exit_once = PTHREAD_ONCE_INIT;
bool has_key = false;

// ---- the thread's object -----------------------------------------------------------------------

void end_attempt(stm_tx& tx, AbortReason reason) {
    end_left_commit(tx);
    tx.engine.end(reason);
    tx.part = &tx.engine.part(0);
}

void forget_parents_transaction() {
    stm_tx* const tx = this_thread;
    if (tx == nullptr)
        return;
    // The tokens and the journal belong to the parent's thread.
    tx->journals.forget();
    tx->is_serial = false;
    tx->is_fixed = false;
    tx->wants_tokens = false;
    tx->error = 0;
    tx->known_count = 1;
    if (tx->engine.active())
        end_attempt(*tx, AbortReason::explicit_cancel);
}

// Ends the tokens, too.
void at_thread_exit(void* object);

void set_up() {
    has_key = pthread_key_create(&at_exit_key, at_thread_exit) == 0;
    pthread_atfork(nullptr, nullptr, forget_parents_transaction);
}

[[gnu::noinline]] stm_tx* make_current() {
    pthread_once(&at_exit_once, set_up);
    void* memory = nullptr;
    if (::posix_memalign(&memory, alignof(stm_tx), sizeof(stm_tx)) != 0)
        return nullptr;
    auto* const tx = new (memory) stm_tx;
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    // Not 0, and not the same in two threads.
    tx->random = reinterpret_cast<runtime::uptr>(tx) ^ static_cast<u64>(now.tv_nsec) << 32 ^ 1;
    tx->random |= u64{1} << 63;
    // Without a key the memory is not freed when the thread ends. Nothing else depends on the key.
    if (has_key)
        pthread_setspecific(at_exit_key, tx);
    this_thread = tx;
    return tx;
}

// ---- the serial path ---------------------------------------------------------------------------

// Keeps errno.
void give_tokens_back(stm_tx& tx) {
    if (!tx.is_serial && !tx.is_fixed)
        return;
    const int error = errno;
    for (u32 i = 0; i < tx.known_count; ++i)
        ::ioctl(tx.known[i]->handle.get(), STM_IOC_CANCEL, STM_CANCEL_ALL);
    tx.is_serial = false;
    tx.is_fixed = false;
    errno = error;
}

// The known region with that id, or behind the last.
u32 find_known(const stm_tx& tx, u64 id) {
    u32 i = 0;
    while (i < tx.known_count && tx.known[i]->place.region != id)
        ++i;
    return i;
}

// 0 or an error number; then it holds no token.
int take_tokens(stm_tx& tx) {
    stm_region* sorted[stm_tx::kMost];
    for (u32 i = 0; i < tx.known_count; ++i) {
        u32 j = i;
        for (; j > 0 && tx.known[i]->place.region < sorted[j - 1]->place.region; --j)
            sorted[j] = sorted[j - 1];
        sorted[j] = tx.known[i];
    }
    // First: a signal handler may leave this by a jump, and then all are given back.
    tx.is_serial = true;
    for (u32 i = 0; i < tx.known_count; ++i) {
        if (::ioctl(sorted[i]->handle.get(), STM_IOC_START, STM_START_RESTART | STM_START_SERIAL) <
            0) {
            const int error = errno;
            while (i-- > 0)
                ::ioctl(sorted[i]->handle.get(), STM_IOC_CANCEL, STM_CANCEL_ALL);
            tx.is_serial = false;
            return error;
        }
    }
    return 0;
}

// ---- begin and end -----------------------------------------------------------------------------

Mode mode_of(const stm_tx& tx) {
    return (tx.flags & STM_TX_READ_ONLY) != 0 ? Mode::read_only : Mode::update;
}

[[gnu::always_inline]] inline void begin_attempt(stm_tx& tx, stm_region& first, Mode mode) {
    tx.engine.begin(mode, first.place);
    tx.region = &first;
}

// The transaction is over. Returns -1 with errno.
int fail_for_good(stm_tx& tx, int error) {
    give_tokens_back(tx);
    end_attempt(tx, AbortReason::explicit_cancel);
    tx.wants_tokens = false;
    tx.error = 0;
    tx.known_count = 1;
    errno = error;
    return -1;
}

// A short time is spent awake: a sleep takes some 50 us, however short it was to be.
void wait_for(u64 nanoseconds) {
    constexpr u64 kAwake = 20'000;
    if (nanoseconds == 0)
        return;
    if (nanoseconds > kAwake) {
        const struct timespec time {
            static_cast<time_t>(nanoseconds / 1'000'000'000),
                static_cast<long>(nanoseconds % 1'000'000'000)
        };
        ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
        return;
    }
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const u64 end =
        static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec) + nanoseconds;
    do {
        for (int i = 0; i < 10; ++i)
            runtime::spin_hint();
        ::clock_gettime(CLOCK_MONOTONIC, &now);
    } while (static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec) < end);
}

// ---- a fixed snapshot --------------------------------------------------------------------------

std::int64_t now_ns() {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

// Whether the next attempt is to have one, after a conflict. It stops all commits for a moment, so
// an attempt with a log comes first; but not where the one before read for long.
bool wants_fixed_snapshot(const stm_tx& tx) {
    constexpr unsigned kConflictsBefore = 3;
    return mode_of(tx) == Mode::read_only && tx.known_count == 1 && !tx.known[0]->is_direct &&
           (tx.reads_for_long || tx.engine.conflicts_in_row() >= kConflictsBefore);
}

// Begins an attempt with one. False: that is not possible now, and no attempt has begun.
bool begin_fixed(stm_tx& tx) {
    stm_region& region = *tx.known[0];
    const int handle = region.handle.get();
    // First: a signal handler may leave this by a jump, and then it is ended.
    tx.is_fixed = true;
    if (::ioctl(handle, STM_IOC_START, STM_START_RESTART | STM_START_FIXED) < 0) {
        tx.is_fixed = false; // an older module does not know it
        return false;
    }
    struct stm_transaction own {};
    own.size = sizeof own;
    if (::ioctl(handle, STM_IOC_TRANSACTION, &own) < 0 || own.fixed == 0) {
        give_tokens_back(tx);
        return false;
    }
    tx.engine.begin_fixed(region.place, own.snapshot);
    tx.region = &region;
    tx.fixed_since = now_ns();
    return true;
}

// It is committed, and has read only.
void end_fixed(stm_tx& tx) {
    constexpr std::int64_t kLong = 200'000;
    if (!tx.is_fixed)
        return;
    tx.reads_for_long = now_ns() - tx.fixed_since > kLong;
    const int error = errno;
    ::ioctl(tx.known[0]->handle.get(), STM_IOC_COMMIT, 0);
    tx.is_fixed = false;
    errno = error;
}

constexpr unsigned kManyConflicts = 8;

// Whoever has locked a stripe of a direct region may be gone.
void settle_what_was_locked(const stm_tx& tx) {
    const auto [id, stripe] = tx.engine.in_the_way();
    const u32 index = find_known(tx, id);
    if (index < tx.known_count && tx.known[index]->is_direct)
        settle(*tx.known[index], stripe);
}

// A stripe of the sets that is locked, or newer than the snapshot.
std::optional<Engine::Stripe> find_changed(stm_tx& tx) {
    for (u32 i = 0; i < tx.engine.parts(); ++i) {
        Part& part = tx.engine.part(i);
        const u32 known = find_known(tx, part.region());
        if (known == tx.known_count)
            continue;
        const View& view = tx.known[known]->place.view;
        const u64 limit = protocol::Orec::unlocked(part.snapshot()).word();
        const auto changed = [&](u64 stripe) {
            return view.orec(stripe)->load(runtime::Order::relaxed) > limit;
        };
        for (const u64 run : part.reads().runs()) {
            const u64 first = run & ((u64{1} << 48) - 1);
            for (u64 stripe = first; stripe <= first + (run >> 48); ++stripe)
                if (changed(stripe))
                    return Engine::Stripe{part.region(), stripe};
        }
        for (const protocol::StripeWrite& write : part.writes().writes())
            if (changed(write.stripe))
                return Engine::Stripe{part.region(), write.stripe};
    }
    return std::nullopt;
}

// Before its end, for a report.
[[gnu::cold, gnu::noinline]] void note_typed_conflict(stm_tx& tx, AbortReason reason) {
    std::optional<Engine::Stripe> place = find_changed(tx);
    if (!place && reason == AbortReason::read_locked)
        place = tx.engine.in_the_way();
    const u32 index = place ? find_known(tx, place->region) : 0;
    note_conflict({tx.known[index < tx.known_count ? index : 0]->handle.get(),
                   static_cast<int>(reason), index < tx.known_count && place.has_value(),
                   place ? place->number * protocol::kStripeBytes : 0,
                   tx.engine.conflicts_in_row() + 1, 0});
}

// Ends the attempt for that reason, and begins the next one. Returns STM_TX_AGAIN, or -1 with
// errno: then the transaction is over.
int begin_again(stm_tx& tx, AbortReason reason) {
    give_tokens_back(tx);
    // One that is always newer may have been stored by a program that does what it should not.
    if (reason == AbortReason::read_locked ||
        (reason == AbortReason::read_validation && tx.engine.conflicts_in_row() >= kManyConflicts))
        settle_what_was_locked(tx);
    if (is_conflict(reason) && reports_aborts())
        note_typed_conflict(tx, reason);
    end_attempt(tx, reason);
    bool serial = tx.wants_tokens || (tx.flags & STM_TX_SERIAL) != 0;
    tx.wants_tokens = false;
    if (is_conflict(reason) && !serial) {
        const protocol::Advice advice = protocol::advise(
            protocol::RetryPolicy{}, tx.engine.conflicts_in_row(), reason, tx.random);
        serial = advice.path == protocol::Advice::Path::serial;
        // A large commit has locked what is wanted, and needs the processor.
        if (advice.until == protocol::Advice::Until::gate && advice.delay_ns == 0)
            ::sched_yield();
        wait_for(advice.delay_ns);
    }
    if (serial) {
        const int error = take_tokens(tx);
        // Others mean that there is no token to be had here: another thread of the process has it.
        if (error == EINTR || error == EDEADLK || error == ENOMEM)
            return fail_for_good(tx, error);
    }
    if (!serial && is_conflict(reason) && wants_fixed_snapshot(tx) && begin_fixed(tx))
        return STM_TX_AGAIN;
    begin_attempt(tx, *tx.known[0], mode_of(tx));
    if (serial)
        tx.engine.make_complex();
    return STM_TX_AGAIN;
}

// ---- accesses ----------------------------------------------------------------------------------

int error_of(AbortReason reason) {
    switch (reason) {
    case AbortReason::too_big:
        return EFBIG;
    case AbortReason::no_memory:
        return ENOMEM;
    case AbortReason::out_of_range:
        return ERANGE;
    default: // no transaction runs
        return EINVAL;
    }
}

// The operation has failed, and so has the transaction.
int fail(stm_tx& tx, int error) {
    if (tx.engine.active()) {
        tx.error = error;
        static_cast<void>(tx.engine.doom(AbortReason::explicit_cancel));
    }
    errno = error;
    return -1;
}

int result_of(stm_tx& tx, AbortReason reason) {
    if (reason == AbortReason::none) [[likely]]
        return 0;
    return is_conflict(reason) ? STM_TX_AGAIN : fail(tx, error_of(reason));
}

// Loads by the transaction whose snapshot is fixed what the engine could not.
int load_old(stm_tx& tx, u64 offset, void* to, u64 bytes) {
    auto* target = static_cast<runtime::u8*>(to);
    while (bytes != 0) {
        const ssize_t done =
            ::pread(tx.known[0]->handle.get(), target, bytes, static_cast<off_t>(offset));
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return errno == EAGAIN ? result_of(tx, tx.engine.doom(AbortReason::snapshot_too_old))
                                   : fail(tx, done < 0 ? errno : ERANGE);
        offset += static_cast<u64>(done);
        target += done;
        bytes -= static_cast<u64>(done);
    }
    return 0;
}

AbortReason know(stm_tx& tx, stm_region& region) {
    const u32 index = find_known(tx, region.place.region);
    if (index < tx.known_count)
        return AbortReason::none;
    if (index == stm_tx::kMost)
        return AbortReason::too_big;
    if (tx.is_serial) {
        // In this order none is ever held while another one is waited for that comes first.
        give_tokens_back(tx);
        tx.wants_tokens = true;
    }
    tx.known[tx.known_count++] = &region;
    return tx.wants_tokens ? tx.engine.doom(AbortReason::read_validation) : AbortReason::none;
}

// The same if the attempt has used it by this object: its part, or nullptr.
[[gnu::always_inline]] inline Part* turn_back_to(stm_tx& tx, stm_region& region) {
    for (u32 i = 0; i < tx.engine.parts(); ++i) {
        Part& part = tx.engine.part(i);
        if (tx.known[i] == &region && part.place() == region.place.place) {
            tx.region = &region;
            tx.part = &part;
            return &part;
        }
    }
    return nullptr;
}

// Makes `region` the one of the last access.
[[gnu::noinline]] AbortReason turn_to(stm_tx& tx, stm_region& region) {
    if (tx.engine.active() && tx.engine.doom() == AbortReason::none) {
        const AbortReason reason = know(tx, region);
        if (reason != AbortReason::none)
            return reason;
    }
    Part* part = nullptr;
    const AbortReason reason = tx.engine.join(region.place, part);
    if (part == nullptr)
        return reason;
    tx.region = &region;
    tx.part = part;
    return AbortReason::none;
}

// For a store by a region that may be known by another object.
AbortReason know_as_writable(stm_tx& tx, stm_region& region) {
    const u32 index = find_known(tx, region.place.region);
    if (index == tx.known_count || tx.known[index]->may_write)
        return AbortReason::none;
    // The commit is made by the handle that holds the token.
    if (tx.is_serial) {
        give_tokens_back(tx);
        tx.wants_tokens = true;
    }
    tx.known[index] = &region;
    return tx.wants_tokens ? tx.engine.doom(AbortReason::read_validation) : AbortReason::none;
}

// ---- requests ----------------------------------------------------------------------------------

u64 address_of(const void* memory) {
    return reinterpret_cast<runtime::uptr>(memory);
}

// The sets of all parts, and of known regions that this attempt has not touched but whose tokens it
// holds. The first element is that of the request's handle.
class Sets {
public:
    enum class What { everything, reads };

    Sets(stm_tx& tx, What what) {
        for (u32 i = 0; i < tx.engine.parts(); ++i) {
            Part& part = tx.engine.part(i);
            const auto reads = part.reads().runs();
            const auto writes = part.writes().writes();
            struct stm_sets sets {};
            sets.snapshot = part.snapshot();
            sets.reads = address_of(reads.data());
            sets.read_count = static_cast<u32>(reads.size());
            if (what == What::everything) {
                sets.writes = address_of(writes.data());
                sets.write_count = static_cast<u32>(writes.size());
            }
            if (sets.read_count != 0 || sets.write_count != 0 || tx.is_serial)
                add(*tx.known[find_known(tx, part.region())], sets);
        }
        for (u32 i = 0; tx.is_serial && i < tx.known_count; ++i) {
            if (!has(*tx.known[i]))
                add(*tx.known[i], {});
        }
    }

    [[nodiscard]] bool is_empty() const { return count_ == 0; }
    [[nodiscard]] int handle() const { return regions_[0]->handle.get(); }

    template <typename Request>
    void give_to(Request& request) const {
        request.size = sizeof request;
        request.sets = sets_[0];
        request.sets.handle = -1;
        request.others = address_of(&sets_[1]);
        request.other_count = count_ - 1;
    }

private:
    void add(stm_region& region, const struct stm_sets& sets) {
        regions_[count_] = &region;
        sets_[count_] = sets;
        sets_[count_].handle = region.handle.get();
        ++count_;
    }
    [[nodiscard]] bool has(const stm_region& region) const {
        for (u32 i = 0; i < count_; ++i) {
            if (regions_[i]->place.region == region.place.region)
                return true;
        }
        return false;
    }

    u32 count_ = 0;
    stm_region* regions_[stm_tx::kMost];
    struct stm_sets sets_[stm_tx::kMost];
};

// The request's errors, as tx.h has them.
int public_error(int error) {
    return error == E2BIG ? EFBIG : error;
}

void clear_answer(struct stm_commit_sets& request) {
    request.reserved = 0;
    request.version = 0;
    request.stripe = 0;
    request.reason = 0;
    request.region = 0;
}

// After a request that has failed.
AbortReason failure_of(const struct stm_commit_sets& request) {
    errno = public_error(errno);
    if (errno != EAGAIN)
        return AbortReason::explicit_cancel;
    return request.reason == STM_REASON_COMMIT_LOCKED ? AbortReason::commit_locked
                                                      : AbortReason::commit_validation;
}

// Commits. none, a conflict, or another reason with errno.
AbortReason submit(stm_tx& tx) {
    tx.engine.prepare_commit();
    const Sets sets(tx, Sets::What::everything);
    struct stm_commit_sets request;
    sets.give_to(request);
    request.flags = tx.is_serial ? STM_COMMIT_SERIAL : 0;
    clear_answer(request);
    const bool done = ::ioctl(sets.handle(), STM_IOC_COMMIT_SETS, &request) == 0;
    if (done || errno == EAGAIN)
        tx.is_serial = false;
    return done ? AbortReason::none : failure_of(request);
}

[[gnu::always_inline]] inline void fill(struct stm_sets& sets, int handle, const Part& part) {
    const auto reads = part.reads().runs();
    const auto writes = part.writes().writes();
    sets.handle = handle;
    sets.reserved = 0;
    sets.snapshot = part.snapshot();
    sets.reads = address_of(reads.data());
    sets.writes = address_of(writes.data());
    sets.read_count = static_cast<u32>(reads.size());
    sets.write_count = static_cast<u32>(writes.size());
}

[[gnu::always_inline]] inline AbortReason submit(stm_region& region,
                                                 struct stm_commit_sets& request) {
    request.size = sizeof request;
    request.flags = 0;
    clear_answer(request);
    if (::ioctl(region.handle.get(), STM_IOC_COMMIT_SETS, &request) == 0) [[likely]]
        return AbortReason::none;
    return failure_of(request);
}

// The same for a part that is the only one, without a token.
[[gnu::always_inline]] inline AbortReason submit_one(stm_region& region, const Part& part) {
    struct stm_commit_sets request;
    fill(request.sets, -1, part);
    request.others = 0;
    request.other_count = 0;
    return submit(region, request);
}

} // namespace

// For that reason; errno tells which if it is none of the conflicts.
[[gnu::noinline]] int after_failed_commit(stm_tx& tx, AbortReason reason) {
    return is_conflict(reason) ? begin_again(tx, reason) : fail_for_good(tx, errno);
}

namespace {

[[gnu::noinline]] int commit_slowly(stm_tx& tx) {
    if (!tx.engine.active()) {
        errno = EINVAL;
        return -1;
    }
    if (tx.error != 0)
        return fail_for_good(tx, tx.error);
    AbortReason reason = tx.engine.doom();
    if (reason == AbortReason::none && tx.engine.has_written())
        reason = submit(tx);
    if (reason != AbortReason::none)
        return after_failed_commit(tx, reason);
    end_fixed(tx);
    give_tokens_back(tx);
    end_attempt(tx, AbortReason::none);
    tx.known_count = 1;
    return 0;
}

// Of several parts, without tokens. Those that have done nothing are left out.
[[gnu::noinline]] int commit_parts(stm_tx& tx) {
    if (tx.is_serial || tx.error != 0 || !tx.engine.can_commit()) [[unlikely]]
        return commit_slowly(tx);
    struct stm_commit_sets request;
    struct stm_sets others[stm_tx::kMost - 1];
    struct stm_sets* sets = &request.sets;
    stm_region* first = nullptr;
    std::size_t written = 0;
    for (u32 i = 0; i < tx.engine.parts(); ++i) {
        const Part& part = tx.engine.prepare_part(i);
        if (part.reads().is_empty() && part.writes().size() == 0)
            continue;
        written += part.writes().size();
        const bool in_order = tx.known[i]->place.region == part.region();
        stm_region& region = *tx.known[in_order ? i : find_known(tx, part.region())];
        fill(*sets, region.handle.get(), part);
        sets = first == nullptr ? others : sets + 1;
        first = first == nullptr ? &region : first;
    }
    if (written == 0)
        return commit_slowly(tx);
    request.sets.handle = -1;
    request.others = address_of(others);
    request.other_count = static_cast<u32>(sets - others);
    const AbortReason reason = submit(*first, request);
    if (reason != AbortReason::none) [[unlikely]]
        return after_failed_commit(tx, reason);
    tx.engine.end_all_parts();
    tx.part = &tx.engine.part(0);
    tx.known_count = 1;
    return 0;
}

} // namespace

[[gnu::noinline]] int commit_by_request(stm_tx& tx) {
    Part* const part = tx.engine.only_part();
    if (part == nullptr || tx.is_serial) [[unlikely]]
        return commit_parts(tx);
    tx.engine.prepare_only_part();
    const AbortReason reason = submit_one(*tx.known[0], *part);
    if (reason != AbortReason::none) [[unlikely]]
        return after_failed_commit(tx, reason);
    tx.engine.end_only_part();
    tx.known_count = 1;
    return 0;
}

namespace {

// Sleeps. 0 or an error number. The thread can be cancelled meanwhile, as in the waits of libc.
int sleep_on(const Sets& sets, std::int64_t timeout_ns) {
    struct stm_wait_sets request;
    sets.give_to(request);
    request.flags = 0;
    request.reserved = 0;
    request.timeout_ns = STM_WAIT_FOREVER;
    if (timeout_ns >= 0) {
        struct timespec now {};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        request.flags = STM_WAIT_UNTIL;
        // Both are below 2^63.
        request.timeout_ns = static_cast<u64>(now.tv_sec) * 1'000'000'000 +
                             static_cast<u64>(now.tv_nsec) + static_cast<u64>(timeout_ns);
    }
    int type = 0;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    const int error = ::ioctl(sets.handle(), STM_IOC_WAIT_SETS, &request) == 0 ? 0 : errno;
    pthread_setcanceltype(type, nullptr);
    return error;
}

[[gnu::noinline]] stm_tx* begin_slowly(stm_region* region, int flags) {
    stm_tx* tx = this_thread;
    int error = 0;
    if ((flags & ~(STM_TX_READ_ONLY | STM_TX_SERIAL)) != 0) {
        error = EINVAL;
    } else if (tx == nullptr) {
        tx = make_current();
        if (tx == nullptr)
            error = ENOMEM;
    } else if (tx->engine.active()) {
        error = EBUSY;
    }
    if (error == 0) {
        tx->flags = flags;
        tx->known[0] = region;
        if ((flags & STM_TX_SERIAL) != 0)
            error = take_tokens(*tx);
    }
    if (error != 0) {
        errno = error;
        return nullptr;
    }
    begin_attempt(*tx, *region, mode_of(*tx));
    if (tx->is_serial)
        tx->engine.make_complex();
    return tx;
}

void at_thread_exit(void* object) {
    auto* const tx = static_cast<stm_tx*>(object);
    this_thread = nullptr;
    forget_conflicts();
    give_tokens_back(*tx);
    tx->~stm_tx();
    std::free(tx);
}

} // namespace
int load_slowly(stm_tx& tx, stm_region& region, u64 offset, void* to, u64 bytes) {
    if (tx.error != 0) {
        errno = tx.error;
        return -1;
    }
    AbortReason reason = AbortReason::none;
    if (tx.region != &region && turn_back_to(tx, region) == nullptr)
        reason = turn_to(tx, region);
    if (reason == AbortReason::none) {
        if (bytes == 8 && offset % 8 == 0 &&
            tx.engine.load_word_beside_writes(*tx.part, offset, to)) [[likely]]
            return 0;
        reason = tx.engine.load_slowly(*tx.part, offset, to, bytes);
        if (reason == AbortReason::snapshot_too_old && tx.engine.doom() == AbortReason::none)
            [[unlikely]]
            return load_old(tx, offset, to, bytes);
    }
    return result_of(tx, reason);
}

int load_word_slowly(stm_tx& tx, stm_region& region, u64 offset, void* to) {
    if (tx.engine.load_word_beside_writes(*tx.part, offset, to)) [[likely]]
        return 0;
    return load_slowly(tx, region, offset, to, sizeof(u64));
}

namespace {

[[gnu::noinline]] int store_slowly(stm_tx& tx, stm_region& region, u64 offset, const void* from,
                                   u64 bytes) {
    if (tx.error != 0) {
        errno = tx.error;
        return -1;
    }
    if ((tx.flags & STM_TX_READ_ONLY) != 0 || !region.may_write)
        return fail(tx, tx.engine.active() ? EROFS : EINVAL);
    AbortReason reason = AbortReason::none;
    if (tx.region != &region && turn_back_to(tx, region) == nullptr)
        reason = turn_to(tx, region);
    if (reason == AbortReason::none && &region != tx.known[0])
        reason = know_as_writable(tx, region);
    if (reason == AbortReason::none)
        reason = tx.engine.store(*tx.part, offset, from, bytes);
    return result_of(tx, reason);
}

// A word in a region that the attempt has used, or whatever else.
[[gnu::noinline]] int store_elsewhere(stm_tx& tx, stm_region& region, u64 offset, const void* from,
                                      u64 bytes) {
    if (bytes == 8 && offset % 8 == 0 && tx.flags == 0 && region.may_write) [[likely]] {
        Part* const part = turn_back_to(tx, region);
        if (part != nullptr && tx.engine.store_word(*part, offset, from)) [[likely]]
            return 0;
    }
    return store_slowly(tx, region, offset, from, bytes);
}

} // namespace
} // namespace stm::library::typed

using namespace stm::library::typed;

stm_tx* stm_tx_begin(stm_region* region, int flags) {
    stm_tx* const tx = this_thread;
    if (tx == nullptr || tx->engine.active()) [[unlikely]]
        return begin_slowly(region, flags);
    tx->flags = flags;
    tx->known[0] = region;
    if (flags == STM_TX_READ_ONLY)
        begin_attempt(*tx, *region, Mode::read_only);
    else if (flags == 0)
        begin_attempt(*tx, *region, Mode::update);
    else
        return begin_slowly(region, flags);
    return tx;
}

int stm_tx_store(stm_tx* tx, stm_region* region, uint64_t offset, const void* from, size_t bytes) {
    if (bytes == 8 && offset % 8 == 0 && tx->known[0] == region &&
        tx->engine.store_first_word(offset, from)) [[likely]]
        return 0;
    return store_elsewhere(*tx, *region, offset, from, bytes);
}

int stm_tx_commit(stm_tx* tx) {
    if (tx->engine.end_simply())
        return 0;
    return tx->known[0]->is_direct ? stm_library_direct_enter(*tx) : commit_by_request(*tx);
}

void stm_tx_restart(stm_tx* tx) {
    if (!tx->engine.active())
        return;
    if (begin_again(*tx, AbortReason::explicit_retry) < 0) {
        // The caller learns of it from the next call.
        const int error = errno;
        tx->known_count = 1;
        begin_attempt(*tx, *tx->known[0], mode_of(*tx));
        static_cast<void>(fail(*tx, error));
    }
}

void stm_tx_cancel(stm_tx* tx) {
    // None runs between two attempts of stm_tx_commit(), which a signal handler may have left.
    if (!tx->engine.active() && !tx->is_serial && !tx->is_fixed)
        return;
    const int error = errno;
    static_cast<void>(fail_for_good(*tx, 0));
    errno = error;
}

int stm_tx_wait(stm_tx* tx, int64_t timeout_ns) {
    Engine& engine = tx->engine;
    if (!engine.active()) {
        errno = EINVAL;
        return -1;
    }
    pthread_testcancel();
    if (tx->error != 0)
        return fail_for_good(*tx, tx->error);
    if (engine.doom() != AbortReason::none)
        return begin_again(*tx, engine.doom());
    if (!engine.has_log()) {
        engine.want_logs();
        return begin_again(*tx, AbortReason::explicit_retry);
    }
    if (!engine.has_read())
        return fail_for_good(*tx, EDEADLK);
    // Nothing would change while it holds them.
    give_tokens_back(*tx);
    engine.prepare_commit();
    const Sets sets(*tx, Sets::What::reads);
    const int error = sleep_on(sets, timeout_ns);
    if (error != 0)
        return fail_for_good(*tx, public_error(error));
    // A row of conflicts has ended if others were waited for.
    return begin_again(*tx, AbortReason::explicit_cancel);
}

int stm_tx_valid(stm_tx* tx) {
    return tx->engine.validate() == AbortReason::none ? 1 : 0;
}

int stm_tx_nest(stm_tx* tx) {
    if (tx->error != 0) {
        errno = tx->error;
        return -1;
    }
    return result_of(*tx, tx->engine.nest());
}

void stm_tx_merge(stm_tx* tx) {
    tx->engine.merge();
}

void stm_tx_undo(stm_tx* tx) {
    tx->engine.undo();
}

stm_tx* stm_tx_current(void) {
    stm_tx* const tx = this_thread;
    return tx != nullptr && tx->engine.active() ? tx : nullptr;
}

unsigned stm_tx_conflicts(const stm_tx* tx) {
    return tx->engine.conflicts_in_row();
}
