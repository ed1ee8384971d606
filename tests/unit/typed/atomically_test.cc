// SPDX-License-Identifier: GPL-2.0
// What a transaction's function may do, and what comes of it.
#include "typed.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace stm::test {
namespace {

using namespace std::chrono_literals;

struct numbers {
    var<long> a;
    var<long> b;
    var<double> real;
    var<std::array<int, 100>> large;
    var<long> row[256];
    numbers() = default;
};

class Atomically : public Typed {
protected:
    long value(const var<long>& x) {
        return read_only(region_, [&](read_transaction& tx) { return tx[x]; });
    }
    void set(var<long>& x, long value) {
        atomically(region_, [&](transaction& tx) { tx[x] = value; });
    }

    numbers& all_ = region_.root<numbers>();
};

TEST_F(Atomically, VariablesAreUsedAsIfTheyWereNumbers) {
    atomically(region_, [&](transaction& tx) {
        tx[all_.a] = 5;
        tx[all_.a] += 2;
        tx[all_.a] *= 3;
        ++tx[all_.a];
        EXPECT_EQ(tx[all_.a]++, 22);
        tx[all_.b] = tx[all_.a];
        tx[all_.b] <<= 1;
        EXPECT_TRUE(tx[all_.a] < tx[all_.b]);
        swap(tx[all_.a], tx[all_.b]);
        tx[all_.real] = 0.5;
        long copy = tx[all_.a];
        EXPECT_EQ(copy, 46);
    });
    EXPECT_EQ(all_.a.unsafe_load(), 46);
    EXPECT_EQ(all_.b.unsafe_load(), 23);
    EXPECT_EQ(all_.real.unsafe_load(), 0.5);
}

TEST_F(Atomically, ReturnsWhatTheFunctionReturns) {
    EXPECT_EQ(atomically(region_, [&](transaction& tx) { return tx[all_.a] + 1; }), 1);
    auto owner = atomically(region_, [](transaction&) { return std::make_unique<int>(7); });
    EXPECT_EQ(*owner, 7);
    // A reference would mean nothing when the transaction is over.
    const auto value = atomically(region_, [&](transaction& tx) { return ++tx[all_.a]; });
    static_assert(std::is_same_v<decltype(value), const long>);
    EXPECT_EQ(value, 1);
    numbers& same = atomically(region_, [&](transaction&) -> numbers& { return all_; });
    EXPECT_EQ(&same, &all_);
}

TEST_F(Atomically, LargeValuesAndRanges) {
    std::array<int, 100> large{};
    large[99] = 99;
    std::vector<long> row(256);
    for (std::size_t i = 0; i < row.size(); ++i)
        row[i] = static_cast<long>(i);
    atomically(region_, [&](transaction& tx) {
        tx.store(all_.large, large);
        tx.store(all_.row, std::span(row));
    });
    std::vector<long> seen(256);
    read_only(region_, [&](read_transaction& tx) {
        EXPECT_EQ(tx.load(all_.large), large);
        tx.load(all_.row, std::span(seen));
        std::array<long, 2> few{};
        EXPECT_THROW(tx.load(all_.row, std::span(few)), std::length_error);
    });
    EXPECT_EQ(seen, row);
}

TEST_F(Atomically, OffsetsAreLoadedAndStored) {
    const std::uint64_t offset = region_.size() - 64;
    atomically(region_, [&](transaction& tx) {
        tx.store(offset, 17L);
        EXPECT_EQ(tx.load<long>(offset), 17);
        const std::array<char, 3> text{'a', 'b', 'c'};
        tx.store(offset + 8, std::span(text));
    });
    EXPECT_THROW(atomically(region_, [&](transaction& tx) { tx.store(region_.size(), 1L); }),
                 std::system_error);
}

TEST_F(Atomically, AnExceptionUndoesEverything) {
    EXPECT_THROW(atomically(region_,
                            [&](transaction& tx) {
                                tx[all_.a] = 1;
                                throw std::runtime_error("no");
                            }),
                 std::runtime_error);
    EXPECT_EQ(value(all_.a), 0);
    set(all_.a, 2); // no transaction is left
    EXPECT_EQ(value(all_.a), 2);
}

TEST_F(Atomically, APartIsUndoneAlone) {
    atomically(region_, [&](transaction& tx) {
        tx[all_.a] = 1;
        EXPECT_THROW(tx.nested([&](transaction& inner) {
            inner[all_.a] = 2;
            inner[all_.b] = 2;
            throw std::runtime_error("no");
        }),
                     std::runtime_error);
        EXPECT_EQ(tx[all_.a], 1);
        // So it is when the part is a transaction of a function that knows nothing of this one.
        EXPECT_THROW(atomically(region_,
                                [&](transaction& inner) {
                                    inner[all_.a] = 3;
                                    throw std::runtime_error("no");
                                }),
                     std::runtime_error);
        EXPECT_EQ(atomically(region_, [&](transaction& inner) { return ++inner[all_.b]; }), 1);
    });
    EXPECT_EQ(value(all_.a), 1);
    EXPECT_EQ(value(all_.b), 1);
}

TEST_F(Atomically, TheSecondAlternativeRunsWithoutTheEffectsOfTheFirst) {
    const auto take = [&](var<long>& from) {
        return [&](transaction& tx) {
            ++tx[all_.row[0]];
            if (tx[from] == 0)
                tx.retry();
            return --tx[from] + 1;
        };
    };
    set(all_.b, 9);
    const long taken = atomically(
        region_, [&](transaction& tx) { return tx.or_else(take(all_.a), take(all_.b)); });
    EXPECT_EQ(taken, 9);
    EXPECT_EQ(value(all_.b), 8);
    EXPECT_EQ(value(all_.row[0]), 1);
}

TEST_F(Atomically, RetryWaitsForWhatBothAlternativesHaveRead) {
    const unsigned long before = fake::sleeps();
    std::jthread other([&] {
        while (fake::sleeps() == before)
            std::this_thread::yield();
        set(all_.a, 1);
    });
    atomically(region_, [&](transaction& tx) {
        tx.or_else(
            [&](transaction& first) {
                if (first[all_.a] == 0)
                    first.retry();
            },
            [&](transaction& second) {
                if (second[all_.b] == 0)
                    second.retry();
            });
    });
    EXPECT_GT(fake::sleeps(), before);
}

TEST_F(Atomically, RetryEndsWithItsTime) {
    const auto wait = [&](transaction& tx) {
        if (tx[all_.a] == 0)
            tx.retry();
    };
    EXPECT_THROW(atomically(region_, wait, within(10ms)), timed_out);
    EXPECT_THROW(atomically(region_,
                            [&](transaction& tx) {
                                if (tx[all_.a] == 0)
                                    tx.retry_until(std::chrono::steady_clock::now() + 10ms);
                            }),
                 timed_out);
    set(all_.a, 1);
    atomically(region_, wait, within(0ms)); // what need not wait has all the time
}

TEST_F(Atomically, RetryEndsWhenItIsAskedToStop) {
    std::stop_source source;
    const unsigned long before = fake::sleeps();
    std::jthread other([&] {
        while (fake::sleeps() == before)
            std::this_thread::yield();
        source.request_stop();
    });
    EXPECT_THROW(atomically(region_,
                            [&](transaction& tx) {
                                if (tx[all_.a] == 0)
                                    tx.retry();
                            },
                            {.stop = source.get_token()}),
                 stopped);
}

TEST_F(Atomically, RetryThatNothingCouldEndFails) {
    EXPECT_THROW(atomically(region_, [](transaction& tx) { tx.retry(); }), std::system_error);
}

TEST_F(Atomically, AnIrrevocableTransactionRunsOnceAndCannotWait) {
    int runs = 0;
    irrevocable(region_, [&](transaction& tx) {
        ++runs;
        tx[all_.a] = 4;
    });
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(value(all_.a), 4);
    EXPECT_THROW(irrevocable(region_, [](transaction& tx) { tx.retry(); }), std::logic_error);
    EXPECT_THROW(
        atomically(region_, [&](transaction&) { irrevocable(region_, [](transaction&) {}); }),
        std::logic_error);
}

TEST_F(Atomically, ReadOnlyInsideAndAround) {
    atomically(region_, [&](transaction& tx) {
        tx[all_.a] = 4;
        EXPECT_EQ(value(all_.a), 4);
    });
    EXPECT_THROW(read_only(region_, [&](read_transaction&) { set(all_.a, 5); }), std::logic_error);
    EXPECT_EQ(value(all_.a), 4);
}

TEST_F(Atomically, ActionsHappenWhenItIsCommitted) {
    std::string done;
    atomically(region_, [&](transaction& tx) {
        tx.on_commit([&] {
            done += "1";
            set(all_.b, 1); // the transaction is over
        });
        tx.on_abort([&] { done += "x"; });
        tx.on_commit([&] { done += "2"; });
        EXPECT_EQ(done, "");
    });
    EXPECT_EQ(done, "12");
    EXPECT_EQ(value(all_.b), 1);
}

TEST_F(Atomically, ActionsHappenWhenItIsUndone) {
    std::string done;
    EXPECT_THROW(atomically(region_,
                            [&](transaction& tx) {
                                tx.on_abort([&] { done += "1"; });
                                try {
                                    tx.nested([&](transaction& inner) {
                                        inner.on_abort([&] { done += "2"; });
                                        inner.on_commit([&] { done += "x"; });
                                        throw 5;
                                    });
                                } catch (int) {
                                    done += "3";
                                }
                                tx.on_abort([&] { done += "4"; });
                                throw 6;
                            }),
                 int);
    EXPECT_EQ(done, "2341");
}

TEST_F(Atomically, TwoRegionsInOneTransaction) {
    const region other = region::create("other", 65536);
    numbers& there = other.root<numbers>();
    atomically(region_, [&](transaction& tx) {
        tx[all_.a] -= 5;
        tx[there.a] += 5;
        EXPECT_EQ(tx.in(there).ptr_to(there), ptr<numbers>(tx.ptr_to(there).offset()));
    });
    EXPECT_EQ(value(all_.a), -5);
    EXPECT_EQ(value(there.a), 5);
    EXPECT_THROW(atomically(region_,
                            [&](transaction& tx) {
                                tx[there.a] = 6;
                                throw 1;
                            }),
                 int);
    EXPECT_EQ(value(there.a), 5);
}

TEST_F(Atomically, AVariableOutsideOfAllRegionsIsRefused) {
    var<long> local;
    EXPECT_THROW(atomically(region_, [&](transaction& tx) { tx[local] = 1; }), std::logic_error);
    EXPECT_THROW(value(local), std::logic_error);
}

} // namespace
} // namespace stm::test
