// SPDX-License-Identifier: LGPL-2.1-or-later
// The transaction: what is read belongs to one snapshot, what is written appears at once.
//
// The algorithm is TL2 (Dice, Shalev, Shavit, "Transactional Locking II", DISC 2006) with the
// extensible snapshots of LSA (Riegel, Felber, Fetzer, "A Lazy Snapshot Algorithm with Eager
// Validation", DISC 2006; Felber, Fetzer, Riegel, "Dynamic Performance Tuning of Word-Based STM",
// PPoPP 2008): invisible readers, a redo log, locks at commit time only. Opacity is that of
// Guerraoui and Kapalka, "On the Correctness of Transactional Memory", PPoPP 2008.
//
// Why it is right
// ---------------
// Notation: a commit with version w does, in this order: L, lock the orecs of everything it writes
// (read-modify-write, acquire); C, advance the clock to w (acquire-release); V, validate; F, a
// release fence; A, the data (relaxed atomic stores); R, store version w into the orecs (release).
// A reader does: S, load the clock (acquire) as its snapshot; and for each stripe O1, load the orec
// (acquire); D, load the data (relaxed atomic loads); F', an acquire fence; O2, load the orec again
// (relaxed). It accepts if O1 = O2 is unlocked and not newer than S.
//
// 1. Data and version belong together (the reader's half of a seqlock: Boehm, "Can Seqlocks Get
//    Along with Programming Language Memory Models?", MSPC 2012). O1 read version v from some R
//    with release, so D sees at least the data of that commit. If D sees anything of a later
//    commit, then the fences F and F' synchronise: L of that commit happens before O2, hence O2
//    is its lock or something later, and differs from O1: versions do not come back (orec.hpp).
//    Without F' the load O2 could be done before D, without F the stores A before L.
//    A commit that gives up restores the old word and has not touched data: equal is right then.
// 2. A stripe accepted at snapshot S has the value that it has after all commits with version
//    <= S. Each such commit did L before C, and S read C's value or a later one of the same
//    chain of read-modify-writes, so L happens before O1: O1 sees its lock (and waits) or what
//    came after, so nothing of version <= S is missed; and nothing newer was accepted.
//    For a page that does not exist the same argument holds with its publication, which comes
//    before L, in place of O1: no page, no commit with version <= S wrote to it, so it is zero
//    at version 0, and no second sample is needed.
// 3. An extension loads the clock as S', then finds each stripe read so far with its recorded
//    version and unlocked. By 2., with the check in place of O1, each has the same value at S'.
//    A locked stripe is refused: its committer may have a version <= S'. The stripe that caused
//    the extension is sampled afresh, after S'.
// 4. So a transaction, whether it commits or not, sees one snapshot: opacity. A read-only one has
//    nothing to do at commit.
// 5. An update is atomic at w: V comes after C. Take another commit with version u that writes
//    what this one has read. If u < w, then its L happens before its C, which is before this C
//    in the order of the clock, so V sees its lock or its version: this one gives up, unless u
//    is part of the snapshot. If u > w it is later in the serial order, and right not to be seen
//    (if V sees its lock by chance, this one gives up for nothing). V may be left out if w is
//    S + 1: no u lies between. This needs the advance to be one atomic step: to look at the clock,
//    find it unchanged, and advance it afterwards lets two transactions that each write what the
//    other read both pass.
//    What this one both read and writes is compared when it is locked: nobody else changes it
//    from then on. A stripe written without being read may have any version.
// 6. Real time: if a commit ends before a transaction begins, then S >= w, and by 2. is seen.
//
// Nothing here needs sequential consistency. On x86 the loads, stores and fences cost no
// instruction beyond plain moves; a commit costs one locked instruction a stripe and one for the
// clock.
//
// The serial path
// ---------------
// A transaction that holds the region's serial token (gate closed, no commit in progress) cannot
// conflict: no orec is locked, and the clock stands still. The memory may take the token away
// before the commit begins; then the transaction goes on as a concurrent one. The path is for
// transactions that aborted too often (token from the begin on) and for commits that cost more
// than kMaxConcurrentCost (token for the commit). The commit is the same sequence, but preemption
// stays enabled, and after each batch the processor is offered to others. Meanwhile a reader finds
// each stripe in one of two states. It may be locked: the reader reports read_locked after a short
// spin. Or it is released and newer than the reader's snapshot: the reader extends if the same
// commit writes nothing else that it read. 1. to 4. do not depend on how long a commit takes. All
// locks are taken before the clock is advanced, so no snapshot can fall between two batches.
//
// Fixed snapshots
// ---------------
// A transaction that reads for long would meet a newer stripe again and again. It may fix its
// snapshot, and is served with old versions from then on: see old_versions.hpp. As long as it has
// written nothing, and is not about to, it cannot conflict any more, unless what it needs is not
// kept; it finds that out when it needs it. One that writes is a transaction like any other: it may
// move its snapshot, which is not fixed then, and V finds what it has read of old versions.
//
// Death
// -----
// In the module a commit runs to its end: nothing in it can fail, sleep or look at signals. One in
// user space may die at any instruction: see journal.hpp.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/access_table.hpp"
#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/commit_steps.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/old_versions.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/page_reads.hpp"
#include "runtime/protocol/redo_log.hpp"
#include "runtime/protocol/shared_stripe.hpp"
#include "runtime/protocol/snapshot.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/validity.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/span.hpp"

namespace stm::protocol {

// How much one transaction may grow; more is too_big. The defaults limit it to about 128 MiB (a
// write of a little more than 32 MiB). Values above kMostStripes count as kMostStripes.
inline constexpr u32 kMostStripes = 1u << 28;
struct Limits {
    u32 accesses = 1u << 20; // stripes read or written
    u32 writes = 1u << 19;   // stripes written
    u32 pages = 1u << 16;    // read as a whole by read_page()
};

// What a commit needs before its first lock. `none`: it writes nothing, or has the token already.
// `gate`: it must be one of many inside the gate. `token`: it needs the serial token.
enum class Admission : runtime::u8 { none, gate, token };

// One transaction at a time, of one thread, again and again. It has some 16 KiB, so it lives in the
// context of a thread and not on a stack. Signal handlers may call only functions that say so.
// Calls in a wrong order, such as a commit without a begin, do nothing and return `killed`: in the
// kernel a mistake of a caller must not stop the machine.
//
// An operation that returns a conflict (is_conflict) dooms the transaction. Everything that follows
// returns the same reason. The caller must not use what a read has stored, and cancels or calls
// commit(), which returns the reason, too. too_big, no_memory and out_of_range do not doom: the
// operation did nothing (a read may have stored something), and the transaction goes on.
template <Memory M, Mutation kMutation = Mutation::none>
class Transaction : runtime::NonCopyable {
public:
    // The owner is from 1 to 2^62 - 1, and no other transaction of this region has it. The memory
    // must outlive the transaction.
    Transaction(M& memory, u64 owner, Limits limits = {}) noexcept
        : memory_(memory), owner_(owner), snapshot_(memory), limits_(bounded(limits)),
          pages_(memory) {}
    ~Transaction() {
        if (active_)
            cancel(AbortReason::explicit_cancel);
    }

    // Begins. On the serial path it sleeps until it has the token, and holds that until the end.
    // signal, killed or serial_wait: nothing has begun. killed: a transaction runs already.
    AbortReason begin(Path path = Path::concurrent) noexcept {
        if (active_) [[unlikely]]
            return AbortReason::killed;
        if (path == Path::serial) {
            const AbortReason reason = take_token();
            if (reason != AbortReason::none)
                return reason;
        }
        start();
        return AbortReason::none;
    }

    // The same without waiting: on the serial path the caller has the token, by acquire_serial() of
    // the memory. If it fails (killed: a transaction runs already) the caller still has the token.
    AbortReason begin_admitted(Path path) noexcept {
        if (active_) [[unlikely]]
            return AbortReason::killed;
        path_ = path;
        start();
        return AbortReason::none;
    }

