// SPDX-License-Identifier: LGPL-2.1-or-later
#include "futile.hpp"

#include "give_up.hpp"

namespace stm::library {
namespace {

constexpr unsigned kMost = 100;

// Of a thread that commits what it never began.
[[gnu::tls_model("initial-exec")]] constinit thread_local Futile without_context = {};

} // namespace

void count_futile_commit(Context* context, int fd, int error) {
    Futile& futile = context != nullptr ? context->futile : without_context;
    const std::uint64_t site = context != nullptr ? context->registers.rip : 0;
    if (futile.site != site)
        futile = {0, 0, site};
    futile.error = error;
    if (++futile.count >= 2 * kMost)
        give_up("stm: stm_commit(%d) has failed %u times in a row: %s\n", fd, futile.count,
                why_never(error));
}

void forget_futile_commits(Context* context) {
    without_context.count = 0;
    if (context != nullptr)
        context->futile.count = 0;
}

int futile_error(Context& context, const Registers& registers) {
    if (context.futile.count < kMost || context.futile.site != registers.rip)
        return 0;
    context.futile.count = 0;
    return context.futile.error;
}

void count_start() {
    without_context.count = 0;
}

} // namespace stm::library
