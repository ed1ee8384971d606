// SPDX-License-Identifier: GPL-2.0
// The module's core against a simulated Linux: any sequence of calls, by four threads of three
// processes, with services that fail and other calls in the middle.
//
// What is checked: the rules of services.h (by the simulation), that every result is one that
// <stm/ioctl.h> documents, that the contents of regions are those of the model in history.hpp, that
// the books are right, and that nothing is left at the end.
#include "tests/fuzz/core/steps.hpp"

#include <array>
#include <optional>

namespace stm::fuzz {

using simulated::As;
using simulated::AsThread;
using simulated::FailPoint;
using simulated::Interleave;
using simulated::Undisturbed;

namespace {

constexpr std::size_t kMostSteps = 200;

struct Meaning {
    const char* name;
    Act act;
};

// Of a step's first byte. The order is that of the inputs in corpus/: what is new takes the place
// of something that is there more than once.
constexpr std::array<Meaning, 32> kMeanings{{
    {"open a node", open_node},
    {"OPEN", open_region},
    {"typed wait", typed_wait},
    {"close", close_file},
    {"close a descriptor", close_descriptor},
    {"read", read},
    {"NAME_PLACE, or PLACES", places},
    {"typed read", typed_read},
    {"write", write},
    {"VECTOR", vector},
    {"typed commit", typed_commit},
    {"SET_SIZE", set_size},
    {"INFO", info},
    {"ATTACHMENTS", attachments},
    {"DESTROY", destroy},
    {"START", start},
    {"START", start},
    {"COMMIT", commit},
    {"COMMIT", commit},
    {"CANCEL", cancel},
    {"VALIDATE", validate},
    {"WAIT", wait},
    {"TRANSACTION", transaction_info},
    {"STATISTICS", statistics},
    {"map", map},
    {"load", load},
    {"store", store},
    {"unmap", unmap},
    {"end", end},
    {"timers, or any request", timers_or_any_request},
    {"VERSION, or look", version_or_look},
    {"change settings or rights", change_settings_or_rights},
}};

// The steps of one input, one after the other or one inside of another.
class Play {
public:
    Play(World& world, Input& input) : world_(world), input_(input) {}

    void run() {
        Step step;
        for (std::size_t count = 0; count < kMostSteps && input_.next(step); ++count) {
            as_its_actor(step, [&] { disturbed(step); });
            STM_FUZZ_EXPECT(simulated::live().held_locks == 0);
            if (count % 32 == 31) {
                const Undisturbed quiet;
                world_.check_books();
            }
        }
    }

private:
    template <typename Action>
    void as_its_actor(const Step& step, Action action) {
        const std::size_t who = step.who % kActors;
        Actor& actor = world_.actors[who];
        if (actor.calls != 0)
            return; // it is in the middle of a call
        world_.who = who;
        ++actor.calls;
        {
            const As caller(*world_.processes[actor.process]);
            const AsThread thread(*actor.thread);
            world_.disturbed = false;
            action();
            simulated::take_signals();
        }
        --actor.calls;
    }

    // With a service that fails in it, and the next step in the middle, if it says so.
    void disturbed(const Step& step) {
        Step inner;
        const bool between = step.interleave != 0 && input_.next(inner);
        const simulated::Sleepless quick;
        std::optional<Interleave> interleave;
        std::optional<FailPoint> fail;
        if (between)
            interleave.emplace(step.interleave, [&] {
                const std::size_t outer = world_.who;
                as_its_actor(inner, [&] { act(inner); });
                world_.who = outer;
                world_.disturbed = true;
            });
        if (step.fail != 0)
            fail.emplace(step.fail);
        world_.fail = fail ? &*fail : nullptr;
        act(step);
        world_.fail = nullptr;
    }

    void act(const Step& step) {
        const std::size_t place = world_.pick(step.object);
        const Meaning& meaning = kMeanings[step.what % kMeanings.size()];
        File* const file = world_.files[place].get();
        trace("step %u by thread %zu on file %zu (fail %u, interleave %u): %s\n",
              unsigned{step.what} % 32, world_.who, place, step.fail, step.interleave,
              meaning.name);
        ++file->calls;
        meaning.act(world_, step, place);
        if (world_.files[place].get() == file) // it may have been closed
            --file->calls;
    }

    World& world_;
    Input& input_;
};

} // namespace
} // namespace stm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const stm::simulated::Live before = stm::simulated::live();
    {
        stm::fuzz::World world;
        stm::fuzz::Input input(data, size);
        stm::fuzz::Play(world, input).run();
    }
    STM_FUZZ_EXPECT(stm::simulated::live() == before);
    return 0;
}