    // Takes over a transaction whose reads were done elsewhere (by a program, in its mapping) at
    // the snapshot, to be followed by import_read() for each stripe read, and by write(). Nothing
    // is trusted: a false statement harms only what that transaction itself writes. Path as in
    // begin().
    AbortReason begin_at(u64 snapshot, Path path = Path::concurrent) noexcept {
        const AbortReason reason = begin(path);
        if (reason != AbortReason::none)
            return reason;
        if (snapshot > snapshot_.time()) {
            in_the_way_ = kNoStripe;
            static_cast<void>(doom(AbortReason::read_validation));
        }
        snapshot_.move_to(snapshot);
        return AbortReason::none;
    }

    // Adds a stripe that was read at the version. out_of_range, too_big, no_memory; a second
    // version for the same stripe is read_validation.
    AbortReason import_read(u64 stripe, u64 version) noexcept {
        if (const AbortReason reason = usable(); reason != AbortReason::none)
            return reason;
        if (stripe >= stripes_in(0, memory_.size()) || version > kMaxVersion)
            return AbortReason::out_of_range;
        Access* access = accesses_.find(stripe);
        if (access == nullptr) {
            const AbortReason reason = reserve_accesses(1);
            if (reason != AbortReason::none)
                return reason;
            accesses_.insert(stripe, version);
            count_once(stripe);
            return AbortReason::none;
        }
        if (access->version == kNotRead)
            access->version = version;
        if (access->version == version)
            return AbortReason::none;
        in_the_way_ = stripe;
        return doom(AbortReason::read_validation);
    }

    // Reads `bytes` bytes from offset on: the snapshot, with what this transaction wrote laid over
    // it. Any length and alignment. read_locked, read_validation; too_big, no_memory, out_of_range.
    // `to` is private memory.
    AbortReason read(u64 offset, void* to, u64 bytes) noexcept {
        if (!ready_) [[unlikely]]
            return usable();
        if (!in_region(offset, bytes)) [[unlikely]]
            return AbortReason::out_of_range;
        auto* const target = static_cast<u8*>(to);
        if (is_one_part(offset, bytes)) [[likely]]
            return read_part(first_part(offset, bytes), target);
        return read_parts(offset, target, bytes);
    }

    // Reads an aligned word, if that is simple: of a stripe that it has not touched, for which
    // there is room, and where nothing is in the way. False: nothing was done, and read() does it.
    // Inlined into loops over many words.
    [[nodiscard, gnu::always_inline]] bool read_word_simply(u64 offset, u64& to) noexcept {
        if constexpr (SteppedMemory<M>)
            return false;
        if (!ready_ || offset % sizeof(u64) != 0 || offset >= memory_.size() || !has_access_room())
            [[unlikely]]
            return false;
        const u64 stripe = stripe_of(offset);
        const auto found = accesses_.locate(stripe);
        StripePlace& place = accesses_.next_place();
        step(memory_, Step::sample_orec, stripe);
        if (found.access != nullptr || !find_at(memory_, stripe, place)) [[unlikely]]
            return false;
        const Orec before{place.orec->load(Order::acquire)};
        if (before.is_locked() || before.version() > snapshot_.time()) [[unlikely]]
            return false;
        to = runtime::load_shared_word(place.data + offset % kStripeBytes);
        if (!snapshot_.is_unchanged(*place.orec, before, stripe)) [[unlikely]]
            return false;
        last_ = &accesses_.insert_at(found.slot, stripe, before.version());
        count_once(stripe);
        return true;
    }

    // Reads a whole page at the snapshot, without what this transaction wrote to it. The page
    // enters the read set as one entry. `to` is 4096 bytes of private memory. Errors as for read().
    [[gnu::always_inline]] AbortReason read_page(u64 page, void* to) noexcept {
        if (const AbortReason reason = usable(); reason != AbortReason::none) [[unlikely]]
            return reason;
        if (page >= memory_.size() / kPageBytes) [[unlikely]]
            return AbortReason::out_of_range;
        const AbortReason reason = reason_of_growth(pages_.reserve_one(limits_.pages));
        if (reason != AbortReason::none) [[unlikely]]
            return reason;
        if (snapshot_.copy_page(page, static_cast<u8*>(to))) [[likely]] {
            pages_.append(page, snapshot_.time());
            return AbortReason::none;
        }
        return read_page_slowly(page, static_cast<u8*>(to));
    }

    // -- Pages that the caller keeps, copied for earlier transactions --

    // The pages are in the read set from now on, until the end. The caller has copies of them, all
    // at the snapshot, and does not change the array before the end.
    void rely_on(runtime::Span<const KeptPage> pages) noexcept {
        pages_.rely_on(pages, snapshot_.time());
    }
    // The same, for copies of earlier snapshots. Calls renew(i) for each of which some bytes may
    // not be those of the snapshot; that says whether they are afterwards. False: they are not, and
    // it may be tried again with another snapshot.
    template <typename Renew>
    [[nodiscard, gnu::always_inline]] bool renew_and_rely_on(runtime::Span<KeptPage> pages,
                                                             Renew renew) noexcept {
        return pages_.renew_and_rely_on(pages, snapshot_.time(), renew);
    }
    // After this transaction has committed something in the page, of which the caller has what was
    // committed: what belongs to that.
    [[nodiscard]] u64 changes_after_commit(const KeptPage& kept) const noexcept {
        return pages_.changes_after_commit(kept);
    }
    // What the region had at the snapshot. What is copied from there does not enter the read set.
    [[nodiscard]] const Snapshot<M, kMutation>& at_snapshot() const noexcept { return snapshot_; }
    // While nothing was read yet: a snapshot of now.
    void take_snapshot_again() noexcept {
        release_snapshot();
        snapshot_.move_to_now();
    }
    // The transaction began when the clock stood at `snapshot`, before the caller learned of it.
    // Nothing was read yet, except kept pages: rely_on() follows.
    void take_earlier_snapshot(u64 snapshot) noexcept {
        release_snapshot();
        snapshot_.move_to(snapshot);
    }

    // Fixes the snapshot, to now, so that nothing is in the way of what it reads from here on, as
    // long as it writes nothing. `none`: also if that is not possible at the moment, or at all, and
    // it goes on as before; is_fixed() tells. read_validation, read_locked: it is doomed. No commit
    // begins or ends for a moment; what was read before is checked behind that.
    AbortReason fix_snapshot() noexcept {
        if (const AbortReason reason = usable(); reason != AbortReason::none)
            return reason;
        if constexpr (FixesSnapshots<M>) {
            if (!may_be_fixed() || !memory_.stop_commits())
                return AbortReason::none;
            const u64 now = snapshot_.now();
            memory_.old_versions().admit(fixed_, now);
            memory_.resume_commits();
            is_fixed_ = true;
            const AbortReason reason =
                kMutation == Mutation::fixes_without_check ? AbortReason::none : check_now();
            if (reason != AbortReason::none)
                return doom(reason);
            adopt(now);
        }
        return AbortReason::none;
    }
    // It is about to write something that no call tells of before the commit.
    void expect_writes() noexcept { expects_writes_ = true; }
    [[nodiscard]] bool is_fixed() const noexcept { return is_fixed_; }
    // Whether that is possible, perhaps not at the moment.
    [[nodiscard]] bool may_be_fixed() const noexcept {
        return FixesSnapshots<M> && ready_ && !is_fixed_ && path_ != Path::serial &&
               log_.size() == 0 && !expects_writes_;
    }

    // Whether this transaction wrote anything.
    [[nodiscard]] bool has_written() const noexcept { return log_.size() != 0; }

    // Whether this transaction wrote to the page.
    [[nodiscard]] bool writes_page(u64 page) const noexcept {
        for (u32 i = 0; i < kStripesPerPage && log_.size() != 0; ++i) {
            const Access* access = accesses_.find(page * kStripesPerPage + i);
            if (access != nullptr && access->write != kNoWrite)
                return true;
        }
        return false;
    }

