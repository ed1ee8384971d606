// SPDX-License-Identifier: LGPL-2.1-or-later
// The typed transaction: a program's own half of a transaction. It reads the committed bytes in its
// own address space and notes what it has read and wants to write. Another one commits that
// (set_commit.hpp): in user space the kernel, by one request.
//
// The algorithm is that of transaction.hpp: TL2 with the extensible snapshots of LSA, whose papers
// are named there. This half writes nothing that is shared. It may use several regions.
//
// Why it is right
// ---------------
// Notation as in transaction.hpp: a commit does L (locks), C (clock), V, F, A, R, each for all of
// its regions before the next one; a reader does S (clock), O1 (record), D (data), F' (fence), O2
// (record), and accepts if O1 = O2 is unlocked and not newer than S. 1. and 2. there hold for one
// region as they are.
//
// 1. The read log has no versions. A stripe that was accepted at snapshot S had a version <= S. All
//    that is committed to it later has one above S, by 2. there: a commit with a version <= S did L
//    before S was loaded, so the reader saw its lock or what came after. So "unlocked and not newer
//    than S" says that the stripe is the one that was read.
// 2. Several regions have clocks of their own. Rule: whenever a snapshot is taken or extended, in
//    whichever region, the clocks of all regions are loaded first. Then all that was read in all
//    regions is validated against the old snapshots. Only then do the new snapshots count.
//
//    Let T be the moment after the last of these loads. Every stripe of the read set was sampled or
//    validated after T. Take a commit W, in any number of regions, and call it seen if its version
//    in one of the transaction's regions is <= the snapshot there. Then its L, which comes before
//    its first C, lies before T, for all of its regions. So the sample or the validation after T
//    found each of its stripes locked (refused), or with W's bytes or later ones. If W is not seen,
//    its version is above the snapshot in every region, and no stripe with its bytes was accepted.
//    So the read set shows all of each seen commit and nothing of any other one.
//
//    The transaction takes effect at T, in the one serial order of "Several clocks" in
//    set_commit.hpp. If W is seen, a clock with its version was loaded before T, so W took effect
//    before T. If the read set has what W overwrites, that was found unlocked after T and before L
//    of W, so W takes effect after T.
//
//    The rule is needed. Say W writes a in one region and b in another. The reader reads the old a,
//    W commits, the reader takes its first snapshot of the second region and reads the new b: each
//    of the two is valid in its region. To compare the first clock with the first snapshot instead
//    of the validation is not enough: W may have advanced the second clock and not yet the first.
// 3. A transaction that does not write commits by ending: by 2. it has read what was there at T. T
//    lies between its begin and its end.
// 4. The commit validates the read set once more, while it has locked what it writes.
//
// At a fixed snapshot
// -------------------
// A transaction that is known not to write, in one region, may be given a snapshot for which the
// region's commits keep old versions (old_versions.hpp). It is not extended, so no log is needed:
// what is accepted at it is right by 1. A load that meets something newer or locked fails without
// dooming the transaction, and the caller gets the bytes from who has the old versions.
//
// Without a log
// -------------
// A transaction that is known not to write, in one region, needs its read set for an extension
// only. Its first attempts go without. One that meets something newer than its snapshot begins
// again; after two such conflicts in a row the next attempt keeps a log.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/read_log.hpp"
#include "runtime/protocol/records.hpp"
#include "runtime/protocol/shared_stripe.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/protocol/write_set.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

// What the engine needs of a region. A View is a few pointers, and is copied.
//
// clock()       The region's version clock.
// orec(stripe)  The stripe's ownership record. Those of the region are adjacent.
// at(offset)    The committed byte at the offset. All bytes of the region are adjacent.
// size()        Bytes in the region, a multiple of 8.
// pause(), spin_limit()  As in memory.hpp.
//
// If it has a function step(Step, u64), that is called as in memory.hpp.
template <typename V>
concept View = runtime::trivially_copyable<V> && requires(const V& view, u64 number) {
    { view.clock() } -> runtime::same_as<const Atomic<u64>&>;
    { view.orec(number) } -> runtime::same_as<const Atomic<u64>*>;
    { view.at(number) } -> runtime::same_as<const u8*>;
    { view.size() } -> runtime::same_as<u64>;
    { view.pause() } -> runtime::same_as<void>;
    { view.spin_limit() } -> runtime::same_as<u32>;
};

// Defects that tests plant, one at a time, to show that tests find them.
enum class TypedMutation : runtime::u8 {
    none,
    no_second_sample,    // accept data without looking at the record again
    unchecked_extension, // newer snapshots are adopted without validation
    unchecked_region,    // a further region's snapshot is taken, the others are not validated
    own_write_ignored,   // a read does not look for what the transaction has written
    mask_ignored,        // a stripe that it wrote to counts as written as a whole
    undo_forgotten,      // an undo does not restore what was overwritten
    locks_ignored,       // a locked stripe counts as valid
};

