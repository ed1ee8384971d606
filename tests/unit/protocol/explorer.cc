// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/protocol/explorer.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ucontext.h>

namespace stm::test {

namespace {

bool clash(const Touch& a, const Touch& b) {
    using Mode = Touch::Mode;
    if (a.mode == Mode::none || b.mode == Mode::none || a.object != b.object)
        return false;
    // Begin and end of transactions: who ended before whom began is all that matters.
    if (a.mode == Mode::begin || a.mode == Mode::end)
        return a.mode != b.mode;
    if (a.mode == Mode::add && b.mode == Mode::add)
        return false;
    return a.mode != Mode::read || b.mode != Mode::read;
}

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr std::size_t kMostPrograms = 6;

} // namespace

bool dependent(const Access& a, const Access& b) {
    return clash(a.first, b.first) || clash(a.first, b.second) || clash(a.second, b.first) ||
           clash(a.second, b.second);
}

struct Explorer::Implementation {
    struct Fiber {
        ucontext_t context;
        std::unique_ptr<char[]> stack;
        std::function<void()> program;
        bool done = false;
        Access next;                 // what it will touch when it goes on
        std::function<bool()> ready; // whether it can go on
    };
    using Mask = std::uint32_t;
    using Clock = std::array<std::size_t, kMostPrograms>;

    // A state on the path, and the step that was taken from it.
    struct Node {
        Mask enabled = 0;
        Mask backtrack = 0; // to be explored from here
        Mask done = 0;      // explored
        Mask sleep = 0;     // need not be explored: equal to something explored already
        int chosen = -1;
        Access access; // of the step taken
        Clock clock{}; // of the step taken: what happened before it
    };

    static inline Implementation* active = nullptr;

    Reduction reduction;
    ucontext_t scheduler;
    std::vector<Fiber> fibers;
    int running = -1;
    std::vector<Node> path;
    std::size_t replayed = 0; // so many nodes of the path are there from the last execution
    std::array<Clock, kMostPrograms> clocks{};
    Report report;

    static void enter() {
        Implementation& self = *active;
        Fiber& fiber = self.fibers[static_cast<std::size_t>(self.running)];
        fiber.program();
        fiber.done = true;
        swapcontext(&fiber.context, &self.scheduler);
    }

    void resume(int program) {
        running = program;
        swapcontext(&scheduler, &fibers[static_cast<std::size_t>(program)].context);
        running = -1;
    }

    void start(Programs programs) {
        if (programs.size() > kMostPrograms)
            std::abort();
        fibers.resize(std::max(fibers.size(), programs.size()));
        for (std::size_t i = 0; i < fibers.size(); ++i) {
            Fiber& fiber = fibers[i];
            fiber.done = i >= programs.size();
            if (fiber.done)
                continue;
            fiber.program = std::move(programs[i]);
            fiber.ready = {};
            if (!fiber.stack)
                fiber.stack = std::make_unique<char[]>(kStackBytes);
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = kStackBytes;
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, &Implementation::enter, 0);
            resume(static_cast<int>(i)); // up to its first step
        }
    }

    Mask enabled_now() {
        Mask mask = 0;
        for (std::size_t i = 0; i < fibers.size(); ++i) {
            if (!fibers[i].done && (!fibers[i].ready || fibers[i].ready()))
                mask |= Mask{1} << i;
        }
        return mask;
    }

    bool all_done() const {
        return std::all_of(fibers.begin(), fibers.end(),
                           [](const Fiber& fiber) { return fiber.done; });
    }

    // Before the step at depth: where on the path would another program have had to go first, so
    // that the pending steps meet in another order?
    void find_races(std::size_t depth) {
        for (std::size_t p = 0; p < fibers.size(); ++p) {
            if (fibers[p].done)
                continue;
            for (std::size_t i = depth; i-- > 0;) {
                Node& node = path[i];
                const auto by = static_cast<std::size_t>(node.chosen);
                if (by == p || !dependent(node.access, fibers[p].next))
                    continue;
                // The latest dependent step; it counts if it did not have to come first.
                if (i + 1 > clocks[p][by]) {
                    const Mask bit = Mask{1} << p;
                    node.backtrack |= (node.enabled & bit) != 0 ? bit : node.enabled;
                }
                break;
            }
        }
    }

