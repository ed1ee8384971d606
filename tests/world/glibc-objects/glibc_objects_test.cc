// SPDX-License-Identifier: GPL-2.0
// Every process-shared object of the C library gives in a plain region what it gives in a memfd:
// the same random calls by processes at different addresses, some of which are killed, compared
// call by call. After each call all processes have answered or sleep in a futex, so that the
// results are the same each time.
#include "actor.hpp"
#include "guest.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <sched.h>

namespace stm::world {
namespace {

using test::Mapping;
using test::Region;

constexpr int kActors = 4;
constexpr std::size_t kBytes = sizeof(Memory);

// One of the two: its memory, its processes, and what they have said since the last look.
class Side {
public:
    Side(int fd, const Object& object, std::uintptr_t base)
        : fd_(fd), object_(object), base_(base), mapping_(fd, kBytes) {
        for (int actor = 0; actor < kActors; ++actor)
            actors_.push_back(nullptr);
    }

    [[nodiscard]] bool ok() const { return mapping_.ok(); }
    int make_object() { return world::make(*mapping_.at<Memory>(), object_); }

    // Until everybody has answered or sleeps; false if that takes too long.
    bool settle() {
        const auto stands_still = [&] {
            bool all = true;
            for (int at = 0; at < kActors; ++at) {
                Actor* actor = actors_[at].get();
                if (actor == nullptr || !actor->is_alive() || !actor->doing())
                    continue;
                const int action = *actor->doing();
                if (const std::optional<int> result = actor->result()) {
                    note(at, action, *result);
                    all = false;
                } else if (ends_by_itself(action) || !actor->is_asleep()) {
                    all = false;
                }
            }
            return all;
        };
        const auto end = std::chrono::steady_clock::now() +
                         std::chrono::milliseconds(static_cast<long>(20000 * test::time_scale()));
        for (int round = 0; std::chrono::steady_clock::now() < end; ++round) {
            if (stands_still())
                return true;
            if (round < 20)
                ::sched_yield();
            else
                ::usleep(300);
        }
        return false;
    }

    // Whoever sleeps in a condition is as good as the others that do; which one a signal wakes is
    // not promised. So processes are counted off: those that can be told something, or not.
    [[nodiscard]] int place_of(int wanted, bool idle) {
        std::vector<int> fitting;
        for (int at = 0; at < kActors; ++at)
            if (is_idle(at) == idle)
                fitting.push_back(at);
        return fitting.empty() ? -1 : fitting[static_cast<std::size_t>(wanted) % fitting.size()];
    }
    void tell(int at, int action) { actor(at).tell(action); }
    void kill(int at) { actors_[at].reset(); }

    [[nodiscard]] std::string who_does_what() const {
        std::string text;
        for (int at = 0; at < kActors; ++at)
            if (!is_idle(at))
                text += std::to_string(at) + " " + name_of(*actors_[at]->doing()) +
                        (actors_[at]->is_asleep() ? " (asleep); " : "; ");
        return text;
    }

    // What was said, without its order.
    std::string take_notes() {
        std::sort(notes_.begin(), notes_.end());
        std::string text;
        for (const std::string& note : notes_)
            text += note + "; ";
        notes_.clear();
        int asleep = 0;
        for (int at = 0; at < kActors; ++at)
            asleep += is_idle(at) ? 0 : 1;
        return text + std::to_string(asleep) + " asleep";
    }

private:
    bool is_idle(int at) const {
        return actors_[at] == nullptr || !actors_[at]->is_alive() || !actors_[at]->doing();
    }
    Actor& actor(int at) {
        if (actors_[at] == nullptr || !actors_[at]->is_alive())
            actors_[at] = std::make_unique<Actor>(fd_, kBytes, object_,
                                                  base_ + (static_cast<std::uintptr_t>(at) << 40));
        return *actors_[at];
    }
    [[nodiscard]] const char* name_of(int action) const {
        return action == kUnmap   ? "unmap"
               : action == kLeave ? "leave"
                                  : actions_of(object_.what)[static_cast<std::size_t>(action)].name;
    }
    [[nodiscard]] bool ends_by_itself(int action) const {
        return action < 0 || actions_of(object_.what)[static_cast<std::size_t>(action)].sleep ==
                                 Sleep::for_a_time;
    }
    void note(int at, int action, int result) {
        const std::string who = object_.what == What::condition ? "" : std::to_string(at) + " ";
        notes_.push_back(who + name_of(action) + " = " + std::to_string(result));
    }

    int fd_;
    const Object& object_;
    std::uintptr_t base_;
    Mapping mapping_;
    std::vector<std::unique_ptr<Actor>> actors_;
    std::vector<std::string> notes_;
};

class GlibcObjects : public testing::TestWithParam<Object> {};

TEST_P(GlibcObjects, GiveWhatTheyGiveInAMemfd) {
    const char* wanted = std::getenv("STM_WORLD_STEPS");
    const int steps = wanted != nullptr ? std::atoi(wanted) : 10;
    std::minstd_rand random(1);
    const auto below = [&](std::size_t limit) { return static_cast<int>(random() % limit); };
    const Object& object = GetParam();
    const auto& actions = actions_of(object.what);
    for (int done = 0; done < steps;) {
        Region region("objects", kBytes);
        test::Fd memfd(::memfd_create("objects", MFD_CLOEXEC));
        ASSERT_EQ(::ftruncate(memfd.get(), kBytes), 0);
        Side sides[2] = {{memfd.get(), object, 0x1000'0000'0000},
                         {region.fd(), object, 0x2000'0000'0000}};
        ASSERT_TRUE(sides[0].ok() && sides[1].ok());
        const int made = sides[0].make_object();
        ASSERT_EQ(sides[1].make_object(), made);
        if (made != 0)
            return; // the C library has no such object
        std::string story;
        for (int length = 10 + below(30); length > 0; --length, ++done) {
            const int choice = below(20);
            // A condition whose waiter was killed may make others wait forever, in any memory.
            const bool idle = choice > 1 || object.what == What::condition;
            const int which = below(1000);
            const int action = choice == 2   ? static_cast<int>(kLeave)
                               : choice == 3 ? static_cast<int>(kUnmap)
                                             : below(actions.size());
            for (Side& side : sides) {
                const int at = side.place_of(which, idle);
                if (at < 0)
                    continue;
                if (idle && choice != 4)
                    side.tell(at, action);
                else
                    side.kill(at);
                ASSERT_TRUE(side.settle())
                    << "somebody neither answers nor sleeps: " << side.who_does_what() << "\n"
                    << story;
            }
            const std::string expected = sides[0].take_notes();
            story += expected + "\n";
            ASSERT_EQ(sides[1].take_notes(), expected) << "after\n" << story;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, GlibcObjects, testing::ValuesIn(all_objects()),
                         [](const auto& object) { return object.param.name; });

} // namespace
} // namespace stm::world