// How much one transaction may grow in each region; more is too_big.
struct TypedLimits {
    u32 runs = 1u << 20;   // of stripes read; at most twice as many are refused for sure
    u32 writes = 1u << 19; // stripes written
};

// One transaction at a time, of one thread, again and again. No signal handler may use it.
//
// An operation that returns a conflict (is_conflict) dooms the transaction: everything that follows
// returns the same reason. The caller must not use what a load has stored then, and calls end().
// too_big, no_memory and out_of_range do not doom: the operation did nothing (a load may have
// stored something).
template <View V, TypedMutation kMutation = TypedMutation::none>
class TypedTransaction : runtime::NonCopyable {
public:
    static constexpr u32 kMaxParts = 16;
    enum class Mode : runtime::u8 { update, read_only };

    // A region as the caller knows it. Two places with the same region are one part of a
    // transaction. A place is one view for ever.
    struct Place {
        V view;
        u64 region;   // not 0
        u64 place;    // not 0
        u64 writable; // bytes that may be stored to: those of the view, or 0
    };

    // One region's part of the transaction. The first line is all that most loads need.
    class Part {
    public:
        Part() noexcept = default;
        Part(const Part&) = delete;
        Part& operator=(const Part&) = delete;

        [[nodiscard]] u64 region() const noexcept { return region_; }
        [[nodiscard]] u64 place() const noexcept { return place_; }
        [[nodiscard]] u64 snapshot() const noexcept { return limit_ >> 1; }
        [[nodiscard]] const ReadLog& reads() const noexcept { return reads_; }
        [[nodiscard]] const WriteSet& writes() const noexcept { return writes_; }
        [[nodiscard]] runtime::Span<const u64> stripes_read() const noexcept {
            return reads_.runs();
        }
        [[nodiscard]] runtime::Span<const StripeWrite> stripes_written() const noexcept {
            return writes_.writes();
        }

    private:
        friend class TypedTransaction;

        void attach(const Place& place) noexcept {
            view_ = place.view;
            region_ = place.region;
            place_ = place.place;
        }
        [[gnu::always_inline]] void prepare_commit() noexcept {
            reads_.join_neighbours();
            writes_.sort();
        }
        [[gnu::always_inline]] void end() noexcept {
            bound_ = 0;
            store_bound_ = 0;
            filter_ = 0;
            reads_.clear();
            writes_.clear();
        }
        [[nodiscard]] bool may_have_written(u64 stripe) const noexcept {
            return (filter_ >> (stripe & 63) & 1) != 0;
        }
        // Unlocked and not newer than the snapshot. A locked record is above any limit.
        [[nodiscard]] bool accepts(Orec orec) const noexcept { return orec.word() <= limit_; }

        // The first line: 64 bytes with a view of four pointers. Programs load and store by what
        // stands here themselves: see is_line_of_programs().
        V view_{};
        // Loads of a word below it need no look at the writes: 0 once the transaction has written
        // here, or cannot go on.
        u64 bound_ = 0;
        u64 limit_ = 0; // the record of a stripe at the snapshot's version
        ReadLog reads_;

        u64 filter_ = 0; // a bit for each stripe written, by its number modulo 64
        // Stores of a word below it need no look at the state. 0: in a part that joined later, once
        // a nested part has begun, and when the transaction cannot go on or may not write.
        u64 store_bound_ = 0;
        WriteSet writes_;
        u64 region_ = 0;
        u64 place_ = 0;
    };

    explicit TypedTransaction(TypedLimits limits = {}) noexcept : limits_(limits) {
        parts_[0] = &first_;
    }
    ~TypedTransaction() {
        for (u32 i = 1; i < kMaxParts; ++i) {
            if (parts_[i] != nullptr) {
                parts_[i]->~Part();
                stm_free(parts_[i]);
            }
        }
    }

    // Begins, with the region as its first part. None runs.
    [[gnu::always_inline]] Part& begin(Mode mode, const Place& place) noexcept {
        Part& part = first_;
        if (part.place_ != place.place) [[unlikely]]
            part.attach(place);
        step(part.view_, Step::read_clock, 0);
        part.limit_ = Orec::unlocked(clock_now(part.view_.clock())).word();
        part.bound_ = part.view_.size();
        mode_ = mode;
        state_ = State::simple;
        if (mode != Mode::read_only) {
            part.store_bound_ = place.writable;
            part.reads_.start();
        } else if (!keeps_log_) [[likely]] {
            part.reads_.switch_off();
        } else {
            part.reads_.start();
            state_ = State::complex; // end() tells how long logs are kept
        }
        return part;
    }

