// SPDX-License-Identifier: LGPL-2.1-or-later
// Accounts that are variables of <stm/stm.hpp>.
#include "accounts.hpp"

#include <cstdint>
#include <stm/stm.hpp>
#include <string>

namespace bank {
namespace {

struct alignas(kAccountBytes) Account {
    stm::var<std::int64_t> balance;
};
struct Vault {
    stm::var<stm::ptr<Account>> accounts;
};

class Typed : public Accounts {
public:
    Typed(const std::string& name, std::uint64_t count, int kind)
        : region_(stm::region::create(name, count * kAccountBytes * 2 + 65536,
                                      STM_EPHEMERAL | STM_CLOEXEC | kind)),
          vault_(region_.root<Vault>()), count_(count) {
        accounts_ = stm::atomically(region_, [&](stm::transaction& tx) {
            if (tx[vault_.accounts] == nullptr)
                tx[vault_.accounts] =
                    stm::ptr<Account>(tx.allocate(count_ * sizeof(Account), alignof(Account)));
            return tx[vault_.accounts];
        });
    }

    Taken transfer(std::uint64_t from, std::uint64_t to, std::int64_t amount) override {
        return stm::atomically(region_, [&](stm::transaction& tx) {
            if (tx[balance(from)] >= amount) {
                tx[balance(from)] -= amount;
                tx[balance(to)] += amount;
            }
            return Taken{tx.conflicts() + std::uint64_t{1}};
        });
    }

    Taken sum(std::int64_t& total) override {
        return stm::read_only(region_, [&](stm::read_transaction& tx) {
            total = 0;
            for (std::uint64_t account = 0; account < count_; ++account)
                total += tx[balance(account)];
            return Taken{tx.conflicts() + std::uint64_t{1}};
        });
    }

    // Account by account, so that no number of them is too large for one transaction.
    void open(std::int64_t balance_of_each) override {
        for (std::uint64_t account = 0; account < count_; ++account)
            stm::atomically(region_,
                            [&](stm::transaction& tx) { tx[balance(account)] = balance_of_each; });
    }

    [[nodiscard]] int handle() const override { return region_.fd(); }

private:
    stm::var<std::int64_t>& balance(std::uint64_t account) const {
        return region_[accounts_ + account].balance;
    }

    stm::region region_;
    Vault& vault_;
    std::uint64_t count_;
    stm::ptr<Account> accounts_;
};

} // namespace

std::unique_ptr<Accounts> attach_typed(const std::string& name, std::uint64_t count, int kind) {
    return std::make_unique<Typed>(name, count, kind);
}

} // namespace bank