    // The 4096 bytes of the page in the region, or nullptr while it counts as zeros. Others may be
    // changing them. So a result found there is valid only if, after an acquire fence,
    // validate_page() or commit() finds that the page is still the same. This transaction must have
    // read the page as a whole.
    [[nodiscard]] const u8* page_now(u64 page) const noexcept { return place_now(page).data; }
    // The same, with the records of its stripes.
    [[nodiscard]] StripePlace place_now(u64 page) const noexcept {
        StripePlace place{};
        return find_at(memory_, page * kStripesPerPage, place) ? place : StripePlace{};
    }

    // The bytes of the stripe that this transaction wrote.
    [[nodiscard]] ByteMask written_bytes(u64 stripe) const noexcept {
        const Access* access = accesses_.find(stripe);
        return access == nullptr || access->write == kNoWrite ? 0 : log_[access->write].mask;
    }

    // Lays this transaction's writes to a page over a copy of its 4096 bytes.
    void overlay_page(u64 page, void* to) const noexcept {
        for (u32 i = 0; i < kStripesPerPage && log_.size() != 0; ++i)
            overlay(accesses_.find(page * kStripesPerPage + i),
                    static_cast<u8*>(to) + i * kStripeBytes);
    }

    // Notes bytes to be written at the commit. Any length and alignment; all of it or nothing.
    // too_big, no_memory, out_of_range. `from` is private memory.
    AbortReason write(u64 offset, const void* from, u64 bytes) noexcept {
        if (!ready_) [[unlikely]]
            return usable();
        if (!in_region(offset, bytes)) [[unlikely]]
            return AbortReason::out_of_range;
        if (const AbortReason reason = reserve_writes(offset, bytes); reason != AbortReason::none)
            [[unlikely]]
            return reason;
        const auto* const source = static_cast<const u8*>(from);
        if (is_one_part(offset, bytes)) [[likely]]
            write_part(first_part(offset, bytes), source);
        else
            write_parts(offset, source, bytes);
        return AbortReason::none;
    }

    // Notes an aligned word to be written, if there is room for it. False: nothing was done, and
    // write() does it. Inlined into loops over many words.
    [[nodiscard, gnu::always_inline]] bool write_word_simply(u64 offset, u64 value) noexcept {
        if (!ready_ || offset % sizeof(u64) != 0 || offset >= memory_.size() || !has_write_room(1))
            [[unlikely]]
            return false;
        Write& write = write_to(stripe_of(offset));
        const u64 first = offset % kStripeBytes;
        __builtin_memcpy(write.bytes + first, &value, sizeof(value));
        write.mask |= ByteMask{0xff} << first;
        return true;
    }

    // The same for those bytes of one stripe that the mask has, at least one; `from` is all 64 of
    // them. `page`: place_now() of its page.
    [[gnu::always_inline]] AbortReason write_stripe(u64 stripe, const u8* from, ByteMask mask,
                                                    const StripePlace& page) noexcept {
        if (!ready_) [[unlikely]]
            return usable();
        if (stripe >= (memory_.size() + kStripeBytes - 1) >> kStripeShift) [[unlikely]]
            return AbortReason::out_of_range;
        if (!has_write_room(1)) [[unlikely]] {
            const AbortReason reason = reserve_writes_slowly(stripe << kStripeShift, 1);
            if (reason != AbortReason::none)
                return reason;
        }
        StripePlace place{};
        if (const u64 number = stripe % kStripesPerPage; page.orec != nullptr)
            place = {page.orec + number, page.data + number * kStripeBytes};
        Write& write = write_to(stripe, place);
        const u32 lowest = static_cast<u32>(__builtin_ctzll(mask));
        if (mask >> lowest == 0xff && lowest % 8 == 0) [[likely]] // most are of one word
            __builtin_memcpy(write.bytes + lowest, from + lowest, 8);
        else if (write.mask == 0)
            __builtin_memcpy(write.bytes, from, kStripeBytes);
        else
            for_each_run(mask, [&](u32 first, u32 count) {
                __builtin_memcpy(write.bytes + first, from + first, count);
            });
        write.mask |= mask;
        return AbortReason::none;
    }

    // Ends the transaction: it is committed, or rolled back for the reason returned. While a serial
    // transaction is in progress it sleeps before the commit proper (signal, killed, serial_wait).
    // It must not be called in a nested part, unless the transaction is doomed. killed: none runs.
    // explicit_retry: it has waited for a change.
    AbortReason commit() noexcept {
        auto needed = Admission::none;
        AbortReason reason = prepare_commit(needed);
        if (reason != AbortReason::none)
            return reason;
        reason = wait_for(needed);
        return reason == AbortReason::none ? commit_admitted(needed) : finish(reason);
    }

    // The first half of commit(): everything that allocates and can fail. Tells what the second
    // half needs. Does not wait. If it fails the transaction is over.
    AbortReason prepare_commit(Admission& needed) noexcept {
        needed = Admission::none;
        if (!active_) [[unlikely]]
            return AbortReason::killed;
        if (doom_ != AbortReason::none)
            return finish(doom_);
        if (log_.levels() != 0) [[unlikely]]
            return finish(AbortReason::killed);
        if (waiting_) [[unlikely]]
            return finish(AbortReason::explicit_retry);
        committed_version_ = 0;
        if (log_.size() == 0)
            return AbortReason::none;
        log_.sort();
        const AbortReason reason = materialise_all();
        if (reason != AbortReason::none)
            return finish(reason);
        if (!keeps_token())
            needed = is_large() ? Admission::token : Admission::gate;
        return AbortReason::none;
    }

    // The second half, with what prepare_commit() asked for: the caller has called enter_commit(),
    // or acquire_serial() and keep_serial(), of the memory with success. This function gives back
    // what they gave. Does not wait. Nothing was read or written in between, but the transaction
    // may have been doomed.
    AbortReason commit_admitted(Admission admission) noexcept {
        if (!active_) [[unlikely]] {
            give_back(admission);
            return AbortReason::killed;
        }
        if (admission == Admission::token)
            path_ = Path::serial; // finish() gives it back
        AbortReason reason = doom_;
        WaitMask wake = 0;
        if (reason == AbortReason::none && log_.size() != 0) {
            reason = commit_alone_or_not(path_);
            if (reason == AbortReason::none)
                wake = waiters();
        }
        if (admission == Admission::gate)
            memory_.leave_commit();
        if (wake != 0)
            memory_.wake(wake);
        return finish(reason);
    }

    // Ends the transaction, which has written nothing, as a part of another commit with that
    // version.
    void end_committed(u64 version) noexcept {
        if (!active_) [[unlikely]]
            return;
        committed_version_ = version;
        static_cast<void>(finish(AbortReason::none));
    }

    // Ends the transaction without an effect. The reason is only counted.
    void cancel(AbortReason reason) noexcept {
        if (!active_) [[unlikely]]
            return;
        static_cast<void>(
            finish(doom_ != AbortReason::none && is_conflict(doom_) ? doom_ : reason));
    }

    // Dooms the transaction, for that reason if it was not doomed before, and gives back what
    // others may wait for. Any thread may call it that holds the lock which protects the
    // transaction.
    void forsake(AbortReason reason) noexcept {
        if (active_ && doom_ == AbortReason::none)
            static_cast<void>(doom(reason));
    }

    // Begins a nested part (closed nesting). It is then committed into the part around it, or
    // cancelled alone. too_big: nested too deeply. no_memory.
    AbortReason begin_nested() noexcept {
        if (const AbortReason reason = usable(); reason != AbortReason::none)
            return reason;
        return reason_of_growth(log_.begin_level());
    }

    // It cannot fail, because nothing becomes visible to others before the outermost commit.
    void commit_nested() noexcept {
        if (active_ && log_.levels() != 0)
            log_.commit_level();
    }

    // Undoes what the nested part wrote. What it read stays in the read set: the decision to
    // cancel, and so everything that the outer part does from here on, may depend on it.
    void cancel_nested() noexcept {
        if (!active_ || log_.levels() == 0)
            return;
        const auto forget = [this](u32 access) { accesses_[access].write = kNoWrite; };
        if constexpr (kMutation == Mutation::keep_cancelled_writes)
            log_.drop_level(forget);
        else
            log_.cancel_level(forget);
    }

    // While no transaction runs: the next ones belong to another thread, and begin without
    // conflicts.
    void forget_history() noexcept {
        conflicts_ = 0;
        longest_streak_ = 0;
    }

