// SPDX-License-Identifier: GPL-2.0
// The calls of kernel/interface/entry.h: from C to the core's classes and back.
#include "kernel/interface/entry.h"
#include "kernel/interface/counters.h"

#include "kernel/core/uapi.hpp"

#include "kernel/core/control.hpp"
#include "kernel/core/journals.hpp"
#include "kernel/core/mapping_rights.hpp"
#include "kernel/core/plain_calls.hpp"
#include "kernel/core/registry.hpp"
#include "kernel/core/trace.hpp"
#include "kernel/core/transactional_calls.hpp"
#include "kernel/core/transactional_fault.hpp"
#include "kernel/core/windows.hpp"

namespace stm::kernel {
namespace {

using runtime::Result;
using runtime::Status;
using runtime::Unique;

// From stm_core_init() to stm_core_exit().
Registry* the_registry = nullptr;

Handle& handle_of(stm_handle* handle) noexcept {
    return *reinterpret_cast<Handle*>(handle);
}

int give(Result<Unique<Handle>> opened, stm_handle** handle) noexcept {
    if (!opened.ok())
        return runtime::to_errno(opened.error());
    *handle = reinterpret_cast<stm_handle*>(opened->release());
    return 0;
}

// A call that fails was not served.
long count_served(runtime::Atomic<runtime::u64>& calls,
                  const Result<runtime::u64>& bytes) noexcept {
    if (!bytes.ok())
        return runtime::to_errno(bytes.error());
    calls.fetch_add(1, runtime::Order::relaxed);
    return static_cast<long>(*bytes);
}

stm_fault_result traced_fault(const Region& region, const stm_fault& fault,
                              stm_fault_result result) noexcept {
    if (stm_linux_traced() != 0)
        stm_linux_trace_fault(traced(region), fault.address, fault.index * kPageBytes, fault.write,
                              result);
    return result;
}

} // namespace
} // namespace stm::kernel

using namespace stm::kernel;