    // The same at a fixed snapshot, read-only. snapshot_too_old does not doom then: the caller
    // loads the bytes elsewhere, or dooms it.
    Part& begin_fixed(const Place& place, u64 snapshot) noexcept {
        Part& part = begin(Mode::read_only, place);
        part.reads_.switch_off();
        part.limit_ = Orec::unlocked(snapshot).word();
        is_fixed_ = true;
        state_ = State::complex;
        return part;
    }

    // The part of a region, which joins the transaction if it does not belong to it yet. Sets
    // `result`, also to nullptr. too_big: too many regions; no_memory; a conflict.
    AbortReason join(const Place& place, Part*& result) noexcept {
        result = nullptr;
        if (!is_ready())
            return usable();
        for (u32 i = 0; i < count_; ++i) {
            if (parts_[i]->region_ == place.region) {
                result = parts_[i];
                return AbortReason::none;
            }
        }
        if (count_ == kMaxParts)
            return AbortReason::too_big;
        if (!first_.reads_.is_on()) {
            // Nothing tells whether what was read is valid still.
            want_logs();
            return doom(AbortReason::read_validation);
        }
        if (parts_[count_] == nullptr) {
            void* const memory = stm_allocate(sizeof(Part));
            if (memory == nullptr)
                return AbortReason::no_memory;
            parts_[count_] = runtime::construct_at<Part>(memory);
        }
        Part& part = *parts_[count_];
        part.attach(place);
        for (u32 level = 0; level < depth_; ++level) {
            const runtime::Status status = part.writes_.begin_level();
            if (!status.ok()) {
                part.writes_.clear();
                return reason_of_growth(status);
            }
        }
        part.limit_ = 0;
        part.reads_.start();
        ++count_;
        state_ = State::complex;
        if (is_read_only())
            want_logs();
        if constexpr (kMutation == TypedMutation::unchecked_region) {
            step(part.view_, Step::read_clock, 0);
            part.limit_ = Orec::unlocked(clock_now(part.view_.clock())).word();
        } else {
            const AbortReason reason = extend_now();
            if (reason != AbortReason::none)
                return doom(reason);
        }
        part.bound_ = part.view_.size();
        result = &part;
        return AbortReason::none;
    }

    // Loads bytes: what the transaction has stored, or else the snapshot. Any length and alignment.
    // read_locked, read_validation; too_big, no_memory, out_of_range. `to` is private memory.
    [[gnu::always_inline]] AbortReason load(Part& part, u64 offset, void* to, u64 bytes) noexcept {
        if (bytes == 8 && offset % 8 == 0 && load_word(part, offset, to)) [[likely]]
            return AbortReason::none;
        return load_slowly(part, offset, to, bytes);
    }

    // Loads an aligned word, if that is simple: nothing was written, nothing is in the way, and
    // there is room in the log. False: load_slowly() does it. `to` may be written in any case.
    [[nodiscard, gnu::always_inline]] bool load_word(Part& part, u64 offset, void* to) noexcept {
        return offset < part.bound_ && sample_word(part, offset, to);
    }

    // The same, if the transaction has written in the region, but not to the word's stripe.
    [[nodiscard, gnu::always_inline]] bool load_word_beside_writes(Part& part, u64 offset,
                                                                   void* to) noexcept {
        return is_ready() && offset < part.view_.size() &&
               !part.may_have_written(stripe_of(offset)) && sample_word(part, offset, to);
    }

    [[gnu::noinline]] AbortReason load_slowly(Part& part, u64 offset, void* to,
                                              u64 bytes) noexcept {
        if (!is_ready()) [[unlikely]]
            return usable();
        if (!in_region(part, offset, bytes)) [[unlikely]]
            return AbortReason::out_of_range;
        auto* target = static_cast<u8*>(to);
        while (bytes != 0) {
            const StripePart piece = first_part(offset, bytes);
            u64 loaded = piece.bytes;
            AbortReason reason = AbortReason::none;
            if (piece.bytes == kStripeBytes && bytes >= u64{2} * kStripeBytes)
                reason = load_stripes(part, offset, target, bytes, loaded);
            else
                reason = load_piece(part, piece, target);
            if (reason != AbortReason::none) [[unlikely]]
                return reason;
            offset += loaded;
            target += loaded;
            bytes -= loaded;
        }
        return AbortReason::none;
    }

    // Notes bytes to be written at the commit. Any length and alignment; all of it or nothing.
    // too_big, no_memory, out_of_range.
    AbortReason store(Part& part, u64 offset, const void* from, u64 bytes) noexcept {
        if (!is_ready()) [[unlikely]]
            return usable();
        if (!in_region(part, offset, bytes)) [[unlikely]]
            return AbortReason::out_of_range;
        const u64 stripe = stripe_of(offset);
        if (bytes - 1 < kStripeBytes - offset % kStripeBytes && !part.may_have_written(stripe) &&
            part.writes_.has_simple_room()) [[likely]] {
            state_ = State::complex;
            put(part, part.writes_.append(stripe), first_part(offset, bytes), from);
            return AbortReason::none;
        }
        return store_slowly(part, offset, static_cast<const u8*>(from), bytes);
    }

