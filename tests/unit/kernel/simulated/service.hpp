// SPDX-License-Identifier: GPL-2.0
// What each service begins with.
#pragma once

#include "tests/unit/kernel/simulated/thread.hpp" // IWYU pragma: export

namespace stm::simulated {

// What a service demands of its caller.
enum class Context {
    any,          // also where nothing may sleep
    may_sleep,    // locks may be held
    may_release,  // only mmap_lock, CONTEXTS and CONTEXT
    may_allocate, // only mmap_lock, CONTEXT (a transaction grows under its own lock) and JOURNALS
    no_core_lock, // none of the core's; mmap_lock may be
    no_lock,      // user memory: its own fault may take any of them
};

// Checks what its caller holds, and is one step of the calling thread.
class Service {
public:
    explicit Service(const char* name, Context context, Failure failure = Failure::none);

    // Whether this call is the one that fails.
    bool fails() const;

private:
    Failure failure_;
};

} // namespace stm::simulated
