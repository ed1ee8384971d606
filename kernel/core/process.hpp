// SPDX-License-Identifier: GPL-2.0
// A reference to the process that opened or created something, for listings.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class Process : runtime::NonCopyable {
public:
    // The calling process.
    Process() noexcept : process_(stm_linux_process_current()) {}
    ~Process() { stm_linux_process_put(process_); }

    [[nodiscard]] stm_process* get() const noexcept { return process_; }

private:
    stm_process* const process_;
};

} // namespace stm::kernel
