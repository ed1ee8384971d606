// SPDX-License-Identifier: GPL-2.0
// The ways of access that are compared.
#pragma once

#include "works.hpp"

#include <memory>

namespace stm::bench {

// Has everything that the works need, set up.
class Contestant {
public:
    virtual ~Contestant() = default;
    // Does the work once.
    virtual long run(Work work, Random& random) = 0;
};

// `Way` as do_work() wants it.
template <typename Way>
class ContestantOf : public Contestant {
public:
    ContestantOf() { set_up(way_); }
    long run(Work work, Random& random) override { return do_work(way_, work, random); }

private:
    Way way_;
};

// Ours. Each has a region of its own.
std::unique_ptr<Contestant> make_typed();
std::unique_ptr<Contestant> make_calls();
std::unique_ptr<Contestant> make_vectored();
std::unique_ptr<Contestant> make_mapped();
// Others. The mutex is robust, shared between processes, and has an undo log, so that what a killed
// owner left behind can be put in order. libitm works between threads only.
std::unique_ptr<Contestant> make_mutex_undo();
std::unique_ptr<Contestant> make_libitm();
std::unique_ptr<Contestant> make_lmdb();

} // namespace stm::bench
