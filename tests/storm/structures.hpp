// SPDX-License-Identifier: GPL-2.0
// What is kept in the transactional regions, each with a sentence that is true whenever no change
// is half done. An audit looks at all of it in one transaction, and complains while that
// transaction runs: no transaction, also none that will abort, may see anything else.
#pragma once

#include "tests/storm/access.hpp"

#include <cstddef>
#include <cstdint>

namespace stm::storm {

class Structure {
public:
    virtual ~Structure() = default;
    [[nodiscard]] virtual std::size_t size() const = 0;
    /** Contents of a new region, by the first process. */
    virtual void make(Access& access) const = 0;
    /** One random change. With `broken`, done in two transactions: the audits must find it. */
    virtual void change(Access& access, Random& random, bool broken) const = 0;
    virtual void audit(Access& access) const = 0;
};

/** The sum of all accounts is always the same. */
class Accounts : public Structure {
public:
    static constexpr std::uint64_t kAccounts = 192;
    static constexpr std::uint64_t kStride = 64;
    static constexpr std::uint64_t kEach = 1000;
    [[nodiscard]] std::size_t size() const override { return kAccounts * kStride; }
    void make(Access& access) const override;
    void change(Access& access, Random& random, bool broken) const override;
    void audit(Access& access) const override;
    /** Reads everything in one read call, which is a transaction of its own. */
    void audit_at_once(Access& access) const;
    /** Sleeps for so long in the middle of the transaction. */
    void audit_slowly(Access& access, unsigned length_us) const;
};

/**
 * Sorted keys in nodes that lie in the region; the header knows how many and their sum; the other
 * nodes are free, and no node is lost or in two places.
 */
class List : public Structure {
public:
    static constexpr std::uint64_t kNodes = 95;
    [[nodiscard]] std::size_t size() const override { return 64 * (kNodes + 1); }
    void make(Access& access) const override;
    void change(Access& access, Random& random, bool broken) const override;
    void audit(Access& access) const override;
};

/** A binary search tree of such nodes. */
class Tree : public Structure {
public:
    static constexpr std::uint64_t kNodes = 127;
    [[nodiscard]] std::size_t size() const override { return 64 * (kNodes + 1); }
    void make(Access& access) const override;
    void change(Access& access, Random& random, bool broken) const override;
    void audit(Access& access) const override;
};

} // namespace stm::storm
