// SPDX-License-Identifier: LGPL-2.1-or-later
// Does something at the end of a scope, unless it is dismissed. So a function undoes its first
// steps when a later one fails.
//
//     ScopeExit unregister([&] { table.remove(*region); });
//     …
//     unregister.dismiss();
#pragma once

#include "runtime/support/utility.hpp"

namespace stm::runtime {

template <typename Action>
class [[nodiscard]] ScopeExit : NonCopyable {
public:
    constexpr explicit ScopeExit(Action action) noexcept : action_(runtime::move(action)) {}
    constexpr ~ScopeExit() {
        if (armed_)
            action_();
    }

    constexpr void dismiss() noexcept { armed_ = false; }

private:
    Action action_;
    bool armed_ = true;
};

} // namespace stm::runtime
