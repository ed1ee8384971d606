// SPDX-License-Identifier: GPL-2.0
// What the tests of <stm/tx.h> share.
#pragma once

#include "guest.hpp"

#include <cstdlib>

#include <stm/tx.h>

namespace stm::test {

/** A region that is attached, and detached at the end. */
class Attached {
public:
    explicit Attached(stm_region* region) : region_(region) {
        EXPECT_NE(region, nullptr) << std::strerror(errno);
    }
    Attached(const std::string& name, int flags = 0)
        : Attached(stm_region_open(name.c_str(), 0, flags, 0)) {}
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;
    ~Attached() { stm_region_close(region_); }
    operator stm_region*() const { return region_; }

private:
    stm_region* region_;
};

/** A region for a test, destroyed at the end, and attached. */
class TypedRegion : public Region {
public:
    explicit TypedRegion(const std::string& stem, std::size_t size = 16 * kPage,
                         int flags = usual_flags())
        : Region(stem, size, flags), attached_(name()) {}
    operator stm_region*() const { return attached_; }

    /** With STM_TEST_DIRECT in the environment the same tests are done in direct regions. */
    static int usual_flags() { return std::getenv("STM_TEST_DIRECT") != nullptr ? STM_DIRECT : 0; }

private:
    Attached attached_;
};

/** Repeats body(tx) until it is committed. False, with errno: it cannot be. */
template <typename Body>
bool atomically(stm_region* region, int flags, Body body) {
    stm_tx* const tx = stm_tx_begin(region, flags);
    EXPECT_NE(tx, nullptr) << std::strerror(errno);
    int result = 0;
    do {
        body(tx);
        result = stm_tx_commit(tx);
    } while (result > 0);
    return result == 0;
}

/** The value of a number that is committed, by a transaction of its own. */
inline long value_at(stm_region* region, std::uint64_t offset) {
    long value = 0;
    EXPECT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        return stm_tx_load(tx, region, offset, &value, sizeof value);
    }));
    return value;
}
inline void set_value(stm_region* region, std::uint64_t offset, long value) {
    EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        return stm_tx_store(tx, region, offset, &value, sizeof value);
    })) << std::strerror(errno);
}
/** Adds to a number. 0, or the result to be returned by a body. */
inline int add(stm_tx* tx, stm_region* region, std::uint64_t offset, long amount) {
    long value = 0;
    if (const int result = stm_tx_load(tx, region, offset, &value, sizeof value); result != 0)
        return result;
    value += amount;
    return stm_tx_store(tx, region, offset, &value, sizeof value);
}

} // namespace stm::test
