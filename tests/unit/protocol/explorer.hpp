// SPDX-License-Identifier: GPL-2.0
// Drives a few programs through every schedule of their steps, deterministically, in one thread.
//
// Each program runs in a fiber of its own, and stops in front of each step that others could
// notice, with a statement of what the step will touch. The explorer then decides who takes the
// next step. An execution is repeated from its start with another decision until there is none
// left (stateless model checking: Godefroid, "Model Checking for Programming Languages using
// VeriSoft", POPL 1997).
//
// Two schedules that differ only in the order of steps which do not touch the same thing end the
// same way. Dynamic partial-order reduction (Flanagan and Godefroid, POPL 2005) with sleep sets
// runs at least one of each such class and, mostly, no more. The memory is sequentially
// consistent; weaker orders are argued in transaction.hpp and left to the thread sanitizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace stm::test {

// What a step touches: up to two objects, named by numbers of the caller's choice. Two steps are
// dependent if they touch the same object in modes that clash.
struct Touch {
    // Additions clash with everything but each other.
    enum class Mode : std::uint8_t { none, read, write, add, begin, end };
    std::uint64_t object = 0;
    Mode mode = Mode::none;
};
struct Access {
    Touch first;
    Touch second;
};
bool dependent(const Access& a, const Access& b);

class Explorer {
public:
    // Called for each execution: builds a fresh world and returns the programs that run in it.
    using Programs = std::vector<std::function<void()>>;
    using Setup = std::function<Programs()>;
    // Called at the end of each execution: an empty string, or what is wrong.
    using Judge = std::function<std::string()>;

    struct Report {
        std::uint64_t executions = 0;
        std::uint64_t pruned = 0; // recognised as equal to an earlier one on the way
        std::uint64_t steps = 0;
        std::size_t longest = 0;
        bool complete = false;     // every schedule was covered
        std::string failure;       // of the first execution that the judge refused
        std::vector<int> schedule; // of that one
    };

    enum class Reduction { none, partial_order };

    explicit Explorer(Reduction reduction = Reduction::partial_order);
    Explorer(const Explorer&) = delete;
    Explorer& operator=(const Explorer&) = delete;
    ~Explorer();

    // Until all schedules are covered, the judge refuses one, or the limit is reached.
    Report explore(const Setup& setup, const Judge& judge, std::uint64_t most_executions);

    // For the programs: stops in front of a step. ready: the step is possible now (a closed gate
    // is not); without it, it always is.
    static void step(const Access& access, std::function<bool()> ready = {});
    // The number of the program that calls; -1: none does.
    static int running();

private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

} // namespace stm::test