    // Notes an aligned word, if that is simple: it is one of few stripes, and no nested part runs.
    // False: store() does it.
    [[nodiscard, gnu::always_inline]] bool store_word(Part& part, u64 offset,
                                                      const void* from) noexcept {
        if (!is_ready() || offset >= part.view_.size() || !part.writes_.has_simple_room())
            [[unlikely]]
            return false;
        note_word(part, offset, from);
        return true;
    }
    // The same in the region that the transaction began with, and with less to look at.
    [[nodiscard, gnu::always_inline]] bool store_first_word(u64 offset, const void* from) noexcept {
        if (offset >= first_.store_bound_ || !first_.writes_.has_room_for_few()) [[unlikely]]
            return false;
        note_word(first_, offset, from);
        return true;
    }

    // Begins a nested part (closed nesting). too_big: nested too deeply. no_memory.
    AbortReason nest() noexcept {
        if (!is_ready())
            return usable();
        for (u32 i = 0; i < count_; ++i) {
            const runtime::Status status = parts_[i]->writes_.begin_level();
            if (!status.ok()) {
                while (i-- > 0)
                    parts_[i]->writes_.merge_level();
                return reason_of_growth(status);
            }
        }
        ++depth_;
        state_ = State::complex;
        first_.store_bound_ = 0;
        return AbortReason::none;
    }
    // Makes the innermost part belong to what is around it.
    void merge() noexcept {
        if (depth_ == 0)
            return;
        --depth_;
        for (u32 i = 0; i < count_; ++i)
            parts_[i]->writes_.merge_level();
    }
    // Undoes what the innermost part wrote. What it read stays in the read set: the decision to
    // undo, and so everything that follows, may depend on it.
    void undo() noexcept {
        if (depth_ == 0)
            return;
        --depth_;
        for (u32 i = 0; i < count_; ++i) {
            Part& part = *parts_[i];
            if constexpr (kMutation == TypedMutation::undo_forgotten)
                part.writes_.drop_level();
            else
                part.writes_.undo_level();
            if (part.writes_.size() == 0 && part.filter_ != 0) {
                part.filter_ = 0;
                part.bound_ = is_ready() ? part.view_.size() : 0;
            }
        }
    }
    [[nodiscard]] u32 depth() const noexcept { return depth_; }

    // Whether everything that was read is still valid. If not, or if that cannot be told because
    // there is no log and the clock has moved, the transaction is doomed.
    AbortReason validate() noexcept {
        if (!is_ready() || is_fixed_)
            return usable();
        for (u32 i = 0; i < count_; ++i) {
            Part& part = *parts_[i];
            const AbortReason reason = part.reads_.is_on() ? check_all(part)
                                       : clock_now(part.view_.clock()) == part.snapshot()
                                           ? AbortReason::none
                                           : AbortReason::read_validation;
            if (reason != AbortReason::none)
                return doom(reason);
        }
        return AbortReason::none;
    }

    // Makes the sets such as a commit wants them. Nothing may be loaded or stored afterwards; end()
    // follows.
    void prepare_commit() noexcept {
        for (u32 i = 0; i < count_; ++i)
            prepare_part(i);
    }
    [[gnu::always_inline]] Part& prepare_part(u32 index) noexcept {
        parts_[index]->prepare_commit();
        return *parts_[index];
    }
    [[gnu::always_inline]] void prepare_only_part() noexcept { first_.prepare_commit(); }
    // The same for a direct commit, which puts two writes in order by itself, and looks at what was
    // read only if others have committed.
    [[gnu::always_inline]] void order_only_part() noexcept {
        if (first_.writes_.size() > 2)
            first_.writes_.sort();
    }
    // The part of a transaction that has only one, is not doomed, and has written; otherwise
    // nullptr.
    [[nodiscard, gnu::always_inline]] Part* only_part() noexcept {
        return count_ == 1 && is_ready() && first_.writes_.size() != 0 ? &first_ : nullptr;
    }
    // Whether it is not doomed.
    [[nodiscard]] bool can_commit() const noexcept { return is_ready(); }

    // Dooms the transaction, for that reason if it was not doomed before.
    AbortReason doom(AbortReason reason) noexcept {
        if (doom_ == AbortReason::none)
            doom_ = reason;
        state_ = State::doomed;
        first_.store_bound_ = 0;
        for (u32 i = 0; i < count_; ++i)
            parts_[i]->bound_ = 0;
        return doom_;
    }

