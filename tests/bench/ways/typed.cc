// SPDX-License-Identifier: GPL-2.0
// Typed transactions, in protected and in direct regions. In a file of their own: what else is in a
// file decides what GCC inlines.
#include "own_region.hpp"
#include "way.hpp"

#include <numeric>
#include <stm/stm.h>
#include <stm/tx.h>
#include <utility>

namespace stm::bench {
namespace {

class Typed {
    // What a body does after a conflict has no effect, so it may go on to its end with zeros.
    [[gnu::cold, gnu::noinline]] static long no_value(int result, const char* what) {
        if (result < 0)
            fail(what);
        return 0;
    }
    class Words {
    public:
        Words(stm_tx* tx, stm_region* region) : tx_(tx), region_(region) {}

        [[nodiscard]] long load(std::size_t index) const {
            std::uint64_t value;
            const int result = stm_tx_load_word(tx_, region_, index * 8, &value);
            return result != 0 ? no_value(result, "stm_tx_load_word") : static_cast<long>(value);
        }
        void store(std::size_t index, long value) {
            if (stm_tx_store_word(tx_, region_, index * 8, static_cast<std::uint64_t>(value)) < 0)
                fail("stm_tx_store_word");
        }
        long sum(std::size_t first, std::size_t count) {
            long values[kAccounts];
            const int result = stm_tx_load(tx_, region_, first * 8, values, count * 8);
            return result != 0 ? no_value(result, "stm_tx_load")
                               : std::accumulate(values, values + count, 0L);
        }

    private:
        stm_tx* tx_;
        stm_region* region_;
    };
    // The same in a transaction that only reads.
    class Reader : public Words {
    public:
        Reader(stm_tx* tx, stm_region* region) : Words(tx, region), view_(stm_tx_view_of(tx)) {}

        [[nodiscard]] long load(std::size_t index) const {
            std::uint64_t value;
            const int result = stm_tx_view_load_word(&view_, index * 8, &value);
            return result != 0 ? no_value(result, "stm_tx_view_load_word")
                               : static_cast<long>(value);
        }

    private:
        stm_tx_view view_;
    };

public:
    Typed() : Typed(own_name("typed"), kBytes) {}
    Typed(const std::string& name, std::size_t bytes, int kind = 0)
        : name_(name), region_(stm_region_open(name_.c_str(), bytes, kNew | kind, 0600)) {
        if (region_ == nullptr)
            fail("stm_region_open");
    }
    ~Typed() { stm_region_close(region_); }
    Typed(const Typed&) = delete;
    Typed& operator=(const Typed&) = delete;

    void enter() {
        stm_region* const old = std::exchange(region_, stm_region_open(name_.c_str(), 0, 0, 0));
        if (region_ == nullptr)
            fail("stm_region_open");
        stm_region_close(old);
    }
    template <typename Body>
    long atomically(Body body) {
        return run<Words>(body, 0);
    }
    template <typename Body>
    long read_only(Body body) {
        return run<Reader>(body, STM_TX_READ_ONLY);
    }

private:
    template <typename View, typename Body>
    long run(Body body, int flags) {
        stm_tx* const tx = stm_tx_begin(region_, flags);
        if (tx == nullptr)
            fail("stm_tx_begin");
        long result = 0;
        int ended = 0;
        do {
            View view(tx, region_);
            result = body(view);
            ended = stm_tx_commit(tx);
        } while (ended > 0);
        if (ended < 0)
            fail("stm_tx_commit");
        return result;
    }

    std::string name_;
    stm_region* region_;
};

// The same program in a region to which it commits by itself.
class Direct : public Typed {
public:
    Direct() : Typed(own_name("direct"), kBytes, STM_DIRECT) {}
};

} // namespace

std::unique_ptr<Contestant> make_typed() {
    return std::make_unique<ContestantOf<Typed>>();
}

std::unique_ptr<Contestant> make_typed_in(const std::string& region, std::size_t bytes) {
    return std::make_unique<ContestantOf<Typed>>(region, bytes);
}

std::unique_ptr<Contestant> make_direct() {
    return std::make_unique<ContestantOf<Direct>>();
}

} // namespace stm::bench