    [[nodiscard]] u32 nesting() const noexcept { return log_.levels(); }

    // Takes the serial token in the middle: from here on the transaction cannot conflict. One that
    // has read old versions cannot go on. Waits, asleep. signal, killed, serial_wait: it goes on as
    // before; read_validation, read_locked: it is doomed.
    AbortReason become_serial() noexcept {
        if (const AbortReason reason = usable(); reason != AbortReason::none)
            return reason;
        if (path_ == Path::serial)
            return AbortReason::none;
        if (const AbortReason reason = take_token(); reason != AbortReason::none)
            return reason;
        const AbortReason reason = extend();
        return reason == AbortReason::none ? reason : doom(reason);
    }

    // Gives back the serial token, if it has it, and goes on as a concurrent transaction. For a
    // transaction that will not commit, so others need not wait for it.
    void become_concurrent() noexcept {
        if (path_ == Path::serial)
            return_token();
    }

    // The same after the token has been taken away: there is nothing to be given back.
    void forget_token() noexcept { path_ = Path::concurrent; }

    // Whether it has the token, and keeps it for the whole commit that follows. A transaction that
    // lost the token commits like any other.
    bool keeps_token() noexcept {
        if (path_ != Path::serial)
            return false;
        if constexpr (kMutation != Mutation::no_gate) {
            if (!memory_.keep_serial())
                path_ = Path::concurrent;
        }
        return path_ == Path::serial;
    }

    // Whether everything read so far is still valid. A signal handler may call it that interrupted
    // any function of this transaction: it writes nothing, allocates nothing, and its spins are
    // bounded. It does not cover what a read in progress has not noted yet.
    //
    // Each stripe has the version under which it was read before the call, and versions do not come
    // back. So all of them were valid together when the call began.
    //
    // A handler that finds `changed` or `busy` may restart the program only if it did not interrupt
    // a function of this class. That function has to return first, and returns a conflict by itself
    // if there is one. (In the middle of a commit that succeeds, the answer may be `changed`, too.)
    Validity validate() const noexcept {
        if (!active_)
            return Validity::valid;
        if (doom_ != AbortReason::none)
            return Validity::changed;
        return reads_old_versions() ? Validity::valid : check_all_patiently();
    }

    // The same for one page that this transaction has read as a whole: whether it is as it was at
    // the snapshot.
    Validity validate_page(u64 page) const noexcept {
        return doom_ != AbortReason::none ? Validity::changed
                                          : check_patiently(typename Pages::Read{
                                                page, snapshot_.time(), kStripesPerPage, 0});
    }

    // After a conflict, also when the transaction is over: the stripe that was in the way, or
    // kNoStripe.
    [[nodiscard]] u64 in_the_way() const noexcept { return in_the_way_; }
    // The first stripe read that has changed or is locked now, or kNoStripe, also if that is in
    // nobody's way. One by one, without patience.
    [[nodiscard]] u64 first_changed() const noexcept {
        return reads_old_versions() ? kNoStripe : find_changed();
    }

    // Calls function(stripe, version) for each stripe of the read set. For stripes that were read
    // together, and of a page that was read as a whole, the version is an upper bound. A signal
    // handler may call it.
    template <typename Function>
    void for_each_read(Function function) const noexcept {
        const u32 count = accesses_.size();
        signal_fence();
        for (u32 i = 0; i < count; ++i) {
            const Access& access = accesses_[i];
            if (access.more == 0) {
                if (access.version != kNotRead)
                    function(access.stripe, access.version);
                continue;
            }
            for (u64 mask = access.version; mask != 0; mask &= mask - 1) {
                const u64 stripe = first_of_run(access) + u64(__builtin_ctzll(mask));
                const Access* const own = accesses_.find(stripe);
                if (own == nullptr || own->version == kNotRead)
                    function(stripe, snapshot_.time());
            }
        }
        pages_.for_each([&](const auto& page) noexcept {
            const auto read = pages_.read_of(page);
            for (u32 stripe = 0; stripe < read.stripes; ++stripe)
                function(read.page * kStripesPerPage + stripe, read.version);
            return true;
        });
    }

    // Calls function(stripe, mask, bytes) for each stripe of the write set; bytes points to 64.
    template <typename Function>
    void for_each_write(Function function) const noexcept {
        for (u32 i = 0; i < log_.size(); ++i)
            function(log_[i].stripe, log_[i].mask, static_cast<const u8*>(log_[i].bytes));
    }

    // To wait until something read changes: call announce_wait(). As long as validate() says valid
    // (busy: ask again after a moment), sleep until a wake() with one of these bits comes. Then
    // call withdraw_wait() with the mask, and cancel(explicit_retry). See wait_filter.hpp. The
    // transaction cannot go on afterwards. If it holds the serial token it gives it back, because
    // nothing would change while it waits. The result 0 means that nothing was read and nothing is
    // announced: nothing would ever wake it.
    [[nodiscard]] WaitMask announce_wait() noexcept {
        if (!active_)
            return 0;
        WaitMask mask = 0;
        for_each_read([&mask](u64 stripe, u64) { mask |= wait_bit(stripe); });
        if (path_ == Path::serial)
            return_token();
        release_snapshot(); // what it waits for is a change since then
        waiting_ = true;
        ready_ = false;
        if (mask != 0) {
            memory_.wait_filter().announce(mask);
            clock_meet(memory_.clock());
        }
        return mask;
    }
    void withdraw_wait(WaitMask mask) noexcept {
        if (mask != 0)
            memory_.wait_filter().withdraw(mask);
    }

    [[nodiscard]] bool active() const noexcept { return active_; }
    // none unless doomed.
    [[nodiscard]] AbortReason doom() const noexcept { return doom_; }
    [[nodiscard]] Path path() const noexcept { return path_; }
    [[nodiscard]] u64 owner() const noexcept { return owner_; }
    [[nodiscard]] u64 snapshot() const noexcept { return snapshot_.time(); }
    // The version of the last successful commit(); 0 if that wrote nothing.
    [[nodiscard]] u64 committed_version() const noexcept { return committed_version_; }
    // The number of attempts since the last success that ended by a conflict; an argument of
    // advise().
    [[nodiscard]] u32 conflicts_in_row() const noexcept { return conflicts_; }
    [[nodiscard]] u32 longest_streak() const noexcept { return longest_streak_; }
    [[nodiscard]] u64 extensions() const noexcept { return extensions_; }
    [[nodiscard]] u32 stripes_touched() const noexcept {
        return static_cast<u32>(accesses_.size() + more_);
    }
    [[nodiscard]] u32 stripes_written() const noexcept { return log_.size(); }
    // The same for what it has read itself, also of pages; what it writes counts as well.
    [[nodiscard]] u64 stripes_read() const noexcept {
        return stripes_touched() + u64{pages_.size_of_read()} * kStripesPerPage;
    }

private:
    using Pages = PageReads<M, kMutation>;

    // ---- begin and end -------------------------------------------------------------------------

    void start() noexcept {
        snapshot_.move_to_now();
        doom_ = AbortReason::none;
        waiting_ = false;
        expects_writes_ = false;
        last_ = nullptr;
        active_ = true;
        ready_ = true;
    }

    AbortReason finish(AbortReason reason) noexcept {
        if (is_conflict(reason)) {
            ++conflicts_;
            longest_streak_ = runtime::max(longest_streak_, conflicts_);
        } else if (reason == AbortReason::none || reason == AbortReason::explicit_cancel ||
                   reason == AbortReason::explicit_retry) {
            conflicts_ = 0;
        }
        active_ = false;
        ready_ = false;
        signal_fence();
        doom_ = AbortReason::none;
        last_ = nullptr;
        // First, because others wait for it and emptying large sets takes a while.
        if (path_ == Path::serial)
            return_token();
        release_snapshot();
        accesses_.clear();
        more_ = 0;
        runs_ = 0;
        pages_.clear();
        log_.clear();
        return reason;
    }

