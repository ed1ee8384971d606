// SPDX-License-Identifier: GPL-2.0
// Steps that end threads and programs.
#include "tests/fuzz/core/steps.hpp"

#include <utility>

namespace stm::fuzz {

namespace {

void end_actor(World& world, std::size_t actor) {
    world.actors[actor].thread->end();
    world.finished.push_back(std::move(world.actors[actor].thread));
    world.actors[actor].thread = std::make_unique<simulated::OtherThread>();
    world.orphan(actor);
}

// But those that are in the middle of a call.
void end_other_threads(World& world) {
    for (std::size_t actor = 0; actor < kActors; ++actor) {
        const Actor& one = world.actors[actor];
        if (actor != world.who && one.process == world.process() && one.calls == 0)
            end_actor(world, actor);
    }
}

void after_end() {
    const simulated::Undisturbed quiet;
    // What the dead stored leaves the mappings within watchdog_ms.
    simulated::run_timers();
}

void end_thread(World& world) {
    end_actor(world, world.who);
    after_end();
}

void exec(World& world) {
    end_other_threads(world);
    simulated::exec();
    world.orphan(world.who);
    after_end();
}

// Those who share its files by fork go on with them; its next threads are of another process.
void exit(World& world) {
    end_other_threads(world);
    const Step all{};
    for (std::size_t place = 0; place < world.files.size(); ++place) {
        if (world.files[place] && !world.files[place]->released)
            unmap(world, all, place);
    }
    // An index: what comes in the middle may open files.
    for (std::size_t place = 0; place < world.files.size(); ++place) {
        if (!world.files[place] || world.files[place]->released)
            continue;
        world.lose(*world.files[place]);
        world.forget(*world.files[place], world.who);
    }
    end_thread(world);
}

} // namespace

void end(World& world, const Step& step, std::size_t) {
    if ((step.flags & 1) != 0)
        exec(world);
    else if ((step.flags & 2) != 0)
        exit(world);
    else
        end_thread(world);
}

} // namespace stm::fuzz
