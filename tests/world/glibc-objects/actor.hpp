// SPDX-License-Identifier: GPL-2.0
// Processes that do to an object what they are told, and may sleep in it.
#pragma once

#include "objects.hpp"

#include <optional>
#include <sys/types.h>

namespace stm::world {

// What an actor can do besides the actions of the object.
enum Special : int {
    kUnmap = -1, // its memory, and map it again elsewhere
    kLeave = -2, // exit
};

/** A process that has the memory of a descriptor mapped at an address of its own. */
class Actor {
public:
    Actor(int memory, std::size_t bytes, const Object& object, std::uintptr_t where);
    ~Actor();
    Actor(const Actor&) = delete;
    Actor& operator=(const Actor&) = delete;

    /** Tells it to do an action, by its number, or a Special. */
    void tell(int action);
    /** The number of the action that it is doing, if it does one. */
    [[nodiscard]] std::optional<int> doing() const { return doing_; }
    /** What came of it, if it is done. A process that died by itself says 100000 + its status. */
    std::optional<int> result();
    /** Whether it sleeps in a futex. */
    [[nodiscard]] bool is_asleep() const;
    /** SIGKILL; it is gone afterwards. */
    void kill();
    [[nodiscard]] bool is_alive() const { return pid_ > 0; }

private:
    [[noreturn]] void run(int memory, std::size_t bytes, const Object& object,
                          std::uintptr_t where) const;

    pid_t pid_ = -1;
    int ends_[2] = {-1, -1};
    std::optional<int> doing_;
};

} // namespace stm::world