    AbortReason usable() const noexcept {
        if (!active_) [[unlikely]]
            return AbortReason::killed;
        if (waiting_ && doom_ == AbortReason::none) [[unlikely]]
            return AbortReason::explicit_retry;
        return doom_;
    }

    // The transaction can only be cancelled now, which may happen much later. Others need not wait
    // for that.
    AbortReason doom(AbortReason reason) noexcept {
        doom_ = reason;
        ready_ = false;
        if (path_ == Path::serial) [[unlikely]]
            return_token();
        release_snapshot();
        return reason;
    }

    // Whether nothing that is committed concerns it.
    [[nodiscard, gnu::always_inline]] bool reads_old_versions() const noexcept {
        return is_fixed_ && log_.size() == 0 && !expects_writes_ && !waiting_;
    }
    // It is not fixed any more. What was read of old versions stays in the read set, and is not
    // valid now.
    [[gnu::always_inline]] void release_snapshot() noexcept {
        if constexpr (FixesSnapshots<M>) {
            if (!is_fixed_) [[likely]]
                return;
            is_fixed_ = false;
            memory_.dismiss(fixed_);
        }
    }

    AbortReason take_token() noexcept {
        if constexpr (kMutation != Mutation::no_gate) {
            const runtime::Status status = memory_.acquire_serial();
            if (!status.ok())
                return reason_of(status.error());
        }
        path_ = Path::serial;
        return AbortReason::none;
    }

    void return_token() noexcept {
        path_ = Path::concurrent;
        if constexpr (kMutation != Mutation::no_gate)
            memory_.release_serial();
    }

    // ---- room ----------------------------------------------------------------------------------

    static constexpr Limits bounded(Limits limits) noexcept {
        return {runtime::min(limits.accesses, kMostStripes),
                runtime::min(limits.writes, kMostStripes),
                runtime::min(limits.pages, kMostStripes)};
    }

    [[nodiscard]] bool in_region(u64 offset, u64 bytes) const noexcept {
        const u64 size = memory_.size();
        return offset <= size && bytes <= size - offset;
    }

    static AbortReason reason_of_growth(runtime::Status status) noexcept {
        if (status.ok()) [[likely]]
            return AbortReason::none;
        return status.error() == runtime::Error::too_big ? AbortReason::too_big
                                                         : AbortReason::no_memory;
    }

    [[nodiscard]] bool has_access_room() const noexcept {
        const u64 more = u64{accesses_.size()} + 1;
        return more + more_ <= limits_.accesses && accesses_.has_room(more);
    }

    // Of these `counted` are for stripes that count already: count_once() follows.
    [[gnu::noinline]] AbortReason reserve_accesses(u64 more, u64 counted = 0) noexcept {
        const AbortReason reason = reason_of_growth(accesses_.reserve(
            accesses_.size() + more, static_cast<u32>(limits_.accesses - more_ + counted)));
        last_ = nullptr;
        return reason;
    }

    // Whether a write that touches so many stripes needs nothing more.
    [[nodiscard, gnu::always_inline]] bool has_write_room(u64 stripes) const noexcept {
        const u64 accesses = accesses_.size() + stripes;
        const u64 writes = log_.size() + stripes;
        return accesses + more_ <= limits_.accesses && writes <= limits_.writes &&
               accesses_.has_room(accesses) && log_.has_room(writes, stripes);
    }

    // Room for a write that touches the stripes of [offset, offset + bytes).
    AbortReason reserve_writes(u64 offset, u64 bytes) noexcept {
        const u64 stripes = stripes_in(offset, bytes);
        return has_write_room(stripes) ? AbortReason::none : reserve_writes_slowly(offset, stripes);
    }

    // Counts only stripes that are really new, so a transaction right below its limits may write
    // the same bytes again and again.
    [[gnu::noinline]] AbortReason reserve_writes_slowly(u64 offset, u64 stripes) noexcept {
        u64 new_accesses = 0;
        u64 in_runs = 0;
        u64 new_writes = 0;
        u64 overwritten = 0;
        // No need to count what cannot fit. At worst all stripes are new.
        if (stripes > limits_.writes)
            return AbortReason::too_big;
        const u64 first = stripe_of(offset);
        for (u64 stripe = first; stripe < first + stripes; ++stripe) {
            const Access* access = accesses_.find(stripe);
            if (access == nullptr) {
                ++new_accesses;
                in_runs += is_in_run(stripe) ? 1 : 0;
            }
            if (access == nullptr || access->write == kNoWrite)
                ++new_writes;
            else
                ++overwritten;
        }
        const AbortReason reason = reserve_accesses(new_accesses, in_runs);
        if (reason != AbortReason::none)
            return reason;
        return reason_of_growth(
            log_.reserve(log_.size() + new_writes, overwritten, limits_.writes));
    }

    // ---- read and write ------------------------------------------------------------------------

    // last_: programs go through a stripe word by word, so the last stripe is remembered.

    // Whether it is at least one byte, all in one stripe.
    [[nodiscard]] static bool is_one_part(u64 offset, u64 bytes) noexcept {
        return bytes - 1 < kStripeBytes - (offset & (kStripeBytes - 1));
    }

    [[gnu::noinline]] AbortReason read_parts(u64 offset, u8* target, u64 bytes) noexcept {
        while (bytes != 0) {
            const StripePart part = first_part(offset, bytes);
            AbortReason reason = AbortReason::none;
            u64 done = read_stripes(part, target, bytes, reason);
            if (done == 0) {
                if (reason == AbortReason::none)
                    reason = read_part(part, target);
                if (reason != AbortReason::none) [[unlikely]]
                    return reason;
                done = part.bytes;
            }
            offset += done;
            target += done;
            bytes -= done;
        }
        return AbortReason::none;
    }

    // Reads whole stripes of one page together, the first of which is `part`, if nothing is in the
    // way. Returns how many bytes; 0: those of `part` have to be read by themselves, or the reason
    // is no_memory.
    //
    // One entry of the read set stands for all that were read of a page in this way. By 2. at the
    // top, a commit that changes one of them has a version above the snapshot. So does one that
    // changes it after the snapshot was moved, because then all of them were found unchanged.
    u64 read_stripes(StripePart part, u8* to, u64 bytes, AbortReason& reason) noexcept {
        const u32 first = static_cast<u32>(part.stripe % kStripesPerPage);
        const u32 count = stripes_to_read(
            part.stripe,
            static_cast<u32>(runtime::min(bytes >> kStripeShift, u64{kStripesPerPage - first})));
        if (part.bytes != kStripeBytes || count < 2)
            return 0;
        const u64 wanted = mask_of(first, count); // a bit for each stripe of the page
        const u64 page = page_of_stripe(part.stripe);
        auto found = accesses_.locate(run_of_page(page));
        const u64 fresh = found.access == nullptr ? wanted : wanted & ~found.access->version;
        if (stripes_touched() + count_ones(fresh) > limits_.accesses)
            return 0;
        if (found.access == nullptr && !accesses_.has_room(accesses_.size() + u64{1})) {
            reason = reserve_accesses(1);
            if (reason != AbortReason::none)
                return 0;
            found = accesses_.locate(run_of_page(page));
        }
        step(memory_, Step::sample_orec, part.stripe);
        StripePlace place;
        if (!find_at(memory_, part.stripe, place) || !snapshot_.copy(part.stripe, count, place, to))
            return 0;
        if (found.access == nullptr) {
            accesses_.next_place() = {place.orec - first, place.data - first * kStripeBytes};
            accesses_.insert_at(found.slot, run_of_page(page), wanted, count);
            more_ += count - 1;
            ++runs_;
        } else if (fresh != 0) {
            const u32 more = count_ones(fresh);
            found.access->version |= fresh;
            found.access->more += more;
            more_ += more;
        }
        for (u32 i = 0; i < count && accesses_.size() != runs_; ++i) {
            const Access* const own = accesses_.find(part.stripe + i);
            if (own != nullptr)
                more_ -= fresh >> (first + i) & 1;
            overlay(own, to + (u64{i} << kStripeShift));
        }
        return u64{count} << kStripeShift;
    }