    // The node at depth, where the path has none yet. False: nothing to explore from there.
    bool extend(std::size_t depth) {
        Node node;
        node.enabled = enabled_now();
        if (reduction == Reduction::none) {
            node.backtrack = node.enabled;
        } else if (depth != 0) {
            const Node& before = path[depth - 1];
            const Mask asleep =
                (before.sleep | before.done) & ~(Mask{1} << static_cast<unsigned>(before.chosen));
            for (std::size_t i = 0; i < fibers.size(); ++i) {
                if ((asleep >> i & 1) != 0 && !fibers[i].done &&
                    !dependent(fibers[i].next, before.access))
                    node.sleep |= Mask{1} << i;
            }
        }
        const Mask choices = node.enabled & ~node.sleep;
        if (choices == 0)
            return false;
        node.chosen = __builtin_ctz(choices);
        node.backtrack |= Mask{1} << static_cast<unsigned>(node.chosen);
        path.push_back(node);
        return true;
    }

    void take_step(std::size_t depth) {
        Node& node = path[depth];
        const auto p = static_cast<std::size_t>(node.chosen);
        node.access = fibers[p].next;
        // What happened before this step: the same program's steps, and all dependent ones.
        Clock clock = clocks[p];
        for (std::size_t i = 0; i < depth; ++i) {
            if (dependent(path[i].access, node.access)) {
                for (std::size_t k = 0; k < kMostPrograms; ++k)
                    clock[k] = std::max(clock[k], path[i].clock[k]);
            }
        }
        clock[p] = depth + 1;
        clocks[p] = clock;
        node.clock = clock;
        ++report.steps;
        resume(node.chosen);
    }

    enum class End { complete, pruned, stuck };

    End execute() {
        clocks = {};
        for (std::size_t depth = 0;; ++depth) {
            if (all_done())
                return End::complete;
            if (depth >= replayed) {
                if (reduction == Reduction::partial_order)
                    find_races(depth);
                if (enabled_now() == 0)
                    return End::stuck;
                if (!extend(depth))
                    return finish_anyhow();
            }
            take_step(depth);
            report.longest = std::max(report.longest, depth + 1);
        }
    }

    // The execution is equal to an earlier one: to its end in any order, so that every fiber
    // returns and destroys what is on its stack.
    End finish_anyhow() {
        while (!all_done()) {
            const Mask mask = enabled_now();
            if (mask == 0)
                return End::stuck;
            resume(__builtin_ctz(mask));
        }
        return End::pruned;
    }

    // Chooses the next execution. False: there is none.
    bool advance() {
        while (!path.empty()) {
            Node& node = path.back();
            node.done |= Mask{1} << static_cast<unsigned>(node.chosen);
            const Mask rest = node.backtrack & ~node.done & ~node.sleep;
            if (rest != 0) {
                node.chosen = __builtin_ctz(rest);
                replayed = path.size();
                return true;
            }
            path.pop_back();
        }
        return false;
    }
};

Explorer::Explorer(Reduction reduction) : implementation_(std::make_unique<Implementation>()) {
    implementation_->reduction = reduction;
}

Explorer::~Explorer() = default;

void Explorer::step(const Access& access, std::function<bool()> ready) {
    Implementation* const self = Implementation::active;
    // Outside of an exploration (the judge looks at the region) nothing is scheduled.
    if (self == nullptr || self->running < 0)
        return;
    Implementation::Fiber& fiber = self->fibers[static_cast<std::size_t>(self->running)];
    fiber.next = access;
    fiber.ready = std::move(ready);
    swapcontext(&fiber.context, &self->scheduler);
    fiber.ready = {};
}

Explorer::Report Explorer::explore(const Setup& setup, const Judge& judge,
                                   std::uint64_t most_executions) {
    Implementation& self = *implementation_;
    Implementation::active = &self;
    self.report = {};
    self.path.clear();
    self.replayed = 0;
    for (bool more = true; more;) {
        if (self.report.executions + self.report.pruned == most_executions)
            break;
        self.start(setup());
        const auto end = self.execute();
        if (end == Implementation::End::pruned)
            ++self.report.pruned;
        else
            ++self.report.executions;
        if (end == Implementation::End::stuck)
            self.report.failure = "nobody can go on";
        else if (end == Implementation::End::complete)
            self.report.failure = judge();
        if (!self.report.failure.empty()) {
            for (const Implementation::Node& node : self.path)
                self.report.schedule.push_back(node.chosen);
            break;
        }
        more = self.advance();
        self.report.complete = !more;
    }
    Implementation::active = nullptr;
    return self.report;
}

int Explorer::running() {
    return Implementation::active == nullptr ? -1 : Implementation::active->running;
}

} // namespace stm::test
