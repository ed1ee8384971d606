// SPDX-License-Identifier: GPL-2.0
// A heap in a region.
#include "goals.hpp"

#include <cerrno>
#include <stm/heap.h>
#include <stm/stm.h>
#include <system_error>

namespace stm::bench {
namespace {

class Allocating : public Contestant {
public:
    Allocating()
        : region_(stm_region_open(own_name("heap").c_str(), std::size_t{4} << 20,
                                  STM_CREATE | STM_EXCL | STM_EPHEMERAL, 0600)) {
        must(region_ != nullptr, "stm_region_open");
    }
    ~Allocating() override { stm_region_close(region_); }
    Allocating(const Allocating&) = delete;
    Allocating& operator=(const Allocating&) = delete;

    using Contestant::run;
    // Whatever the task is.
    long run(const Task&) override {
        stm_tx* const tx = stm_tx_begin(region_, 0);
        must(tx != nullptr, "stm_tx_begin");
        for (;;) {
            std::uint64_t next = 0;
            const int done = block_ == 0 ? stm_heap_allocate(tx, region_, 64, 16, &next)
                                         : stm_heap_free(tx, region_, block_);
            must(done >= 0, "the heap");
            const int ended = stm_tx_commit(tx);
            must(ended >= 0, "stm_tx_commit");
            if (ended == 0) {
                block_ = next;
                return 1;
            }
        }
    }

private:
    static void must(bool is_so, const char* what) {
        if (!is_so)
            throw std::system_error(errno, std::generic_category(), what);
    }

    stm_region* region_;
    std::uint64_t block_ = 0; // 0: none
};

} // namespace

std::unique_ptr<Contestant> make_allocating() {
    return std::make_unique<Allocating>();
}

} // namespace stm::bench