    // How many of the stripes come before the first one that this transaction has written as a
    // whole. That one need not be read.
    [[nodiscard]] u32 stripes_to_read(u64 first, u32 count) const noexcept {
        if (log_.size() == 0) [[likely]]
            return count;
        u32 read = 0;
        while (read < count && written_bytes(first + read) != kWholeStripe)
            ++read;
        return read;
    }

    // A part of a stripe that was read together with others, so the read set has it.
    [[gnu::noinline]] AbortReason read_in_run(StripePart part, u8* to) noexcept {
        StripePlace place{};
        const AbortReason reason = read_shared(part, to, kNotRead, place).reason;
        return reason == AbortReason::none ? reason : doom(reason);
    }

    // Whether the stripe was read together with others.
    [[nodiscard, gnu::noinline]] bool is_in_run(u64 stripe) const noexcept {
        const Access* const run = accesses_.find(run_of_page(page_of_stripe(stripe)));
        return run != nullptr && (run->version >> stripe % kStripesPerPage & 1) != 0;
    }

    // An access of its own was added for the stripe.
    [[gnu::always_inline]] void count_once(u64 stripe) noexcept {
        if (runs_ != 0 && is_in_run(stripe)) [[unlikely]]
            --more_;
    }

    // Lays what this transaction wrote to the stripe of that access, or nullptr, over its 64 bytes.
    void overlay(const Access* access, u8* to) const noexcept {
        if (access == nullptr || access->write == kNoWrite)
            return;
        const Write& write = log_[access->write];
        for_each_run(write.mask, [&](u32 first, u32 bytes) {
            __builtin_memcpy(to + first, write.bytes + first, bytes);
        });
    }

    [[gnu::noinline]] void write_parts(u64 offset, const u8* source, u64 bytes) noexcept {
        while (bytes != 0) {
            const StripePart part = first_part(offset, bytes);
            write_part(part, source);
            offset += part.bytes;
            source += part.bytes;
            bytes -= part.bytes;
        }
    }

    [[gnu::always_inline]] AbortReason read_part(StripePart part, u8* to) noexcept {
        if (last_ == nullptr || last_->stripe != part.stripe) {
            auto place = accesses_.locate(part.stripe);
            if (place.access == nullptr)
                return read_first(part, to, place.slot);
            last_ = place.access;
        }
        Access& access = *last_;
        if (access.write != kNoWrite)
            return read_own_part(access, part, to);
        const Sample sample = read_shared(part, to, access.version, access.place);
        if (sample.reason != AbortReason::none) [[unlikely]]
            return doom(sample.reason);
        access.version = sample.version;
        return AbortReason::none;
    }

    // Reads from a stripe that was not touched before.
    [[gnu::always_inline]] AbortReason read_first(StripePart part, u8* to, u32 slot) noexcept {
        if (!has_access_room()) [[unlikely]] {
            if (is_in_run(part.stripe))
                return read_in_run(part, to);
            const AbortReason reason = reserve_accesses(1);
            if (reason != AbortReason::none)
                return reason;
            slot = accesses_.locate(part.stripe).slot;
        }
        StripePlace& place = accesses_.next_place();
        place.orec = nullptr;
        const Sample sample = read_shared(part, to, kNotRead, place);
        if (sample.reason != AbortReason::none) [[unlikely]]
            return doom(sample.reason);
        if constexpr (kMutation == Mutation::stale_absent) {
            if (place.orec == nullptr)
                return AbortReason::none;
        }
        last_ = &accesses_.insert_at(slot, part.stripe, sample.version);
        count_once(part.stripe);
        return AbortReason::none;
    }

    // Reads a part of a stripe that this transaction has written to. If it wrote all of the part,
    // no shared memory is read, and nothing enters the read set.
    [[gnu::noinline]] AbortReason read_own_part(Access& access, StripePart part, u8* to) noexcept {
        const Write& write = log_[access.write];
        const ByteMask wanted = mask_of(part.first, part.bytes);
        if ((write.mask & wanted) != wanted) {
            const Sample sample = read_shared(part, to, access.version, access.place);
            if (sample.reason != AbortReason::none)
                return doom(sample.reason);
            access.version = sample.version;
        }
        for_each_run(write.mask & wanted, [&](u32 first, u32 bytes) {
            __builtin_memcpy(to + (first - part.first), write.bytes + first, bytes);
        });
        last_ = &access;
        return AbortReason::none;
    }

    struct Sample {
        u64 version;
        AbortReason reason;
    };

    // Reads a part from shared memory at the snapshot, and extends the snapshot where needed: 1. to
    // 3. at the top. expected: the version at which the stripe was read before, or kNotRead. place:
    // where it is, if that is known; otherwise set.
    [[gnu::always_inline]] Sample read_shared(StripePart part, u8* to, u64 expected,
                                              StripePlace& place) noexcept {
        step(memory_, Step::sample_orec, part.stripe);
        if (place.orec == nullptr && !find_at(memory_, part.stripe, place)) {
            __builtin_memset(to, 0, part.bytes);
            return {0, AbortReason::none};
        }
        const Orec before{place.orec->load(Order::acquire)};
        const bool acceptable = expected == kNotRead ? before.version() <= snapshot_.time()
                                                     : before.version() == expected;
        if (!before.is_locked() && acceptable) [[likely]] {
            load_part(memory_, part, place.data, to);
            if (snapshot_.is_unchanged(*place.orec, before, part.stripe)) [[likely]]
                return {before.version(), AbortReason::none};
        }
        return read_shared_slowly(part, to, expected, place);
    }

    // The stripe is locked, newer than the snapshot, or changed during the read. Tries again, a
    // bounded number of times.
    [[gnu::noinline]] Sample read_shared_slowly(StripePart part, u8* to, u64 expected,
                                                StripePlace& place) noexcept {
        if constexpr (FixesSnapshots<M>) {
            if (reads_old_versions())
                return read_fixed(part, to, place);
        }
        u32 spins = memory_.spin_limit();
        // Each further turn means that another transaction has committed.
        u32 turns = kMaxTurns;
        for (;;) {
            step(memory_, Step::sample_orec, part.stripe);
            if (place.orec == nullptr && !find_at(memory_, part.stripe, place)) {
                __builtin_memset(to, 0, part.bytes);
                return {0, AbortReason::none};
            }
            const Orec before{place.orec->load(Order::acquire)};
            if (before.is_locked()) {
                if (spins == 0)
                    return give_up(part.stripe, AbortReason::read_locked);
                --spins;
                memory_.pause();
                continue;
            }
            if (turns == 0)
                return give_up(part.stripe, AbortReason::read_validation);
            --turns;
            if (expected != kNotRead) {
                if (before.version() != expected)
                    return give_up(part.stripe, AbortReason::read_validation);
            } else if (before.version() > snapshot_.time()) {
                const AbortReason reason = extend();
                if (reason != AbortReason::none)
                    return {0, reason};
                continue;
            }
            load_part(memory_, part, place.data, to);
            if (snapshot_.is_unchanged(*place.orec, before, part.stripe))
                return {before.version(), AbortReason::none};
        }
    }

    // The same at a fixed snapshot: 7. and 8. of old_versions.hpp. A commit that has locked the
    // stripe keeps what is wanted of it before it stores anything; a large one needs a while for
    // its locks.
    [[gnu::noinline]] Sample read_fixed(StripePart part, u8* to,
                                        StripePlace& place) noexcept requires FixesSnapshots<M> {
        const u32 spins = memory_.spin_limit();
        for (u32 turn = 0;; ++turn) {
            step(memory_, Step::sample_orec, part.stripe);
            if (place.orec == nullptr && !find_at(memory_, part.stripe, place)) {
                __builtin_memset(to, 0, part.bytes);
                return {0, AbortReason::none};
            }
            const Orec before{place.orec->load(Order::acquire)};
            const bool newer = !before.is_locked() && before.version() > snapshot_.time();
            if (!before.is_locked() && !newer) {
                load_part(memory_, part, place.data, to);
                if (snapshot_.is_unchanged(*place.orec, before, part.stripe))
                    return {before.version(), AbortReason::none};
            }
            // While it is locked it is worth a look now and then.
            if (newer || turn % kTurnsBetweenLooks == 0) {
                step(memory_, Step::find_old, part.stripe);
                if (OldStripe old; memory_.find_old(part.stripe, snapshot_.time(), old)) {
                    __builtin_memcpy(to, old.bytes + part.first, part.bytes);
                    return {old.from, AbortReason::none};
                }
            }
            if (newer)
                return give_up(part.stripe, AbortReason::snapshot_too_old);
            if (turn == spins * kPatience)
                return give_up(part.stripe, AbortReason::read_locked);
            memory_.pause();
            if (turn % spins == spins - 1)
                memory_.serial_batch();
        }
    }