    // Ends it, if it has done nothing that needs more than that: it is committed then, because it
    // has written nothing. False: nothing is done.
    [[nodiscard, gnu::always_inline]] bool end_simply() noexcept {
        if (first_.filter_ != 0 || state_ != State::simple) [[unlikely]]
            return false;
        state_ = State::idle;
        first_.bound_ = 0;
        first_.store_bound_ = 0;
        conflicts_ = 0;
        return true;
    }

    // Ends one that was committed and has only one part.
    [[gnu::always_inline]] void end_only_part() noexcept {
        first_.end();
        end_committed(); // count_ is 1
    }
    // The same for any that has written.
    [[gnu::always_inline]] void end_all_parts() noexcept {
        for (u32 i = 0; i < count_; ++i)
            parts_[i]->end();
        count_ = 1;
        end_committed();
    }

    // Ends it. Conflicts in a row are counted. A retry neither is one nor ends the row.
    void end(AbortReason reason) noexcept {
        if (reason == AbortReason::none)
            conflicts_ = 0;
        else if (reason != AbortReason::explicit_retry)
            conflicts_ = is_conflict(reason) ? conflicts_ + 1 : 0;
        for (u32 i = 0; i < count_; ++i)
            parts_[i]->end();
        count_ = 1;
        depth_ = 0;
        is_fixed_ = false;
        doom_ = AbortReason::none;
        state_ = State::idle;
        if (logs_wanted_ != 0 && is_read_only())
            --logs_wanted_;
        keeps_log_ = conflicts_ >= kAttemptsWithoutLog || logs_wanted_ != 0;
    }

    // It must end by end() and not by end_simply(): the caller has more to do then.
    void make_complex() noexcept {
        if (state_ == State::simple)
            state_ = State::complex;
    }

    // The next read-only transactions keep a log from their begin on, so that they can wait.
    void want_logs() noexcept {
        logs_wanted_ = kLogsKept;
        keeps_log_ = true;
    }

    // Whether an engine begins with its first part, and that with what loads and stores of words
    // need: the view, the bound, the limit, the read log's end and its limit, and at `stores` the
    // filter, the bound of stores, and the writes.
    [[nodiscard]] static consteval bool is_line_of_programs(u64 stores) noexcept {
        return __builtin_offsetof(TypedTransaction, first_) == 0 &&
               __builtin_offsetof(Part, view_) == 0 &&
               __builtin_offsetof(Part, bound_) == sizeof(V) &&
               __builtin_offsetof(Part, limit_) == sizeof(V) + 8 &&
               __builtin_offsetof(Part, reads_) == sizeof(V) + 16 &&
               ReadLog::begins_with_its_end() && __builtin_offsetof(Part, filter_) == stores &&
               __builtin_offsetof(Part, store_bound_) == stores + 8 &&
               __builtin_offsetof(Part, writes_) == stores + 16 &&
               WriteSet::begins_with_its_writes();
    }

    [[nodiscard]] bool active() const noexcept { return state_ != State::idle; }
    [[nodiscard]] AbortReason doom() const noexcept { return doom_; }
    [[nodiscard]] bool is_read_only() const noexcept { return mode_ == Mode::read_only; }
    [[nodiscard]] bool has_log() const noexcept { return first_.reads_.is_on(); }
    [[nodiscard]] bool has_written() const noexcept {
        for (u32 i = 0; i < count_; ++i) {
            if (parts_[i]->writes_.size() != 0)
                return true;
        }
        return false;
    }
    // Without a log it is not known, and `true` is the answer.
    [[nodiscard]] bool has_read() const noexcept {
        for (u32 i = 0; i < count_; ++i) {
            if (!parts_[i]->reads_.is_on() || !parts_[i]->reads_.is_empty())
                return true;
        }
        return false;
    }
    [[nodiscard]] u32 parts() const noexcept { return count_; }
    [[nodiscard]] Part& part(u32 index) noexcept { return *parts_[index]; }
    [[nodiscard]] u32 conflicts_in_row() const noexcept { return conflicts_; }
    [[nodiscard]] u64 extensions() const noexcept { return extensions_; }
    // A stripe of a region.
    struct Stripe {
        u64 region;
        u64 number;
    };
    // After read_locked: the stripe that was locked. After read_validation: one that was newer each
    // time, or an older one.
    [[nodiscard]] Stripe in_the_way() const noexcept { return in_the_way_; }

private:
    static constexpr u32 kAttemptsWithoutLog = 2;
    static constexpr u32 kLogsKept = 64; // transactions
    static constexpr u32 kMaxTurns = 8;

    // `simple`: it has loaded in one region, with a log only if it may write, and perhaps stored
    // words there by itself. It has done nothing else.
    enum class State : runtime::u8 { idle, doomed, simple, complex };

