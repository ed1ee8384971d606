// SPDX-License-Identifier: GPL-2.0
// The bank in two halves, between which all transfers are: both in one region, or each in its own.
#include "way.hpp"

#include <cerrno>
#include <stm/stm.h>
#include <stm/tx.h>
#include <system_error>

namespace stm::bench {
namespace {

constexpr std::size_t kHalf = kAccounts / 2;

class Halves {
    class Words {
    public:
        Words(stm_tx* tx, stm_region* const* regions) : tx_(tx), regions_(regions) {}
        // Zero after a conflict.
        long load(std::size_t index) {
            std::uint64_t value = 0;
            const int result = stm_tx_load_word(tx_, region_of(index), index * 8, &value);
            must(result >= 0, "stm_tx_load_word");
            return result == 0 ? static_cast<long>(value) : 0;
        }
        void store(std::size_t index, long value) {
            must(stm_tx_store_word(tx_, region_of(index), index * 8,
                                   static_cast<std::uint64_t>(value)) >= 0,
                 "stm_tx_store_word");
        }
        long sum(std::size_t first, std::size_t count) {
            long sum = 0;
            for (std::size_t index = first; index < first + count; ++index)
                sum += load(index);
            return sum;
        }

    private:
        stm_region* region_of(std::size_t index) { return regions_[index < kHalf ? 0 : 1]; }

        stm_tx* tx_;
        stm_region* const* regions_;
    };

public:
    explicit Halves(unsigned regions) {
        for (unsigned i = 0; i < 2; ++i) {
            regions_[i] = i < regions ? stm_region_open(own_name("half").c_str(), kBytes,
                                                        STM_CREATE | STM_EXCL | STM_EPHEMERAL, 0600)
                                      : regions_[0];
            must(regions_[i] != nullptr, "stm_region_open");
        }
    }
    ~Halves() {
        if (regions_[1] != regions_[0])
            stm_region_close(regions_[1]);
        stm_region_close(regions_[0]);
    }
    Halves(const Halves&) = delete;
    Halves& operator=(const Halves&) = delete;

    template <typename Body>
    long atomically(Body body) {
        return run(body, 0);
    }
    template <typename Body>
    long read_only(Body body) {
        return run(body, STM_TX_READ_ONLY);
    }

private:
    static void must(bool is_so, const char* what) {
        if (!is_so)
            throw std::system_error(errno, std::generic_category(), what);
    }
    template <typename Body>
    long run(Body body, int flags) {
        stm_tx* const tx = stm_tx_begin(regions_[0], flags);
        must(tx != nullptr, "stm_tx_begin");
        for (;;) {
            Words words(tx, regions_);
            const long result = body(words);
            const int ended = stm_tx_commit(tx);
            must(ended >= 0, "stm_tx_commit");
            if (ended == 0)
                return result;
        }
    }

    stm_region* regions_[2] = {};
};

// Each transfer is from one half to the other one.
class Across : public ContestantOf<Halves> {
public:
    using ContestantOf::ContestantOf;
    using ContestantOf::run;
    long run(const Work& work, Random& random, std::size_t worker) override {
        Task task = draw_task(work, random, worker);
        task.places[0] %= kHalf;
        task.places[1] = kHalf + task.places[1] % kHalf;
        return run(task);
    }
};

} // namespace

std::unique_ptr<Contestant> make_halves(unsigned regions) {
    return std::make_unique<Across>(regions);
}

} // namespace stm::bench
