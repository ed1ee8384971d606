// SPDX-License-Identifier: LGPL-2.1-or-later
// The accounts of the bank in a region, and six ways for many processes to share them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace bank {

// Each account has a cache line of its own (with `transparent` a page), so that transfers of
// different accounts do not conflict.
inline constexpr std::size_t kAccountBytes = 64;

/** What one operation took: attempts, of which the last one counted. */
struct Taken {
    std::uint64_t attempts;
};

/** One process's access to the accounts. Failures of the system end the process with a message. */
class Accounts {
public:
    virtual ~Accounts() = default;
    /** Moves money, unless there is not enough of it. */
    virtual Taken transfer(std::uint64_t from, std::uint64_t to, std::int64_t amount) = 0;
    /** The sum of all accounts at one moment. */
    virtual Taken sum(std::int64_t& total) = 0;
    /** Gives every account the same. */
    virtual void open(std::int64_t balance) = 0;
    /** The region's descriptor. */
    [[nodiscard]] virtual int handle() const = 0;
};

/**
 * `calls`: optimistic transactions, by read and write calls. `transparent`: the same by ordinary
 * loads and stores in a mapping. `typed`: the same by variables of <stm/stm.hpp>. `direct`: `typed`
 * in a region to which programs commit by themselves (STM_DIRECT). `mutex`: `calls` in a region
 * whose transactions take a lock (STM_MUTEX). `pthread`: a robust, process-shared pthread_mutex_t
 * in plain memory, which lets nobody wait for the dead, but what they left half done stays so.
 */
enum class Way { calls, transparent, typed, direct, mutex, pthread };

/** Attaches the accounts, making the region when there is none of that name. */
std::unique_ptr<Accounts> attach(Way way, const std::string& name, std::uint64_t count);
/** The same for `typed` and `direct`; `kind` is 0 or STM_DIRECT. */
std::unique_ptr<Accounts> attach_typed(const std::string& name, std::uint64_t count, int kind);

} // namespace bank
