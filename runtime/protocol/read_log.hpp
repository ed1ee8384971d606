// SPDX-License-Identifier: LGPL-2.1-or-later
// The stripes that a typed transaction has read in one region: runs (stripe_sets.hpp), appended in
// the order of the reads. Versions are not kept: the validation compares with the snapshot.
//
// A stripe that is read again is appended again, unless it is the last one. So that a long
// transaction does not keep what it reads over and over, a large log is sorted and made unique
// before it grows.
//
// A log may be switched off, for transactions that need none. Then it notes nothing.
//
// Invariants: begin_[-1] exists and is no run, so the last entry can be looked at without asking
// whether there is one. There is room for one more run unless end_ == limit_.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/support/host.h"
#include "runtime/support/span.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

class ReadLog : runtime::NonCopyable {
public:
    static constexpr u32 kInlineRuns = 63;
    // From this size on it is made unique before it grows, and its memory is not kept.
    static constexpr u32 kManyRuns = 4096;

    ReadLog() noexcept {
        inline_[0] = kNoRun;
        use_inline();
        end_ = begin_;
    }
    ~ReadLog() {
        if (is_allocated())
            stm_free(begin_ - 1);
    }

    // Notes from now on, or does not.
    [[gnu::always_inline]] void start() noexcept { end_ = begin_; }
    [[gnu::always_inline]] void switch_off() noexcept { end_ = nullptr; }
    [[nodiscard]] bool is_on() const noexcept { return end_ != nullptr; }
    [[nodiscard]] bool is_empty() const noexcept { return end_ == begin_; }

    // Notes one stripe. False: there may be no room; nothing is noted.
    [[nodiscard, gnu::always_inline]] bool try_note(u64 stripe) noexcept {
        u64* const end = end_;
        if (end == nullptr || end[-1] == stripe)
            return true;
        if (end == limit_) [[unlikely]]
            return false;
        *end = stripe;
        end_ = end + 1;
        return true;
    }

    // Notes stripes one behind the other. too_big: more different runs than the limit, which is
    // noticed at twice the limit at the latest; no_memory.
    [[nodiscard]] AbortReason note(u64 first, u64 count, u32 limit) noexcept {
        if (!is_on() || (count == 1 && end_[-1] == first))
            return AbortReason::none;
        while (count != 0) {
            if (const u64 more = extend_last(first, count); more != 0) {
                first += more;
                count -= more;
                continue;
            }
            if (end_ == limit_) {
                const AbortReason reason = make_room(limit);
                if (reason != AbortReason::none)
                    return reason;
            }
            const u64 now = runtime::min(count, ReadRun::kMostInRun);
            *end_++ = ReadRun{first, now}.word();
            first += now;
            count -= now;
        }
        return AbortReason::none;
    }

    // Joins neighbours that were noted one after the other: less for a commit to look at.
    [[gnu::always_inline]] void join_neighbours() noexcept {
        constexpr int kFew = 4; // which a commit has looked at before they were joined
        if (is_on() && end_ - begin_ > kFew)
            join();
    }

    // Ascending, and no stripe twice.
    void make_unique() noexcept {
        if (!is_on() || is_empty())
            return;
        sort();
        join();
    }

    [[gnu::always_inline]] void clear() noexcept {
        if (limit_ - begin_ >= kManyRuns) [[unlikely]] {
            stm_free(begin_ - 1);
            use_inline();
        }
        end_ = begin_;
    }

    [[nodiscard]] runtime::Span<const u64> runs() const noexcept {
        return is_on() ? runtime::Span<const u64>(begin_, static_cast<u64>(end_ - begin_))
                       : runtime::Span<const u64>();
    }

    [[nodiscard]] static consteval bool begins_with_its_end() noexcept {
        return __builtin_offsetof(ReadLog, end_) == 0 && __builtin_offsetof(ReadLog, limit_) == 8;
    }

private:
    static constexpr u64 kNoRun = ~u64{0};

    [[nodiscard]] bool is_allocated() const noexcept { return begin_ != inline_ + 1; }
    void use_inline() noexcept {
        begin_ = inline_ + 1;
        limit_ = begin_ + kInlineRuns;
    }

    // Makes the last run longer if these stripes follow it; returns by how many.
    u64 extend_last(u64 first, u64 count) noexcept {
        if (is_empty())
            return 0;
        const ReadRun last = ReadRun::from_word(end_[-1]);
        if (last.first + last.count != first)
            return 0;
        const u64 more = runtime::min(count, ReadRun::kMostInRun - last.count);
        end_[-1] = ReadRun{last.first, last.count + more}.word();
        return more;
    }

    [[gnu::noinline]] AbortReason make_room(u32 limit) noexcept {
        const u64 size = static_cast<u64>(end_ - begin_);
        if (size >= kManyRuns || size >= limit) {
            make_unique();
            // At most half of it is left: there is no need to grow.
            if (static_cast<u64>(end_ - begin_) <= size / 2)
                return AbortReason::none;
        }
        const u64 kept = static_cast<u64>(end_ - begin_);
        if (kept > limit)
            return AbortReason::too_big;
        const u64 capacity = runtime::min(size * 2, u64{limit} * 2);
        auto* const grown = static_cast<u64*>(stm_allocate((capacity + 1) * sizeof(u64)));
        if (grown == nullptr)
            return kept < size ? AbortReason::none : AbortReason::no_memory;
        __builtin_memcpy(grown, begin_ - 1, (kept + 1) * sizeof(u64));
        if (is_allocated())
            stm_free(begin_ - 1);
        begin_ = grown + 1;
        end_ = begin_ + kept;
        limit_ = begin_ + capacity;
        return AbortReason::none;
    }

    // A later run that begins within the last one, or right behind it, becomes part of it.
    void join() noexcept {
        u64* to = begin_;
        for (const u64* from = begin_ + 1; from != end_; ++from) {
            const ReadRun last = ReadRun::from_word(*to);
            const ReadRun next = ReadRun::from_word(*from);
            const u64 end = runtime::max(last.first + last.count, next.first + next.count);
            if (next.first >= last.first && next.first <= last.first + last.count &&
                end - last.first <= ReadRun::kMostInRun)
                *to = ReadRun{last.first, end - last.first}.word();
            else
                *++to = *from;
        }
        end_ = to + 1;
    }

    // A heap sort: no recursion, and no bad worst case.
    void sort() noexcept {
        const u64 count = static_cast<u64>(end_ - begin_);
        for (u64 root = count / 2; root-- > 0;)
            sift(root, count);
        for (u64 end = count - 1; end > 0; --end) {
            runtime::swap(begin_[0], begin_[end]);
            sift(0, end);
        }
    }
    void sift(u64 root, u64 count) noexcept {
        for (;;) {
            u64 child = root * 2 + 1;
            if (child >= count)
                return;
            if (child + 1 < count && first_of(child) < first_of(child + 1))
                ++child;
            if (first_of(root) >= first_of(child))
                return;
            runtime::swap(begin_[root], begin_[child]);
            root = child;
        }
    }
    [[nodiscard]] u64 first_of(u64 index) const noexcept {
        return begin_[index] & ReadRun::kFirstMask;
    }

    u64* end_ = nullptr; // behind the last run; nullptr: switched off
    u64* limit_ = nullptr;
    u64* begin_ = nullptr;
    u64 inline_[kInlineRuns + 1];
};

} // namespace stm::protocol
