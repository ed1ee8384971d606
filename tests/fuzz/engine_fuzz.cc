// SPDX-License-Identifier: GPL-2.0
// The transaction engine: any sequence of operations of three transactions on one region, with
// allocations that fail, compared with the model in history.hpp.
//
// One thread: the interleavings inside of an operation are explored by tests/unit/protocol.
#include "runtime/protocol/transaction.hpp"
#include "tests/fuzz/history.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

namespace stm::fuzz {
namespace {

using protocol::AbortReason;
using protocol::kPageBytes;
using protocol::kStripesPerPage;
using protocol::Path;
using protocol::Validity;
using runtime::u64;
using runtime::u8;

std::size_t live_allocations = 0;
std::size_t failing_allocation = 0; // counted down; 0: none fails

// Nobody sleeps: who would have to is told that a signal came.
class Memory : public test::PagedMemory {
public:
    using test::PagedMemory::PagedMemory;
    runtime::Status enter_commit() {
        if (gate_is_closed())
            return runtime::Error::interrupted;
        return test::PagedMemory::enter_commit();
    }
    runtime::Status acquire_serial() {
        if (gate_is_closed())
            return runtime::Error::interrupted;
        return test::PagedMemory::acquire_serial();
    }
};

constexpr u64 kSize = 3 * kPageBytes;
using Engine = protocol::Transaction<Memory>;

struct Player {
    Player(Memory& memory, u64 owner, protocol::Limits limits) : engine(memory, owner, limits) {}
    Engine engine;
    std::optional<Observer> seen;
};

class World {
public:
    World() {
        for (std::size_t i = 0; i < players_.size(); ++i) {
            // The third one reaches its limits soon.
            const protocol::Limits limits =
                i == 2 ? protocol::Limits{.accesses = 24, .writes = 12, .pages = 2}
                       : protocol::Limits{};
            players_[i].emplace(memory_, i + 1, limits);
        }
    }
    ~World() {
        failing_allocation = 0;
        for (auto& player : players_)
            player.reset();
        STM_FUZZ_EXPECT(memory_.is_quiet());
        check_contents();
    }
    void run(const Step& step);

private:
    // Reads all by a transaction of its own.
    void check_contents() {
        Engine auditor(memory_, 99);
        Bytes all(kSize);
        STM_FUZZ_EXPECT(auditor.begin() == AbortReason::none);
        STM_FUZZ_EXPECT(auditor.read(0, all.data(), all.size()) == AbortReason::none);
        STM_FUZZ_EXPECT(auditor.commit() == AbortReason::none);
        STM_FUZZ_EXPECT(all == history_.last());
    }
    void expect(AbortReason reason, const Player& player) {
        if (protocol::is_conflict(reason))
            STM_FUZZ_EXPECT(player.seen->may_conflict());
        STM_FUZZ_EXPECT(reason != AbortReason::read_locked &&
                        reason != AbortReason::commit_locked && "nobody else is in a commit");
    }