extern "C" {

int stm_core_init(const stm_settings* settings) {
    auto registry = Registry::create(*settings);
    if (!registry.ok())
        return stm::runtime::to_errno(registry.error());
    the_registry = registry->release();
    return 0;
}

void stm_core_counters(stm_counters* counters) {
    the_registry->describe_all(*counters);
}

void stm_core_exit(void) {
    stm::runtime::destroy(the_registry);
    the_registry = nullptr;
}

int stm_core_open_minor(unsigned int minor, unsigned int access, const stm_node* node,
                        stm_handle** handle) {
    return give(the_registry->open_minor(minor, access, node), handle);
}

void stm_core_flush(stm_handle* handle, const stm_file* file) {
    handle_of(handle).flush(file);
}

void stm_core_release(stm_handle* handle) {
    the_registry->close(Unique<Handle>::adopt(&handle_of(handle)));
}

stm_view* stm_core_view(stm_handle* handle) {
    return handle_of(handle).view().get();
}

long long stm_core_size(stm_handle* handle) {
    const Status prepared = the_registry->prepare_use(handle_of(handle));
    if (!prepared.ok())
        return stm::runtime::to_errno(prepared);
    return static_cast<long long>(handle_of(handle).region().size());
}

long long stm_core_seek(stm_handle* handle, long long position, int hole) {
    const Status prepared = the_registry->prepare_use(handle_of(handle));
    if (!prepared.ok())
        return stm::runtime::to_errno(prepared);
    const Region& region = handle_of(handle).region();
    const auto from = static_cast<stm::runtime::u64>(position);
    if (position < 0 || from >= region.size())
        return stm::runtime::to_errno(stm::runtime::Error::no_address);
    const stm::runtime::u64 pages = region.size() / kPageBytes;
    const auto wanted = hole != 0 ? PageStore::Touched::no : PageStore::Touched::yes;
    const stm::runtime::u64 found = region.pages().next(from / kPageBytes, pages, wanted);
    if (found == pages && hole == 0)
        return stm::runtime::to_errno(stm::runtime::Error::no_address);
    return static_cast<long long>(stm::runtime::max(from, found * kPageBytes));
}

void stm_core_describe(stm_handle* handle, stm_info* info) {
    the_registry->describe(handle_of(handle).region(), *info);
}

long stm_core_read(stm_handle* handle, stm_user_buffer* to, __u64 position) {
    const Status prepared = the_registry->prepare_use(handle_of(handle));
    if (!prepared.ok())
        return stm::runtime::to_errno(prepared);
    Region& region = handle_of(handle).region();
    if (region.plain())
        handle_of(handle).news().look();
    return count_served(region.counters().reads,
                        region.plain() ? read_plain(region, to, position)
                                       : read_transactional(handle_of(handle), to, position));
}

long stm_core_write(stm_handle* handle, stm_user_buffer* from, __u64 position) {
    const Status prepared = the_registry->prepare_use(handle_of(handle));
    if (!prepared.ok())
        return stm::runtime::to_errno(prepared);
    Region& region = handle_of(handle).region();
    return count_served(region.counters().writes,
                        region.plain() ? write_plain(region, from, position)
                                       : write_transactional(handle_of(handle), from, position));
}

int stm_core_in_transaction(stm_handle* handle) {
    const Context* const context = handle_of(handle).settled_context();
    return context != nullptr && context->depth() != 0 ? 1 : 0;
}

void stm_core_note_position(stm_handle* handle, long long position) {
    handle_of(handle).note_position(position);
}

int stm_core_knows_positions(stm_handle* handle) {
    return handle_of(handle).knows_positions() ? 1 : 0;
}

int stm_core_take_position(stm_handle* handle, long long* position) {
    return handle_of(handle).take_position(*position) ? 1 : 0;
}

long stm_core_control(stm_handle* handle, unsigned int request, __u64 argument) {
    const auto result = control(*the_registry, handle_of(handle), request, argument);
    return result.ok() ? *result : stm::runtime::to_errno(result.error());
}

stm_wait_queue* stm_core_poll_queue(stm_handle* handle) {
    return handle_of(handle).region().versions().pollers.get();
}

int stm_core_poll_ready(stm_handle* handle) {
    handle_of(handle).region().versions().expect_pollers();
    return handle_of(handle).news().any() ? 1 : 0;
}

int stm_core_map(stm_handle* handle, __u64 first, __u64 pages, unsigned int wanted,
                 unsigned int* allowed) {
    const Status prepared = the_registry->prepare_use(handle_of(handle));
    if (!prepared.ok())
        return stm::runtime::to_errno(prepared);
    if (is_in_window(first)) {
        const auto window = check_window(handle_of(handle), first, pages, wanted);
        if (!window.ok())
            return stm::runtime::to_errno(window.error());
        *allowed = *window;
        return 0;
    }
    const auto result = check_mapping(handle_of(handle).region(), first, pages, wanted);
    if (!result.ok())
        return stm::runtime::to_errno(result.error());
    *allowed = *result;
    if ((*result & STM_MAP_PLAIN) == 0)
        return stm::runtime::to_errno(handle_of(handle).view().note_mapping());
    return 0;
}

int stm_core_is_dumped(stm_handle* handle) {
    return handle_of(handle).is_dumped() ? 1 : 0;
}

void stm_core_attached(stm_handle* handle) {
    the_registry->note_attach(handle_of(handle).region(), AttachEvent::attach);
}

void stm_core_detached(stm_handle* handle) {
    the_registry->note_attach(handle_of(handle).region(), AttachEvent::detach);
}

stm_fault_result stm_core_fault(stm_handle* handle, stm_fault* fault) {
    return traced_fault(handle_of(handle).region(), *fault,
                        serve_plain_fault(handle_of(handle).region(), *fault));
}

stm_fault_result stm_core_window_fault(stm_handle* handle, stm_fault* fault) {
    return serve_window_fault(handle_of(handle).region(), *fault);
}

stm_fault_result stm_core_window_store(stm_handle* handle, stm_fault* fault) {
    return check_window_store(handle_of(handle), *fault);
}

stm_fault_result stm_core_make_window_writable(stm_handle* handle, stm_fault* fault) {
    return make_window_writable(handle_of(handle), *fault);
}

void stm_core_memory_gone(stm_handle* handle, stm_memory* memory) {
    if (Journals* const journals = handle_of(handle).region().journals())
        journals->forget(handle_of(handle), memory);
}

stm_fault_result stm_core_transactional_fault(stm_handle* handle, stm_fault* fault) {
    return traced_fault(
        handle_of(handle).region(), *fault,
        serve_transactional_fault(handle_of(handle).region(), handle_of(handle).view(), *fault));
}

stm_fault_result stm_core_make_writable(stm_handle* handle, stm_fault* fault, stm_page* page) {
    return traced_fault(handle_of(handle).region(), *fault,
                        make_writable(handle_of(handle).view(), *fault, page));
}

} // extern "C"
