// SPDX-License-Identifier: GPL-2.0
// Memory for a transaction whose every access to what is shared is a step of the explorer.
#pragma once

#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/explorer.hpp"
#include "tests/unit/protocol/test_memory.hpp"

namespace stm::test {

using protocol::Step;

inline constexpr u64 kClockObject = 1;

inline constexpr u64 kTimeObject = 2;

inline constexpr u64 kGateObject = 3;

inline constexpr u64 kOrecObjects = 1000;

inline constexpr u64 kPageObjects = 2000;

inline constexpr u64 kChangesObjects = 2500;

inline constexpr u64 kOldObjects = 2700;

inline constexpr u64 kWordObjects = 3000;

// Stops the fiber in front of every shared access.
template <typename Storage>
class SteppedStorage : public Storage {
public:
    SteppedStorage(u64 size, u32 spins, bool whole_pages, bool counts)
        : Storage(size), spins_(spins), whole_pages_(whole_pages), counts_(counts) {}

    // Null: no commit counts.
    protocol::PageChanges* page_changes() const { return counts_ ? &changes_ : nullptr; }

    Atomic<u64>& clock() { return clock_; }
    Status materialise(u64 stripe) {
        if (this->orec(stripe) == nullptr)
            Explorer::step({page_of(stripe, Touch::Mode::write), {}});
        return Storage::materialise(stripe);
    }
    void pause() {}
    u32 spin_limit() const { return spins_; }

    Status enter_commit() {
        Explorer::step({{kGateObject, Touch::Mode::read}, {}},
                       [this] { return !gate_.is_closed(); });
        return gate_.try_enter() ? Status(kSuccess) : Status(Error::deadlock);
    }
    void leave_commit() {
        Explorer::step({{kGateObject, Touch::Mode::read}, {}});
        static_cast<void>(gate_.leave());
    }
    Status acquire_serial() {
        Explorer::step({{kGateObject, Touch::Mode::write}, {}},
                       [this] { return !gate_.is_closed(); });
        if (!gate_.try_close())
            return Error::deadlock;
        Explorer::step({{kGateObject, Touch::Mode::write}, {}}, [this] { return gate_.drained(); });
        return kSuccess;
    }
    bool keep_serial() { return true; }
    void release_serial() {
        Explorer::step({{kGateObject, Touch::Mode::write}, {}});
        gate_.open();
    }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    protocol::OldVersions& old_versions() { return kept_.versions(); }
    protocol::OldStripe* make_old_stripe(bool) { return kept_.make(); }
    void free_old_stripe(protocol::OldStripe* old) { kept_.free(old); }
    protocol::OldStripe*& spare_old_stripe() {
        return spares_[static_cast<std::size_t>(Explorer::running() + 1)];
    }
    // Not at once: a commit is inside, or another one has closed the gate.
    bool stop_commits() {
        Explorer::step({{kGateObject, Touch::Mode::write}, {}});
        if (!kept_.get_ready() || !gate_.try_close())
            return false;
        if (gate_.drained() || fixes_beside_commits_)
            return true;
        gate_.open();
        return false;
    }
    void resume_commits() {
        Explorer::step({{kGateObject, Touch::Mode::write}, {}});
        gate_.open();
    }
    bool find_old(u64 stripe, u64 time, protocol::OldStripe& to) {
        return kept_.find(stripe, time, to);
    }
    // What it changes is looked at by commits, but makes no difference to anybody who reads.
    void dismiss(protocol::FixedSnapshot& snapshot) { kept_.dismiss(snapshot); }
    // A planted defect.
    void fix_beside_commits() { fixes_beside_commits_ = true; }
    // Whether nothing is kept for nobody.
    bool keeps_nothing() {
        kept_.tidy();
        return kept_.count() == 0;
    }

    WaitFilter& wait_filter() { return filter_; }
    void wake(WaitMask) {}

    void step(Step what, u64 where) {
        const u64 orec = kOrecObjects + (whole_pages_ ? protocol::page_of_stripe(where) : where);
        switch (what) {
        case Step::read_clock:
            Explorer::step({{kClockObject, Touch::Mode::read}, {kTimeObject, Touch::Mode::begin}});
            return;
        case Step::sample_orec:
        case Step::validate_orec:
            Explorer::step({{orec, Touch::Mode::read}, page_of(where, Touch::Mode::read)});
            return;
        case Step::resample_orec:
            Explorer::step({{orec, Touch::Mode::read}, {}});
            return;
        case Step::read_data:
            Explorer::step({{kWordObjects + where, Touch::Mode::read}, {}});
            return;
        case Step::lock_orec:
        case Step::release_orec:
        case Step::restore_orec:
            Explorer::step({{orec, Touch::Mode::write}, {}});
            return;
        case Step::count_change:
            Explorer::step({changes_of(where, Touch::Mode::add), {}});
            return;
        case Step::read_changes:
            Explorer::step({changes_of(where, Touch::Mode::read), {}});
            return;
        case Step::advance_clock:
            Explorer::step({{kClockObject, Touch::Mode::write}, {}});
            return;
        case Step::write_data:
            Explorer::step({{kWordObjects + where, Touch::Mode::write}, {}});
            return;
        case Step::keep_old:
            Explorer::step(
                {{kOldObjects + protocol::page_of_stripe(where), Touch::Mode::write}, {}});
            return;
        case Step::find_old:
            Explorer::step(
                {{kOldObjects + protocol::page_of_stripe(where), Touch::Mode::read}, {}});
            return;
        case Step::publish:
            return; // nothing that is shared
        case Step::journal_active:
        case Step::read_gate:
        case Step::journal_idle:
            return; // of no commit here
        }
    }

    bool is_quiet() {
        for (u64 i = 0; i < this->stripes(); ++i) {
            const Atomic<u64>* orec = this->orec(i);
            if (orec != nullptr && (orec->load(protocol::Order::relaxed) & 1) != 0)
                return false;
        }
        return !gate_.is_closed();
    }

private:
    static Touch page_of(u64 stripe, Touch::Mode mode) {
        return {kPageObjects + protocol::page_of_stripe(stripe), mode};
    }

    static Touch changes_of(u64 stripe, Touch::Mode mode) {
        return {kChangesObjects + protocol::page_of_stripe(stripe), mode};
    }

    Atomic<u64> clock_{0};
    mutable protocol::PageChanges changes_;
    SerialGate gate_;
    KeptVersions kept_;
    protocol::OldStripe* spares_[8] = {};
    bool fixes_beside_commits_ = false;
    WaitFilter filter_;
    u32 spins_;
    bool whole_pages_;
    bool counts_;
};

} // namespace stm::test