    Memory memory_{kSize};
    History history_{kSize};
    std::array<std::optional<Player>, 3> players_;
    unsigned value_ = 0;
};

void World::run(const Step& step) {
    Player& player = *players_[step.who % players_.size()];
    Engine& engine = player.engine;
    const unsigned what = step.what % 16;
    trace("%u by %u (%s)\n", what, step.who % 3, engine.active() ? "active" : "idle");
    failing_allocation = step.fail;
    if ((step.flags & 0x80) != 0)
        memory_.fail_page(1 + step.fail % 3);
    const u64 offset = step.large % (kSize + 2);
    u64 length = step.small % 150;
    if (step.small >> 12 == 1)
        length = step.small % (2 * kPageBytes);
    if (step.small >> 12 == 2)
        length = ~u64{0} - step.small % 16;
    const bool fits = offset <= kSize && length <= kSize - offset;

    if (!engine.active()) {
        player.seen.emplace(history_);
        if (what == 15) {
            // A program that tells what it has read, at a snapshot of its own.
            const u64 snapshot = memory_.clock().load(protocol::Order::relaxed);
            STM_FUZZ_EXPECT(engine.begin_at(snapshot) == AbortReason::none);
            return;
        }
        const AbortReason reason =
            engine.begin((step.flags & 3) == 1 ? Path::serial : Path::concurrent);
        STM_FUZZ_EXPECT(reason == AbortReason::none || memory_.gate_is_closed());
        failing_allocation = 0;
        return;
    }
    if ((step.flags & 0x60) == 0x60) {
        expect(engine.fix_snapshot(), player);
        // Some of what it needs may not be kept.
        memory_.kept_versions().set_bound((step.flags & 8) != 0 ? step.fail : 1000);
    }
    switch (what) {
    case 0:
    case 1:
    case 2: {
        const bool meets_nothing =
            engine.is_fixed() && !engine.has_written() && engine.doom() == AbortReason::none;
        Bytes bytes(fits ? length : 1);
        const AbortReason reason = engine.read(offset, bytes.data(), length);
        expect(reason, player);
        STM_FUZZ_EXPECT(!meets_nothing || !protocol::is_conflict(reason) ||
                        reason == AbortReason::snapshot_too_old);
        if (!fits)
            STM_FUZZ_EXPECT(reason == AbortReason::out_of_range || protocol::is_conflict(reason));
        if (reason == AbortReason::none)
            player.seen->saw(offset, bytes.data(), bytes.size());
        break;
    }
    case 3:
    case 4:
    case 5: {
        Bytes bytes(fits ? length : 1);
        for (u8& byte : bytes)
            byte = static_cast<u8>(++value_);
        const AbortReason reason = engine.write(offset, bytes.data(), length);
        expect(reason, player);
        if (!fits)
            STM_FUZZ_EXPECT(reason == AbortReason::out_of_range || protocol::is_conflict(reason));
        if (reason == AbortReason::none)
            player.seen->wrote(offset, bytes.data(), bytes.size());
        break;
    }
    case 6: {
        const u64 page = step.small % 4;
        Bytes bytes(kPageBytes);
        const AbortReason reason = engine.read_page(page, bytes.data());
        expect(reason, player);
        if (page >= kSize / kPageBytes)
            STM_FUZZ_EXPECT(reason == AbortReason::out_of_range || protocol::is_conflict(reason));
        if (reason != AbortReason::none)
            break;
        if (engine.writes_page(page))
            engine.overlay_page(page, bytes.data());
        player.seen->saw(page * kPageBytes, bytes.data(), bytes.size());
        break;
    }
    case 7:
    case 8:
        if (engine.nesting() != 0 && engine.doom() == AbortReason::none) {
            engine.commit_nested();
            player.seen->commit_nested();
        } else {
            failing_allocation = 0; // pages may still fail
            const AbortReason reason = engine.commit();
            memory_.kept_versions().tidy();
            expect(reason, player);
            failing_allocation = 0;
            memory_.fail_page(0);
            if (reason == AbortReason::none) {
                Bytes actual(kSize);
                Engine auditor(memory_, 99);
                STM_FUZZ_EXPECT(auditor.begin() == AbortReason::none);
                STM_FUZZ_EXPECT(auditor.read(0, actual.data(), kSize) == AbortReason::none);
                player.seen->committed(history_, actual);
            }
        }
        break;
    case 9:
        if (engine.nesting() != 0) {
            engine.cancel_nested();
            player.seen->cancel_nested();
        } else {
            engine.cancel(AbortReason::explicit_cancel);
        }
        break;
    case 10: {
        const AbortReason reason = engine.begin_nested();
        expect(reason, player);
        if (reason == AbortReason::none)
            player.seen->begin_nested();
        break;
    }
    case 11: {
        const Validity validity = engine.validate();
        STM_FUZZ_EXPECT(validity != Validity::busy);
        if (validity == Validity::changed)
            STM_FUZZ_EXPECT(player.seen->may_conflict());
        break;
    }
    case 12:
        expect(engine.become_serial(), player);
        break;
    case 13: {
        // A false statement harms only what this transaction writes: so it is not compared.
        const AbortReason reason =
            engine.import_read(step.small % (kSize / 64 + 2), step.large % 8);
        if (reason == AbortReason::none || protocol::is_conflict(reason))
            engine.cancel(AbortReason::explicit_cancel);
        break;
    }
    case 14: {
        const protocol::WaitMask mask = engine.announce_wait();
        bool read = false;
        engine.for_each_read([&](u64, u64) { read = true; });
        STM_FUZZ_EXPECT(read == (mask != 0));
        engine.withdraw_wait(mask);
        engine.cancel(AbortReason::explicit_retry);
        break;
    }
    default: {
        // The sets agree with each other.
        std::size_t writes = 0;
        engine.for_each_write([&](u64 stripe, protocol::ByteMask mask, const u8*) {
            ++writes;
            STM_FUZZ_EXPECT(stripe < kSize / 64);
            STM_FUZZ_EXPECT(engine.written_bytes(stripe) == mask);
            STM_FUZZ_EXPECT(mask == 0 || engine.writes_page(stripe / kStripesPerPage));
        });
        STM_FUZZ_EXPECT(writes == engine.stripes_written());
        break;
    }
    }
    failing_allocation = 0;
    memory_.fail_page(0);
}

} // namespace
} // namespace stm::fuzz

extern "C" {
void* stm_allocate(std::size_t bytes) {
    if (stm::fuzz::failing_allocation != 0 && --stm::fuzz::failing_allocation == 0)
        return nullptr;
    ++stm::fuzz::live_allocations;
    return std::malloc(bytes);
}
void stm_free(void* memory) {
    if (memory != nullptr)
        --stm::fuzz::live_allocations;
    std::free(memory);
}
void stm_panic(const char* message) {
    stm::fuzz::found(message, "stm_panic", 0);
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    {
        stm::fuzz::World world;
        stm::fuzz::Input input(data, size);
        stm::fuzz::Step step;
        for (int count = 0; count < 300 && input.next(step); ++count)
            world.run(step);
    }
    STM_FUZZ_EXPECT(stm::fuzz::live_allocations == 0);
    return 0;
}
