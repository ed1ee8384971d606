// SPDX-License-Identifier: GPL-2.0
// The ways of access that are compared.
#pragma once

#include "works.hpp"

#include <memory>
#include <span>
#include <string>

namespace stm::bench {

// Has everything that the works need, set up, in memory that processes share: it is made before
// they are forked.
class Contestant {
public:
    virtual ~Contestant() = default;
    // Opens what a process cannot have from its parent. Called once in each process, before it does
    // the first task. Nothing of that kind is open before: not in the process that forks.
    virtual void enter() {}
    // Does a task, and returns what perform() does.
    virtual long run(const Task& task) = 0;
    // Draws a task and does it.
    virtual long run(const Work& work, Random& random, std::size_t worker) {
        return run(draw_task(work, random, worker));
    }
    // Around a turn of measurements, by one of the workers.
    virtual void before_turn() {}
    virtual void after_turn() {}
};

// `Way` as perform() wants it.
template <typename Way>
class ContestantOf : public Contestant {
public:
    template <typename... Arguments>
    explicit ContestantOf(const Arguments&... arguments) : way_(arguments...) {
        set_up(way_);
    }
    void enter() override {
        if constexpr (requires { way_.enter(); })
            way_.enter();
    }
    long run(const Task& task) override { return perform(way_, task); }
    // In one piece, so that what the benchmark itself does is little. What is done on the table is
    // not in it: it is large, and would cost the other works some instructions.
    long run(const Work& work, Random& random, std::size_t worker) override {
        if (is_on_table(work.kind)) [[unlikely]]
            return run(draw_task(work, random, worker));
        return perform(way_, draw_task(work, random, worker));
    }

private:
    Way way_;
};

enum class Whose { ours, others };
enum class Workers { processes, threads };
struct NamedWay {
    const char* name;
    Whose whose;
    std::unique_ptr<Contestant> (*make)();
    Workers workers = Workers::processes;
};
// All of them, ours first; without those whose library was not there when this was compiled.
std::span<const NamedWay> all_ways();

// Ours. Each has a region of its own.
std::unique_ptr<Contestant> make_typed();
std::unique_ptr<Contestant> make_direct();
std::unique_ptr<Contestant> make_calls();
std::unique_ptr<Contestant> make_vectored();
std::unique_ptr<Contestant> make_mapped();
std::unique_ptr<Contestant> make_warm();
// The same with a region of that name and size.
std::unique_ptr<Contestant> make_typed_in(const std::string& region, std::size_t bytes);
std::unique_ptr<Contestant> make_calls_in(const std::string& region, std::size_t bytes);

// Typed transfers between two halves, of one region or in two.
std::unique_ptr<Contestant> make_halves(unsigned regions);

// Others. The mutex is robust and shared between processes. With an undo log, what a killed owner
// left behind can be put in order.
std::unique_ptr<Contestant> make_mutex();
std::unique_ptr<Contestant> make_mutex_undo();
std::unique_ptr<Contestant> make_semaphore(); // System V's, and its shared memory
std::unique_ptr<Contestant> make_boost();     // Boost.Interprocess
std::unique_ptr<Contestant> make_libitm();    // between threads only
std::unique_ptr<Contestant> make_lmdb();
std::unique_ptr<Contestant> make_sqlite();

// The number of a process in names that have to differ, and one that differs in it.
std::string own_name(const char* way);

} // namespace stm::bench
