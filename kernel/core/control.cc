// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/control.hpp"

#include "kernel/core/direct_calls.hpp"
#include "kernel/core/opening.hpp"
#include "kernel/core/reports.hpp"
#include "kernel/core/request.hpp"
#include "kernel/core/transactions.hpp"
#include "kernel/core/typed_calls.hpp"
#include "kernel/core/uapi.hpp"
#include "kernel/core/vectored_calls.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/assert.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::i32;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::usize;

namespace {

// -- Transactions: from a request to the function that does it --

Result<i32> start_transaction(const Request& request) noexcept {
    const Status prepared = request.registry.prepare_use(request.handle);
    if (!prepared.ok())
        return prepared.error();
    return start(request.handle, request.argument);
}

Result<i32> commit_transaction(const Request& request) noexcept {
    return done(commit(request.handle, request.argument));
}

Result<i32> cancel_transaction(const Request& request) noexcept {
    return done(cancel(request.handle, request.argument));
}

Result<i32> validate_transaction(const Request& request) noexcept {
    return done(validate(request.handle, request.argument));
}

Result<i32> wait_for_change(const Request& request, stm_wait& argument) noexcept {
    if ((argument.flags & ~u32{STM_WAIT_FLAGS}) != 0)
        return Error::invalid;
    return done(wait(request.handle, argument.timeout_ns, argument.flags));
}

Result<i32> set_dump(const Request& request) noexcept {
    if (request.argument > 1)
        return Error::invalid;
    request.handle.set_dumped(request.argument != 0 ? Handle::Dumped::yes : Handle::Dumped::no);
    return i32{0};
}

Result<i32> attach_cell(const Request& request, stm_cell& argument) noexcept {
    const auto kind =
        (argument.flags & STM_CELL_WARM) != 0 ? StartCell::Kind::warm : StartCell::Kind::start;
    if ((argument.flags & ~u32{STM_CELL_WARM}) != 0 || argument.reserved != 0 ||
        argument.signal > kMaxSignal || argument.address % StartOffers::size_of(kind) != 0)
        return Error::invalid;
    const u64 closes = request.handle.descriptors().closes();
    Context* const context = request.handle.settled_context();
    if (context == nullptr)
        return Error::invalid;
    return done(request.handle.offers().attach_cell(*context, argument.address, kind,
                                                    static_cast<int>(argument.signal), closes));
}

// -- The table --

// A request whose argument is the address of a structure begins with that structure's size, as the
// caller knows it: at least what it had in its first version.
struct Row {
    u32 number = 0;
    u32 size = 0; // of the structure in bytes; 0: the argument is a number, and nothing is copied
    u32 first_size = 0;
    u32 read_size = 0; // what is behind that is an answer alone: the function finds zeros there
    Result<i32> (*run)(const Request& request, void* structure) noexcept = nullptr;
};

template <Result<i32> (*kFunction)(const Request&) noexcept>
constexpr Row with_number(u32 number) noexcept {
    return {number, 0, 0, 0,
            [](const Request& request, void*) noexcept { return kFunction(request); }};
}

template <typename Structure, Result<i32> (*kFunction)(const Request&, Structure&) noexcept>
constexpr Row with(u32 number, u32 first_size = sizeof(Structure),
                   u32 read_size = sizeof(Structure)) noexcept {
    return {number, sizeof(Structure), first_size, read_size,
            [](const Request& request, void* structure) noexcept {
                return kFunction(request, *static_cast<Structure*>(structure));
            }};
}

constexpr Row kRows[] = {
    with<stm_version, tell_version>(STM_IOC_VERSION),
    with<stm_open, open_region>(STM_IOC_OPEN),
    with<stm_set_size, set_size>(STM_IOC_SET_SIZE),
    with<stm_info, tell_info>(STM_IOC_INFO, __builtin_offsetof(stm_info, segment_bytes)),
    with<stm_attachments, tell_attachments>(STM_IOC_ATTACHMENTS),
    with<stm_place, name_place>(STM_IOC_NAME_PLACE),
    with<stm_places, tell_places>(STM_IOC_PLACES),
    with_number<set_dump>(STM_IOC_DUMP),
    with<stm_destroy, destroy_region>(STM_IOC_DESTROY),
    with<stm_change_segment, change_segment>(STM_IOC_CHANGE_SEGMENT),
    with<stm_detach_segment, detach_segment>(STM_IOC_DETACH_SEGMENT),
    with_number<start_transaction>(STM_IOC_START),
    with_number<commit_transaction>(STM_IOC_COMMIT),
    with_number<cancel_transaction>(STM_IOC_CANCEL),
    with_number<validate_transaction>(STM_IOC_VALIDATE),
    with<stm_wait, wait_for_change>(STM_IOC_WAIT),
    with<stm_transaction, tell_transaction>(STM_IOC_TRANSACTION,
                                            __builtin_offsetof(stm_transaction, has_place)),
    with<stm_statistics, tell_statistics>(STM_IOC_STATISTICS,
                                          __builtin_offsetof(stm_statistics, load_faults)),
    with<stm_cell, attach_cell>(STM_IOC_CELL),
    with<stm_commit_sets, commit_given_sets>(STM_IOC_COMMIT_SETS, sizeof(stm_commit_sets),
                                             kCommitSetsRead),
    with<stm_wait_sets, wait_for_given_sets>(STM_IOC_WAIT_SETS),
    with<stm_vector, access_vector>(STM_IOC_VECTOR),
    with<stm_claim_journal, claim_journal>(STM_IOC_JOURNAL),
    with_number<settle_stripe>(STM_IOC_SETTLE),
    with_number<wake_waiting>(STM_IOC_WAKE),
};

// The rows at the places of their numbers, and room for the largest of their structures.
constexpr u32 kPlaces = 32;
constexpr u32 place_of(u32 number) noexcept {
    return number % kPlaces;
}

struct Table {
    Row rows[kPlaces];
    u32 largest = 0;

