// SPDX-License-Identifier: GPL-2.0
// Regions for typed transactions in one process: the engine looks at them through a view, and their
// commit is the kernel's (set_commit.hpp). The regions of one transaction lie side by side in one
// space of addresses, so that histories can name their bytes.
#pragma once

#include "runtime/protocol/set_commit.hpp"
#include "runtime/protocol/typed_transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <memory>
#include <vector>

namespace stm::test {

using protocol::AbortReason;
using protocol::TypedMutation;

template <typename M>
class ViewOf {
public:
    ViewOf() = default;
    explicit ViewOf(M& memory) : memory_(&memory) {}

    const Atomic<u64>& clock() const { return memory_->clock(); }
    const Atomic<u64>* orec(u64 stripe) const { return memory_->orec(stripe); }
    const u8* at(u64 offset) const {
        return memory_->data(offset / kStripeBytes) + offset % kStripeBytes;
    }
    u64 size() const { return memory_->size(); }
    void pause() const { memory_->pause(); }
    u32 spin_limit() const { return memory_->spin_limit(); }
    void step(protocol::Step what, u64 where) requires protocol::SteppedMemory<M> {
        memory_->step(what, where);
    }

private:
    M* memory_ = nullptr;
};

// The regions that one test uses. Region number N has the addresses from N * kSpan on.
template <typename M>
struct Regions {
    static constexpr u64 kSpan = u64{1} << 24;
    std::vector<std::unique_ptr<M>> all;

    M& of(u64 address) { return *all[address / kSpan]; }
};

// A transaction with the functions of the ordinary one, over the addresses of all regions. It
// begins in the first one, unless told otherwise.
template <typename M, TypedMutation kMutation = TypedMutation::none>
class TypedTx {
public:
    using Engine = protocol::TypedTransaction<ViewOf<M>, kMutation>;
    using Mode = typename Engine::Mode;
    using Part = typename Engine::Part;

    TypedTx(Regions<M>& regions, u64 owner, protocol::TypedLimits limits = {})
        : regions_(regions), owner_(owner), engine_(limits) {}

    // Of the transactions that begin from now on.
    void set_mode(Mode mode) { mode_ = mode; }

    AbortReason begin(protocol::Path = protocol::Path::concurrent, u64 first_region = 0) {
        engine_.begin(mode_, place(first_region));
        committed_version_ = 0;
        return AbortReason::none;
    }
    AbortReason read(u64 address, void* to, u64 bytes) {
        Part* part = nullptr;
        const AbortReason reason = part_of(address, part);
        if (reason != AbortReason::none)
            return reason;
        // The short ways first, as in the library.
        const u64 offset = address % Regions<M>::kSpan;
        if (bytes == 8 && offset % 8 == 0 &&
            (engine_.load_word(*part, offset, to) ||
             engine_.load_word_beside_writes(*part, offset, to)))
            return AbortReason::none;
        return engine_.load(*part, offset, to, bytes);
    }
    AbortReason write(u64 address, const void* from, u64 bytes) {
        Part* part = nullptr;
        const AbortReason reason = part_of(address, part);
        if (reason != AbortReason::none)
            return reason;
        const u64 offset = address % Regions<M>::kSpan;
        if (bytes == 8 && offset % 8 == 0 &&
            ((part == &engine_.part(0) && engine_.store_first_word(offset, from)) ||
             engine_.store_word(*part, offset, from)))
            return AbortReason::none;
        return engine_.store(*part, offset, from, bytes);
    }
    AbortReason begin_nested() { return engine_.nest(); }
    void commit_nested() { engine_.merge(); }
    void cancel_nested() { engine_.undo(); }
    AbortReason validate() { return engine_.validate(); }

    AbortReason commit() {
        if (engine_.end_simply())
            return AbortReason::none;
        const bool is_only = engine_.only_part() != nullptr;
        AbortReason reason = engine_.doom();
        if (reason == AbortReason::none && engine_.has_written())
            reason = commit_sets();
        if (is_only && reason == AbortReason::none)
            engine_.end_only_part();
        else
            engine_.end(reason);
        return reason;
    }
    void cancel(AbortReason reason) {
        engine_.end(engine_.doom() != AbortReason::none ? engine_.doom() : reason);
    }
    // Of a commit in one region only.
    u64 committed_version() const { return committed_version_; }
    u32 conflicts_in_row() const { return engine_.conflicts_in_row(); }
    Engine& engine() { return engine_; }

private:
    using Commit = protocol::SetCommit<M>;

    auto place(u64 number) const {
        const ViewOf<M> view(*regions_.all[number]);
        return typename Engine::Place{view, number + 1, number + 1, view.size()};
    }
    AbortReason part_of(u64 address, Part*& part) {
        return engine_.join(place(address / Regions<M>::kSpan), part);
    }

    // As the kernel does it.
    AbortReason commit_sets() {
        engine_.prepare_commit();
        std::vector<std::vector<protocol::WritePlace>> places(engine_.parts());
        std::vector<Commit> parts;
        parts.reserve(engine_.parts());
        for (u32 i = 0; i < engine_.parts(); ++i) {
            Part& part = engine_.part(i);
            places[i].resize(part.writes().size() + 1);
            parts.emplace_back(*regions_.all[part.region() - 1], owner_, part.snapshot(),
                               part.reads().runs(), part.writes().writes(), places[i].data());
            if (!parts.back().is_well_formed() || !parts.back().materialise().ok())
                return AbortReason::killed;
        }
        for (Commit& part : parts)
            static_cast<void>(part.memory().enter_commit());
        std::vector<Commit*> all;
        for (Commit& part : parts)
            all.push_back(&part);
        const auto result = protocol::commit_sets(all.data(), static_cast<u32>(all.size()),
                                                  protocol::Path::concurrent);
        for (Commit& part : parts)
            part.memory().leave_commit();
        if (parts.size() == 1)
            committed_version_ = parts[0].version();
        for (Commit& part : parts) {
            const WaitMask wake = result.reason == AbortReason::none ? part.waiters() : 0;
            if (wake != 0)
                part.memory().wake(wake);
        }
        return result.reason;
    }

    Regions<M>& regions_;
    u64 owner_;
    u64 committed_version_ = 0;
    Mode mode_ = Mode::update;
    Engine engine_;
};

} // namespace stm::test
