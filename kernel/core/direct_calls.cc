// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/direct_calls.hpp"

#include "kernel/core/journals.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::i32;
using runtime::kSuccess;
using runtime::Result;
using runtime::Status;

namespace {

[[nodiscard]] Status check(const Request& request) noexcept {
    if (request.handle.region().journals() == nullptr)
        return Error::not_supported;
    return (request.handle.access() & STM_ACCESS_WRITE) != 0 ? Status(kSuccess)
                                                             : Status(Error::bad_descriptor);
}

} // namespace

Result<i32> claim_journal(const Request& request, stm_claim_journal& argument) noexcept {
    if (argument.flags != 0 || argument.reserved != 0 ||
        stm_linux_is_program_address(argument.resume) == 0)
        return Error::invalid;
    const Status checked = check(request);
    if (!checked.ok())
        return checked.error();
    const Result<Journals::Claim> claim =
        request.handle.region().journals()->claim(request.handle, argument.resume);
    if (!claim.ok())
        return claim.error();
    argument.owner = claim->owner;
    argument.offset = claim->slot * STM_JOURNAL_BYTES;
    argument.outcome = claim->outcome;
    return done(answer(request, argument));
}

// Who may only read waits for a commit, too.
Result<i32> settle_stripe(const Request& request) noexcept {
    Journals* const journals = request.handle.region().journals();
    if (journals == nullptr)
        return Error::not_supported;
    return done(journals->settle(request.argument));
}

Result<i32> wake_waiting(const Request& request) noexcept {
    const Status checked = check(request);
    if (!checked.ok())
        return checked.error();
    Versions& versions = request.handle.region().versions();
    if (const protocol::WaitMask mask = versions.wait_filter.awaited(request.argument); mask != 0)
        versions.readers.wake(mask);
    versions.changed_directly();
    return 0;
}

} // namespace stm::kernel