    void end_committed() noexcept {
        conflicts_ = 0;
        depth_ = 0;
        state_ = State::idle;
        keeps_log_ = logs_wanted_ != 0;
    }

    [[nodiscard]] bool is_ready() const noexcept { return state_ >= State::simple; }
    AbortReason usable() const noexcept { return active() ? doom_ : AbortReason::killed; }

    [[nodiscard]] static bool in_region(const Part& part, u64 offset, u64 bytes) noexcept {
        const u64 size = part.view_.size();
        return offset <= size && bytes <= size - offset;
    }

    static AbortReason reason_of_growth(runtime::Status status) noexcept {
        return status.error() == runtime::Error::too_big ? AbortReason::too_big
                                                         : AbortReason::no_memory;
    }

    AbortReason reserve_writes(Part& part, u64 offset, u64 bytes) noexcept {
        const u64 stripes = stripes_in(offset, bytes);
        if (stripes > limits_.writes)
            return AbortReason::too_big;
        u64 fresh = 0;
        const u64 first = stripe_of(offset);
        for (u64 stripe = first; stripe < first + stripes; ++stripe) {
            if (!part.may_have_written(stripe) || part.writes_.find(stripe) == nullptr)
                ++fresh;
        }
        const runtime::Status status = part.writes_.reserve(fresh, stripes - fresh, limits_.writes);
        return status.ok() ? AbortReason::none : reason_of_growth(status);
    }

    [[gnu::noinline]] AbortReason store_slowly(Part& part, u64 offset, const u8* from,
                                               u64 bytes) noexcept {
        const AbortReason reason = reserve_writes(part, offset, bytes);
        if (reason != AbortReason::none) [[unlikely]]
            return reason;
        state_ = State::complex;
        while (bytes != 0) {
            const StripePart piece = first_part(offset, bytes);
            StripeWrite* write =
                part.may_have_written(piece.stripe) ? part.writes_.find(piece.stripe) : nullptr;
            if (write == nullptr)
                write = &part.writes_.append(piece.stripe);
            else
                part.writes_.prepare(*write);
            put(part, *write, piece, from);
            offset += piece.bytes;
            from += piece.bytes;
            bytes -= piece.bytes;
        }
        return AbortReason::none;
    }

    // An aligned word in the region, for which there is simple room. A signal handler may leave it
    // by a jump, and the transaction goes on: no write may be there that the state does not tell
    // of.
    [[gnu::always_inline]] void note_word(Part& part, u64 offset, const void* from) noexcept {
        const u64 stripe = stripe_of(offset);
        const u32 first = static_cast<u32>(offset % kStripeBytes);
        StripeWrite* const write =
            part.may_have_written(stripe) ? part.writes_.find(stripe) : nullptr;
        state_ = State::complex;
        if (write != nullptr)
            return put(part, *write, {stripe, first, 8}, from);
        note_stripe(part, stripe);
        part.writes_.append_word(stripe, first, from);
    }

    [[gnu::always_inline]] static void put(Part& part, StripeWrite& write, StripePart piece,
                                           const void* from) noexcept {
        if (piece.bytes == 8)
            __builtin_memcpy(write.bytes + piece.first, from, 8);
        else
            __builtin_memcpy(write.bytes + piece.first, from, piece.bytes);
        write.mask |= mask_of(piece.first, piece.bytes);
        note_stripe(part, piece.stripe);
    }
    [[gnu::always_inline]] static void note_stripe(Part& part, u64 stripe) noexcept {
        part.filter_ |= u64{1} << (stripe & 63);
        part.bound_ = 0;
    }

    // ---- loads ---------------------------------------------------------------------------------

    // An aligned word in the region, to which the transaction has not written.
    [[nodiscard, gnu::always_inline]] bool sample_word(Part& part, u64 offset, void* to) noexcept {
        if constexpr (SteppedMemory<V>)
            return false;
        const u64 stripe = stripe_of(offset);
        const Atomic<u64>* const orec = part.view_.orec(stripe);
        const Orec before{orec->load(Order::acquire)};
        if (!part.accepts(before)) [[unlikely]]
            return false;
        const u64 value = runtime::load_shared_word(part.view_.at(offset));
        __builtin_memcpy(to, &value, sizeof(value));
        if constexpr (kMutation != TypedMutation::no_second_sample) {
            runtime::fence(Order::acquire);
            if (!orec->is(before.word())) [[unlikely]]
                return false;
        }
        return part.reads_.try_note(stripe);
    }

    // Within one stripe.
    AbortReason load_piece(Part& part, StripePart piece, u8* to) noexcept {
        if constexpr (kMutation != TypedMutation::own_write_ignored) {
            if (part.may_have_written(piece.stripe)) [[unlikely]] {
                const StripeWrite* const write = part.writes_.find(piece.stripe);
                if (write != nullptr)
                    return load_own(part, *write, piece, to);
            }
        }
        return load_shared(part, piece, to);
    }

