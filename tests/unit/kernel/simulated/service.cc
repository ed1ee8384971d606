// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/service.hpp"

#include "tests/unit/kernel/simulated/rules.hpp"

#include <string>

namespace stm::simulated {

namespace {

// Null: the calling thread holds nothing that forbids a call of such a service.
const char* what_forbids(Context context) {
    if (thread.atomic_context != 0 && context != Context::any)
        return " was called where nothing may sleep";
    switch (context) {
    case Context::may_release:
        return thread.holds_lock_but({STM_RANK_CONTEXTS, STM_RANK_CONTEXT, STM_RANK_JOURNALS})
                   ? " was called with a lock held that forbids it"
                   : nullptr;
    case Context::may_allocate:
        return thread.holds_lock_but({STM_RANK_CONTEXT, STM_RANK_JOURNALS})
                   ? " was called with a lock held that forbids it"
                   : nullptr;
    case Context::no_core_lock:
        return thread.holds_core_lock() ? " was called with a lock of the core held" : nullptr;
    case Context::no_lock:
        return thread.held.empty() ? nullptr : " was called with a lock held";
    case Context::any:
    case Context::may_sleep:
        break;
    }
    return nullptr;
}

} // namespace

Service::Service(const char* name, Context context, Failure failure) : failure_(failure) {
    if (const char* reason = what_forbids(context)) [[unlikely]]
        violated(std::string(name) + reason);
    if (thread.undisturbed != 0 || thread.interleaved_step == 0 || !thread.held.empty() ||
        thread.atomic_context != 0)
        return;
    if (++thread.steps == thread.interleaved_step) {
        thread.interleaved = true;
        const Undisturbed quiet;
        thread.action();
    }
}

bool Service::fails() const {
    if (thread.undisturbed != 0 || thread.failing_point == 0)
        return false;
    if (++thread.points != thread.failing_point)
        return false;
    thread.failed = failure_;
    return true;
}

} // namespace stm::simulated
