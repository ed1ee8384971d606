// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/structures.hpp"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace stm::storm {

void Accounts::make(Access& access) const {
    access.atomically([&] {
        for (std::uint64_t i = 0; i < kAccounts; ++i)
            access.store(i * kStride, kEach);
    });
}

void Accounts::change(Access& access, Random& random, bool broken) const {
    const std::uint64_t from = random.below(kAccounts) * kStride;
    const std::uint64_t to =
        (from + (1 + random.below(kAccounts - 1)) * kStride) % (kAccounts * kStride);
    const std::uint64_t amount = random.below(100);
    const bool nested = random.one_in(8);
    if (broken) {
        access.atomically([&] { access.store(from, access.load(from) - amount); });
        access.atomically([&] { access.store(to, access.load(to) + amount); });
        return;
    }
    access.atomically([&] {
        const std::uint64_t from_has = access.load(from);
        access.store(from, from_has - amount);
        if (nested) {
            // A part that is undone.
            access.begin_part();
            access.store(to, 0);
            access.store(from, 0);
            access.undo_part();
        }
        access.store(to, access.load(to) + amount);
    });
}

void Accounts::audit(Access& access) const {
    access.atomically([&] {
        std::uint64_t sum = 0;
        for (std::uint64_t i = 0; i < kAccounts; ++i)
            sum += access.load(i * kStride);
        if (sum != kAccounts * kEach)
            access.fail("an audit found another sum", sum, kAccounts * kEach);
    });
}

void Accounts::audit_slowly(Access& access, unsigned length_us) const {
    constexpr unsigned kPartUs = 1000;
    access.atomically([&] {
        std::uint64_t sum = 0;
        for (std::uint64_t i = 0; i < kAccounts / 2; ++i)
            sum += access.load(i * kStride);
        for (unsigned slept = 0; slept < length_us; slept += kPartUs)
            ::usleep(kPartUs);
        for (std::uint64_t i = kAccounts / 2; i < kAccounts; ++i)
            sum += access.load(i * kStride);
        if (sum != kAccounts * kEach)
            access.fail("a long audit found another sum", sum, kAccounts * kEach);
    });
}

namespace {

using All = std::array<std::uint64_t, Accounts::kAccounts * Accounts::kStride / 8>;

// By one call that is a transaction of its own.
bool read_at_once(const Access& access, All& all) {
    if (!access.by_vectors())
        return ::pread(access.fd(), all.data(), sizeof all, 0) == ssize_t{sizeof all};
    std::array<stm_piece, Accounts::kAccounts> pieces{};
    for (std::uint64_t i = 0; i < Accounts::kAccounts; ++i)
        pieces[i] =
            stm_read_piece(i * Accounts::kStride, &all[i * Accounts::kStride / 8], sizeof all[0]);
    return stm_access(access.fd(), pieces.data(), Accounts::kAccounts) == 0;
}

} // namespace

void Accounts::audit_at_once(Access& access) const {
    static All all;
    while (!read_at_once(access, all)) {
        if (errno != EINTR) {
            access.fail("a read call of everything", static_cast<std::uint64_t>(errno));
            return;
        }
    }
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < kAccounts; ++i)
        sum += all[i * kStride / 8];
    if (sum != kAccounts * kEach)
        access.fail("a read call found another sum", sum, kAccounts * kEach);
    access.self().slot->done.fetch_add(1, std::memory_order_relaxed);
}

} // namespace stm::storm