    Sample give_up(u64 stripe, AbortReason reason) noexcept {
        in_the_way_ = stripe;
        return {0, reason};
    }

    // Moves the snapshot to now, if everything read so far is still valid: 3. at the top.
    [[gnu::noinline]] AbortReason extend() noexcept {
        release_snapshot();
        const u64 now = snapshot_.now();
        if constexpr (kMutation != Mutation::unchecked_extension) {
            if (const AbortReason reason = check_now(); reason != AbortReason::none)
                return reason;
        }
        adopt(now);
        ++extensions_;
        return AbortReason::none;
    }
    // Whether everything read so far is what the region had when the clock was loaded just now.
    AbortReason check_now() noexcept {
        const Validity validity = check_all_patiently();
        if (validity == Validity::valid)
            return AbortReason::none;
        in_the_way_ = find_changed();
        return validity == Validity::busy ? AbortReason::read_locked : AbortReason::read_validation;
    }
    void adopt(u64 now) noexcept {
        pages_.found_valid_at(now);
        snapshot_.move_to(now);
    }

    // Whether the stripe has the version at which it was read. Works also while this transaction
    // holds locks of its own. A signal handler may call it.
    [[gnu::always_inline]] Validity check(const Access& access) const noexcept {
        return access.more == 0 ? check_stripe(access) : check_mask(access);
    }

    [[gnu::always_inline]] Validity check_stripe(const Access& access) const noexcept {
        if (access.version == kNotRead)
            return Validity::valid;
        step(memory_, Step::validate_orec, access.stripe);
        const Atomic<u64>* const orec =
            access.place.orec != nullptr ? access.place.orec : memory_.orec(access.stripe);
        const Orec now{orec == nullptr ? 0 : orec->load(Order::acquire)};
        const Orec read = Orec::unlocked(access.version);
        if (now == read) [[likely]]
            return Validity::valid;
        if (!now.is_locked())
            return Validity::changed;
        if constexpr (kMutation == Mutation::validation_ignores_locks)
            return Validity::valid;
        if (now == Orec::locked(owner_) && access.write != kNoWrite)
            return Orec{log_[access.write].replaced} == read ? Validity::valid : Validity::changed;
        return Validity::busy;
    }

    // The entry of stripes of a page that were read together: its mask is in the place of the
    // version.
    static constexpr u64 run_of_page(u64 page) noexcept { return page | u64{1} << 63; }
    static constexpr u64 first_of_run(const Access& access) noexcept {
        return (access.stripe & ~(u64{1} << 63)) * kStripesPerPage;
    }
    // Calls function(first stripe, records, count) for each stretch of it, until that returns
    // false.
    template <typename Function>
    static void for_each_stretch(const Access& access, Function function) noexcept {
        u64 mask = access.version;
        bool more = true;
        for_each_run(mask, [&](u32 first, u32 count) {
            more = more && function(first_of_run(access) + first, access.place.orec + first, count);
        });
    }

    [[gnu::noinline]] Validity check_mask(const Access& access) const noexcept {
        Validity result = Validity::valid;
        for_each_stretch(access, [&](u64 first, const Atomic<u64>* orecs, u32 count) {
            step(memory_, Step::validate_orec, first);
            const Validity validity =
                validity_of<kMutation>(first, orecs, count, snapshot_.time(), Mine{*this});
            if (validity != Validity::valid)
                result = validity;
            return validity != Validity::changed;
        });
        return result;
    }

    u64 first_changed(const Access& access) const noexcept {
        if (access.more == 0)
            return check_stripe(access) == Validity::valid ? kNoStripe : access.stripe;
        u64 changed = kNoStripe;
        for_each_stretch(access, [&](u64 first, const Atomic<u64>* orecs, u32 count) {
            changed = first_invalid(first, orecs, count, snapshot_.time(), Mine{*this});
            return changed == kNoStripe;
        });
        return changed;
    }

    // ---- whole pages ---------------------------------------------------------------------------

    // Reads stripe by stripe, and moves the snapshot where needed. The part that was read already
    // is checked with the rest.
    [[gnu::noinline]] AbortReason read_page_slowly(u64 page, u8* to) noexcept {
        pages_.begin_page(page, snapshot_.time());
        for (u32 i = 0; i < kStripesPerPage; ++i) {
            const StripePart part{page * kStripesPerPage + i, 0, kStripeBytes};
            StripePlace place{};
            const Sample sample = read_shared(part, to + i * kStripeBytes, kNotRead, place);
            if (sample.reason != AbortReason::none)
                return doom(sample.reason);
            pages_.add_stripe();
        }
        return AbortReason::none;
    }

    [[gnu::always_inline]] Validity check(const KeptPage& page) const noexcept {
        return pages_.check(page, Mine{*this});
    }
    [[gnu::always_inline]] Validity check(const typename Pages::Read& page) const noexcept {
        return pages_.check(page, Mine{*this});
    }
    [[gnu::noinline]] u64 first_changed(const typename Pages::Read& page) const noexcept {
        return pages_.first_changed(page, Mine{*this});
    }

    // Whether this commit has locked the stripe, and the replaced version is not above that one.
    bool is_mine_over(Orec now, u64 stripe, u64 version) const noexcept {
        if (now != Orec::locked(owner_))
            return false;
        const Access* const access = accesses_.find(stripe);
        if (access == nullptr || access->write == kNoWrite)
            return false;
        return Orec{log_[access->write].replaced}.version() <= version;
    }
    // The same, to be asked by others.
    struct Mine {
        const Transaction& transaction;
        bool operator()(Orec now, u64 stripe, u64 version) const noexcept {
            return transaction.is_mine_over(now, stripe, version);
        }
    };

    // Gives a commit that has locked it the time that a short one needs. An Access, or a page.
    template <typename Read>
    [[gnu::always_inline]] Validity check_patiently(const Read& read) const noexcept {
        Validity validity = check(read);
        for (u32 spins = memory_.spin_limit(); validity == Validity::busy && spins != 0; --spins) {
            memory_.pause();
            validity = check(read);
        }
        return validity;
    }

    [[nodiscard, gnu::noinline]] u64 find_changed() const noexcept {
        for (u32 i = 0; i < accesses_.size(); ++i) {
            const u64 changed = first_changed(accesses_[i]);
            if (changed != kNoStripe)
                return changed;
        }
        u64 changed = kNoStripe;
        pages_.for_each([&](const auto& page) noexcept {
            if (check(page) != Validity::valid)
                changed = first_changed(pages_.read_of(page));
            return changed == kNoStripe;
        });
        return changed;
    }

    // Everything that was read; the first answer that is not `valid`. A signal handler may, in the
    // middle of a read too: what is not counted yet is not looked at.
    Validity check_all_patiently() const noexcept {
        const u32 accesses = accesses_.size();
        signal_fence();
        for (u32 i = 0; i < accesses; ++i) {
            const Validity validity = check_patiently(accesses_[i]);
            if (validity != Validity::valid)
                return validity;
        }
        Validity validity = Validity::valid;
        pages_.for_each([&](const auto& page) noexcept {
            validity = check_patiently(page);
            return validity == Validity::valid;
        });
        return validity;
    }