    // If the transaction wrote all of the piece, no shared memory is read, and nothing enters the
    // read set.
    [[gnu::noinline]] AbortReason load_own(Part& part, const StripeWrite& write, StripePart piece,
                                           u8* to) noexcept {
        ByteMask wanted = mask_of(piece.first, piece.bytes);
        if constexpr (kMutation == TypedMutation::mask_ignored) {
            __builtin_memcpy(to, write.bytes + piece.first, piece.bytes);
            return AbortReason::none;
        }
        if ((write.mask & wanted) != wanted) {
            const AbortReason reason = load_shared(part, piece, to);
            if (reason != AbortReason::none)
                return reason;
        }
        for_each_run(write.mask & wanted, [&](u32 first, u32 bytes) {
            __builtin_memcpy(to + (first - piece.first), write.bytes + first, bytes);
        });
        return AbortReason::none;
    }

    // At the snapshot, which is extended where needed.
    AbortReason load_shared(Part& part, StripePart piece, u8* to) noexcept {
        const AbortReason reason = sample(part, piece, to);
        if (reason != AbortReason::none) [[unlikely]]
            return reason == AbortReason::snapshot_too_old ? reason : doom(reason);
        return note(part, piece.stripe, 1);
    }

    AbortReason note(Part& part, u64 first, u64 count) noexcept {
        state_ = State::complex; // the log may grow
        return part.reads_.note(first, count, limits_.runs);
    }

    // Each further turn means that another transaction has committed, or that the stripe is locked.
    AbortReason sample(Part& part, StripePart piece, u8* to) noexcept {
        u32 spins = part.view_.spin_limit();
        u32 turns = kMaxTurns;
        const Atomic<u64>* const orec = part.view_.orec(piece.stripe);
        for (;;) {
            step(part.view_, Step::sample_orec, piece.stripe);
            const Orec before{orec->load(Order::acquire)};
            if (part.accepts(before)) [[likely]] {
                copy(part, piece, to);
                if (is_unchanged(part, *orec, before, piece.stripe)) [[likely]]
                    return AbortReason::none;
            } else if (is_fixed_) {
                return AbortReason::snapshot_too_old;
            } else if (before.is_locked()) {
                if (spins == 0)
                    return locked(part, piece.stripe);
                --spins;
                part.view_.pause();
                continue;
            } else {
                const AbortReason reason = extend();
                if (reason != AbortReason::none)
                    return reason;
            }
            if (turns == 0) {
                in_the_way_ = {part.region_, piece.stripe};
                return AbortReason::read_validation;
            }
            --turns;
        }
    }

    // The second sample, after the data.
    static bool is_unchanged(Part& part, const Atomic<u64>& orec, Orec before,
                             u64 stripe) noexcept {
        if constexpr (kMutation == TypedMutation::no_second_sample)
            return true;
        runtime::fence(Order::acquire);
        step(part.view_, Step::resample_orec, stripe);
        return Orec{orec.load(Order::relaxed)} == before;
    }

    static void copy(Part& part, StripePart piece, u8* to) noexcept {
        const u8* const from = part.view_.at(piece.stripe << kStripeShift);
        if constexpr (SteppedMemory<V>) {
            detail::in_steps(part.view_, Step::read_data, piece.stripe, piece.first, piece.bytes,
                             [&](u32 first, u32 bytes) {
                                 runtime::copy_from_shared(to + (first - piece.first), from + first,
                                                           bytes);
                             });
        } else {
            runtime::copy_from_shared(to, from + piece.first, piece.bytes);
        }
    }

    // Whole stripes, at least two, many at once where nothing is in the way. Sets the number of
    // bytes that it has loaded.
    AbortReason load_stripes(Part& part, u64 offset, u8* to, u64 bytes, u64& loaded) noexcept {
        const u64 first = stripe_of(offset);
        const u32 count =
            static_cast<u32>(runtime::min(bytes >> kStripeShift, u64{kStripesPerPage}));
        loaded = u64{count} << kStripeShift;
        if (load_at_once(part, first, count, to)) [[likely]]
            return note(part, first, count);
        for (u32 i = 0; i < count; ++i) {
            const AbortReason reason =
                load_piece(part, StripePart{first + i, 0, kStripeBytes}, to + i * kStripeBytes);
            if (reason != AbortReason::none)
                return reason;
        }
        return AbortReason::none;
    }

