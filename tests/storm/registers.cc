// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/registers.hpp"

#include <array>
#include <cstring>
#include <ctime>
#include <unistd.h>

namespace stm::storm {

namespace {

constexpr std::uint64_t kMost = 4;     // registers in one transaction
constexpr std::uint32_t kReserve = 64; // entries that an attempt needs at most

std::uint64_t now() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1000000000 +
           static_cast<std::uint64_t>(time.tv_nsec);
}

} // namespace

Registers::Registers(const Self& self, unsigned historian, unsigned era)
    : board_(*self.board), log_(self.board->logs[era % 2][historian]) {
    before_ = now();
    // What the life before left unfinished stays so: whether it took effect, others will tell.
    note(Entry::Kind::born, 0, 0);
}

bool Registers::is_full() const {
    return log_.count.load() + kReserve > Log::kEntries;
}

// The entry first, then the count: who is killed or sent back in between has written nothing.
void Registers::note(Entry::Kind kind, std::uint64_t offset, std::uint64_t value) {
    const std::uint32_t index = log_.count.load(std::memory_order_relaxed);
    if (index >= Log::kEntries)
        ::_exit(kLeft);
    log_.entries[index] = {kind, static_cast<std::uint32_t>(offset), value,
                           kind == Entry::Kind::begin ? before_ : now()};
    log_.count.store(index + 1, std::memory_order_release);
    before_ = log_.entries[index].time;
}

void Registers::begin() {
    // Without room for all that it does, it must not do it.
    if (is_full())
        ::_exit(kLeft);
    note(Entry::Kind::begin, 0, board_.next_attempt.fetch_add(1));
}

void Registers::change(Access& access, Random& random, bool broken) {
    std::array<std::uint64_t, kMost> places{};
    const std::uint64_t count = 1 + random.below(kMost);
    // Different ones, in any order.
    const std::uint64_t first = random.below(kRegisters);
    for (std::uint64_t i = 0; i < count; ++i)
        places[i] = (first + i * (1 + 2 * random.below(3)) * 5) % kRegisters * kStride;
    const std::uint64_t writes = random.one_in(4) ? 0 : 1 + random.below(15);
    before_ = now();
    if (broken) {
        static std::uint64_t value;
        access.atomically([&] {
            begin();
            value = access.load(places[0]);
            note(Entry::Kind::read, places[0], value);
        });
        access.atomically([&] {
            value = board_.next_value.fetch_add(1);
            note(Entry::Kind::write, places[0], value);
            note(Entry::Kind::attempt_commit, 0, 0);
            access.store(places[0], value);
        });
        note(Entry::Kind::commit, 0, 0);
        return;
    }
    access.atomically([&] {
        begin();
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t value = access.load(places[i]);
            note(Entry::Kind::read, places[i], value);
            if ((writes >> i & 1) == 0)
                continue;
            const std::uint64_t next = board_.next_value.fetch_add(1);
            note(Entry::Kind::write, places[i], next);
            access.store(places[i], next);
        }
        note(Entry::Kind::attempt_commit, 0, 0);
    });
    note(Entry::Kind::commit, 0, 0);
}

test::History collect(const Board& board, unsigned era) {
    using test::Attempt;
    using test::Operation;
    test::History history;
    for (const Log& log : board.logs[era % 2]) {
        Attempt* attempt = nullptr;
        const auto begin = history.attempts.size();
        const std::uint32_t count = log.count.load();
        history.attempts.reserve(begin + count);
        for (std::uint32_t i = 0; i < count; ++i) {
            const Entry& entry = log.entries[i];
            std::vector<std::uint8_t> bytes(sizeof entry.value);
            std::memcpy(bytes.data(), &entry.value, bytes.size());
            switch (entry.kind) {
            case Entry::Kind::born:
                attempt = nullptr;
                break;
            case Entry::Kind::begin:
                // The same process begins again: what was before has not been committed.
                if (attempt != nullptr && attempt->outcome != Attempt::Outcome::committed)
                    attempt->outcome = Attempt::Outcome::aborted;
                attempt = &history.attempts.emplace_back();
                attempt->id = entry.value;
                attempt->begin = entry.time;
                break;
            case Entry::Kind::read:
                attempt->operations.push_back({Operation::Kind::read, entry.offset, bytes});
                break;
            case Entry::Kind::write:
                attempt->operations.push_back({Operation::Kind::write, entry.offset, bytes});
                break;
            case Entry::Kind::attempt_commit:
                attempt->outcome = Attempt::Outcome::unknown;
                break;
            case Entry::Kind::commit:
                attempt->outcome = Attempt::Outcome::committed;
                attempt->end = entry.time;
                break;
            }
        }
    }
    return history;
}

} // namespace stm::storm