    // What is to be written to the stripe, before its bytes change. There is room for it. `known`:
    // its place, if that is known.
    [[gnu::always_inline]] Write& write_to(u64 stripe, const StripePlace& known = {}) noexcept {
        Access* access = last_;
        if (access == nullptr || access->stripe != stripe) {
            const auto place = accesses_.locate(stripe);
            access = place.access;
            if (access == nullptr) {
                accesses_.next_place() = known;
                access = &accesses_.insert_at(place.slot, stripe, kNotRead);
                count_once(stripe);
                access->write = log_.append(stripe, accesses_.size() - 1);
                last_ = access;
                return log_[access->write];
            }
        }
        if (access->write == kNoWrite)
            access->write = log_.append(stripe, accesses_.index_of(*access));
        else
            log_.prepare(access->write);
        last_ = access;
        return log_[access->write];
    }

    [[gnu::always_inline]] void write_part(StripePart part, const u8* from) noexcept {
        Write& write = write_to(part.stripe);
        if (part.bytes == 8)
            __builtin_memcpy(write.bytes + part.first, from, 8);
        else
            __builtin_memcpy(write.bytes + part.first, from, part.bytes);
        write.mask |= mask_of(part.first, part.bytes);
    }

    // ---- commit --------------------------------------------------------------------------------

    AbortReason materialise_all() noexcept {
        for (u32 i = 0; i < log_.size(); ++i) {
            Write& write = log_.in_order(i);
            write.place = accesses_[write.access].place;
            if (write.place.orec != nullptr)
                continue;
            const runtime::Status status = materialise_at(memory_, write.stripe, write.place);
            if (!status.ok())
                return reason_of(status.error());
        }
        return AbortReason::none;
    }

    // Whether it is too large for a commit that keeps its processor.
    [[nodiscard]] bool is_large() const noexcept {
        // Each stripe written is one of the accesses.
        const u64 records = accesses_.size() - log_.size() + more_;
        const u64 of_stripe = kCostOfStripe + (wants_old_versions(memory_) ? kCostOfOldStripe : 0);
        return log_.size() * of_stripe + records * kCostOfRecord + pages_.size() * kCostOfPage >
               kMaxConcurrentCost;
    }

    AbortReason wait_for(Admission admission) noexcept {
        switch (admission) {
        case Admission::gate: {
            const runtime::Status status = memory_.enter_commit();
            return status.ok() ? AbortReason::none : reason_of(status.error());
        }
        case Admission::token: {
            AbortReason reason = take_token();
            while (reason == AbortReason::none && !keeps_token())
                reason = take_token();
            return reason;
        }
        case Admission::none:
            break;
        }
        return AbortReason::none;
    }

    void give_back(Admission admission) noexcept {
        if (admission == Admission::gate)
            memory_.leave_commit();
        else if (admission == Admission::token)
            memory_.release_serial();
    }

    AbortReason commit_alone_or_not(Path path) noexcept {
        CommitSteps<M, RedoLog&, kMutation> steps(memory_, owner_, log_, path);
        steps.make_old_stripes();
        if (path == Path::concurrent)
            memory_.begin_critical();
        const AbortReason reason = commit_locked(steps);
        if (path == Path::concurrent)
            memory_.end_critical();
        free_spare_old_stripes(memory_);
        return reason;
    }

    // From the first lock to the last release.
    AbortReason commit_locked(CommitSteps<M, RedoLog&, kMutation>& steps) noexcept {
        u32 spins = runtime::min(memory_.spin_limit(), kMaxConcurrentSpins);
        // What was also read is compared here: nobody else changes it from then on.
        AbortReason reason = steps.lock_all(spins, [this](const Write& write, Orec now) noexcept {
            const u64 read_version = accesses_[write.access].version;
            return kMutation == Mutation::no_commit_validation || read_version == kNotRead ||
                   now == Orec::unlocked(read_version);
        });
        if (reason != AbortReason::none) {
            in_the_way_ = steps.in_the_way();
            return reason;
        }
        if constexpr (kMutation == Mutation::late_clock) {
            step(memory_, Step::read_clock, 0);
            const bool alone = clock_now(memory_.clock()) == snapshot_.time();
            if (!alone)
                reason = validate_all(steps);
            if (reason != AbortReason::none) {
                steps.restore_all();
                return reason;
            }
        }
        step(memory_, Step::advance_clock, 0);
        const u64 version = clock_advance(memory_.clock());
        if constexpr (kMutation != Mutation::late_clock) {
            if (version != snapshot_.time() + 1)
                reason = validate_all(steps);
            if (reason != AbortReason::none) {
                steps.restore_all();
                return reason;
            }
        }
        step(memory_, Step::publish, 0);
        if constexpr (kMutation != Mutation::keeps_too_late)
            steps.keep_all(version);
        if constexpr (kMutation == Mutation::early_release)
            steps.release_all(version);
        steps.apply_all();
        if constexpr (kMutation == Mutation::keeps_too_late)
            steps.keep_all(version);
        if constexpr (kMutation != Mutation::early_release)
            steps.release_all(version);
        committed_version_ = version;
        return AbortReason::none;
    }

    // What the records of a page count as in a batch, since they are looked at together: four
    // stripes.
    static constexpr u32 index_of_page(u32 page) noexcept { return page * 4 + 3; }

    // 5. at the top. Stripes that this commit has locked were compared when they were locked. It
    // does not spin, because two commits could wait for each other.
    template <typename Steps>
    AbortReason validate_all(const Steps& steps) noexcept {
        if constexpr (kMutation == Mutation::no_commit_validation)
            return AbortReason::none;
        for (u32 i = 0; i < accesses_.size(); ++i) {
            const Access& access = accesses_[i];
            const Validity validity = access.write == kNoWrite ? check(access) : Validity::valid;
            if (validity != Validity::valid) {
                const u64 changed = first_changed(access);
                in_the_way_ = changed != kNoStripe || access.more != 0 ? changed : access.stripe;
                return AbortReason::commit_validation;
            }
            steps.batch_done(access.more == 0 ? i : index_of_page(i));
        }
        u32 index = 0;
        AbortReason reason = AbortReason::none;
        pages_.for_each([&](const auto& page) noexcept {
            if (check(page) != Validity::valid) {
                in_the_way_ = first_changed(pages_.read_of(page));
                reason = AbortReason::commit_validation;
                return false;
            }
            steps.batch_done(index_of_page(index++));
            return true;
        });
        return reason;
    }

    // The waiters to wake, after the clock was advanced.
    WaitMask waiters() noexcept {
        WaitFilter& filter = memory_.wait_filter();
        if (filter.idle()) [[likely]]
            return 0;
        WaitMask mask = 0;
        for (u32 i = 0; i < log_.size(); ++i)
            mask |= wait_bit(log_[i].stripe);
        return filter.awaited(mask);
    }

    static constexpr u32 kMaxTurns = 8;
    // So many times as long as others a reader at a fixed snapshot waits for a lock: some
    // milliseconds, in which a large commit takes its locks.
    static constexpr u32 kPatience = 32;
    static constexpr u32 kTurnsBetweenLooks = 64;

    struct Nothing {};
    template <typename T>
    struct FixedOf {
        using Type = Nothing;
    };
    template <FixesSnapshots T>
    struct FixedOf<T> {
        using Type = FixedSnapshot;
    };

    M& memory_;
    const u64 owner_;
    Snapshot<M, kMutation> snapshot_;
    [[no_unique_address]] typename FixedOf<M>::Type fixed_;
    Access* last_ = nullptr; // into accesses_; the stripe touched last, or nullptr
    bool ready_ = false;     // active, not doomed, not waiting
    bool active_ = false;
    bool waiting_ = false;
    bool is_fixed_ = false;       // fixed_ is that of the snapshot
    bool expects_writes_ = false; // beside those in the log
    AbortReason doom_ = AbortReason::none;
    Path path_ = Path::concurrent;
    u32 conflicts_ = 0;
    u32 longest_streak_ = 0;
    u64 extensions_ = 0;
    u64 committed_version_ = 0;
    u64 in_the_way_ = kNoStripe;
    // What stripes_touched() adds to the number of accesses, modulo 2^64: stripes that were read
    // together, less the entries that stand for them, and less those that have one of their own.
    u64 more_ = 0;
    u32 runs_ = 0; // such entries
    const Limits limits_;
    AccessTable accesses_;
    Pages pages_;
    RedoLog log_;
};

} // namespace stm::protocol