    // As the copy of stripes in snapshot.hpp: all records before and after the bytes. The second
    // look is not needed while the clock stands at the snapshot: a commit whose bytes were seen has
    // advanced it before it stored them.
    static bool load_at_once(Part& part, u64 first, u32 count, u8* to) noexcept {
        if constexpr (SteppedMemory<V>)
            return false;
        const u64 stripes = count == 64 ? ~u64{0} : (u64{1} << count) - 1;
        const u32 turn = first & 63;
        const u64 bits = turn == 0 ? stripes : stripes << turn | stripes >> (64 - turn);
        if ((part.filter_ & bits) != 0)
            return false;
        const Atomic<u64>* const orecs = part.view_.orec(first);
        if (!none_newer(orecs, count, part.snapshot()))
            return false;
        runtime::copy_from_shared(to, part.view_.at(first << kStripeShift),
                                  u64{count} << kStripeShift);
        if constexpr (kMutation == TypedMutation::no_second_sample)
            return true;
        runtime::fence(Order::acquire);
        return clock_now(part.view_.clock()) == part.snapshot() ||
               none_newer(orecs, count, part.snapshot());
    }

    // ---- snapshots -----------------------------------------------------------------------------

    // Moves the snapshots of all parts to now, if everything read so far is still valid: 2. at the
    // top.
    [[gnu::noinline]] AbortReason extend() noexcept { return extend_now(); }
    [[gnu::always_inline]] inline AbortReason extend_now() noexcept {
        if (!first_.reads_.is_on())
            return AbortReason::read_validation;
        u64 limits[kMaxParts];
        for (u32 i = 0; i < count_; ++i) {
            step(parts_[i]->view_, Step::read_clock, 0);
            limits[i] = Orec::unlocked(clock_now(parts_[i]->view_.clock())).word();
        }
        for (u32 i = 0; i < count_ && kMutation != TypedMutation::unchecked_extension; ++i) {
            const AbortReason reason = check_all(*parts_[i]);
            if (reason != AbortReason::none)
                return reason;
        }
        for (u32 i = 0; i < count_; ++i)
            parts_[i]->limit_ = limits[i];
        ++extensions_;
        return AbortReason::none;
    }

    // Whether all that was read in this region is unlocked and not newer than the snapshot.
    [[gnu::always_inline]] inline AbortReason check_all(Part& part) noexcept {
        for (const u64 word : part.reads_.runs()) {
            if (is_valid_stripe(part, word)) [[likely]]
                continue;
            const AbortReason reason = check_run(part, ReadRun::from_word(word));
            if (reason != AbortReason::none)
                return reason;
        }
        return AbortReason::none;
    }

    // Whether the run is of one stripe, which is valid.
    [[gnu::always_inline]] static inline bool is_valid_stripe(Part& part, u64 word) noexcept {
        if constexpr (SteppedMemory<V>)
            return false;
        return word <= ReadRun::kFirstMask &&
               part.accepts(Orec{part.view_.orec(word)->load(Order::acquire)});
    }

    [[gnu::noinline]] AbortReason check_run(Part& part, ReadRun run) noexcept {
        for (u64 i = 0; i < run.count;) {
            const u32 count = static_cast<u32>(runtime::min(run.count - i, u64{kStripesPerPage}));
            const AbortReason reason = check(part, run.first + i, count);
            if (reason != AbortReason::none)
                return reason;
            i += count;
        }
        return AbortReason::none;
    }

    AbortReason check(Part& part, u64 first, u32 count) noexcept {
        if constexpr (!SteppedMemory<V>) {
            if (none_newer(part.view_.orec(first), count, part.snapshot())) [[likely]]
                return AbortReason::none;
        }
        u32 spins = part.view_.spin_limit();
        for (u32 i = 0; i < count;) {
            step(part.view_, Step::validate_orec, first + i);
            const Orec now{part.view_.orec(first + i)->load(Order::acquire)};
            if (part.accepts(now) ||
                (kMutation == TypedMutation::locks_ignored && now.is_locked())) {
                ++i;
                continue;
            }
            if (!now.is_locked())
                return AbortReason::read_validation;
            if (spins == 0)
                return locked(part, first + i);
            --spins;
            part.view_.pause();
        }
        return AbortReason::none;
    }

    [[gnu::cold, gnu::noinline]] AbortReason locked(const Part& part, u64 stripe) noexcept {
        in_the_way_ = {part.region_, stripe};
        return AbortReason::read_locked;
    }

    Part first_;
    State state_ = State::idle;
    Mode mode_ = Mode::update;
    AbortReason doom_ = AbortReason::none;
    bool keeps_log_ = false; // the next read-only transaction does
    bool is_fixed_ = false;  // the snapshot
    u32 count_ = 1;          // of the parts; the first one is always there
    u32 depth_ = 0;
    u32 conflicts_ = 0;
    u32 logs_wanted_ = 0; // so many more read-only transactions keep a log, whatever happens
    u64 extensions_ = 0;
    Stripe in_the_way_{};
    const TypedLimits limits_;
    Part* parts_[kMaxParts] = {};
};

} // namespace stm::protocol
