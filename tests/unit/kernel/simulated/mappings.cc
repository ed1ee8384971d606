// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/identity.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"
#include "tests/unit/kernel/simulated/view.hpp"

#include <mutex>

namespace stm::simulated {

stm_identity* identity_of(const stm_view* view) {
    return view->identity;
}

Mapped::Mapped(stm_view* view, const stm_mapping& mapping) : view_(view) {
    const std::lock_guard held(view->lock);
    key_ = view->next_mapping++;
    view->mappings.emplace(key_, mapping);
}

Mapped::~Mapped() {
    const std::lock_guard held(view_->lock);
    view_->mappings.erase(key_);
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

stm_view* stm_linux_view_create(stm_identity* identity) {
    const Service service("view_create", Context::no_core_lock, Failure::allocation);
    if (service.fails())
        return nullptr;
    counters.views.fetch_add(1, kRelaxed);
    identity->views.fetch_add(1, kRelaxed);
    auto* view = new stm_view;
    view->identity = identity;
    return view;
}

void stm_linux_view_destroy(stm_view* view) {
    const Service service("view_destroy", Context::no_core_lock);
    expect(view->mappings.empty() && view->pages.empty(), "a view ends before its mappings");
    view->identity->views.fetch_sub(1, kRelaxed);
    counters.views.fetch_sub(1, kRelaxed);
    delete view;
}

__u32 stm_linux_view_mappings(stm_view* view,
                              void (*visit)(void* context, const stm_mapping* mapping),
                              void* context) {
    const Service service("view_mappings", Context::may_sleep);
    const std::lock_guard held(view->lock);
    if (visit != nullptr) {
        ++thread.atomic_context;
        for (const auto& [key, mapping] : view->mappings)
            visit(context, &mapping);
        --thread.atomic_context;
    }
    return static_cast<__u32>(view->mappings.size());
}

// The address spaces here have no mappings of segments.
int stm_linux_segment_detach(__u64 /*address*/) {
    const Service service("segment_detach", Context::no_core_lock);
    return -EINVAL;
}

} // extern "C"