    consteval Table() noexcept {
        for (const Row& row : kRows) {
            Row& place = rows[place_of(row.number)];
            // While compiling: a check that fails is an error then.
            runtime::expects(place.run == nullptr, "two requests have one number");
            runtime::expects(row.size % sizeof(u64) == 0 && row.size <= STM_MOST_WORDS * 8 &&
                                 row.read_size % sizeof(u64) == 0,
                             "a structure is no whole number of words");
            place = row;
            largest = runtime::max(largest, row.size);
        }
    }
};
constexpr Table kTable;

[[gnu::always_inline]] inline void clear_answer(const Row& row, void* structure) noexcept {
    auto* const words = static_cast<u64*>(structure);
    for (u32 word = row.read_size / sizeof(u64); word < row.size / sizeof(u64); ++word)
        words[word] = 0;
}

// Any size up to a page is some version's; a larger one is no structure of ours.
[[gnu::noinline]] Status copy_other_version_in(const Row& row, u64 address, void* structure,
                                               u32 given) noexcept {
    if (given < row.first_size)
        return Error::invalid;
    if (given > kPageBytes)
        return Error::too_big;
    const Status copied =
        runtime::status_from_errno(stm_linux_copy_struct_in(structure, row.size, address, given));
    clear_answer(row, structure);
    return copied;
}

// Sets all of the structure. No more is read than the caller says that there is.
Status copy_in(const Row& row, u64 address, void* structure, u32& given) noexcept {
    const Status copied = runtime::status_from_errno(stm_linux_copy_sized_in(
        static_cast<__u64*>(structure), address, row.read_size / sizeof(u64), row.size, &given));
    if (!copied.ok())
        return copied;
    if (given != row.size) [[unlikely]]
        return copy_other_version_in(row, address, structure, given);
    clear_answer(row, structure);
    return copied;
}

// Not inlined: a request with a number needs no room for a structure on its stack.
[[gnu::noinline]] Result<i32> run_with_structure(const Row& row, Registry& registry, Handle& handle,
                                                 u64 address) noexcept {
    // copy_in() fills as much of it as the request has. Some kernels would fill all of it with
    // zeros before.
    alignas(u64) unsigned char structure[kTable.largest] __attribute__((uninitialized));
    u32 given = 0;
    const Status copied = copy_in(row, address, structure, given);
    if (!copied.ok())
        return copied.error();
    return row.run(Request{registry, handle, address, given}, structure);
}

} // namespace

[[gnu::noinline]] Result<i32> control_by_table(Registry& registry, Handle& handle, u32 number,
                                               u64 argument) noexcept {
    const u32 place = place_of(number);
    if (kTable.rows[place].run == nullptr || kTable.rows[place].number != number)
        return Error::no_tty;
    const Row& row = kTable.rows[place];
    if (row.size == 0)
        return row.run(Request{registry, handle, argument, 0}, nullptr);
    return run_with_structure(row, registry, handle, argument);
}

// Not inlined, so that what is chosen in control() costs the others nothing but a comparison.
[[gnu::noinline]] static Result<i32> start_at_once(Registry& registry, Handle& handle,
                                                   u64 argument) noexcept {
    return start_transaction(Request{registry, handle, argument, 0});
}
[[gnu::noinline]] static Result<i32> commit_at_once(Handle& handle, u64 argument) noexcept {
    return done(commit(handle, argument));
}

Result<i32> control(Registry& registry, Handle& handle, u32 number, u64 argument) noexcept {
    // Those that are to cost least.
    if (number == STM_IOC_COMMIT_SETS)
        return commit_given_sets_at(registry, handle, argument);
    if (number == STM_IOC_START)
        return start_at_once(registry, handle, argument);
    if (number == STM_IOC_COMMIT)
        return commit_at_once(handle, argument);
    return control_by_table(registry, handle, number, argument);
}

} // namespace stm::kernel
