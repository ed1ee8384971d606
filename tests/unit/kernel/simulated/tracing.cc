// SPDX-License-Identifier: GPL-2.0
// The tracepoints: a test may watch them (simulated_linux.hpp).
#include "tests/unit/kernel/simulated_linux.hpp"

#include "kernel/interface/trace.h"

#include <mutex>
#include <utility>

int stm_trace_enabled = 0;

namespace stm::simulated {
namespace {

std::mutex watching;
std::vector<Event>* events = nullptr;

void note(Event event) {
    const std::lock_guard held(watching);
    if (events != nullptr)
        events->push_back(std::move(event));
}

} // namespace

Watching::Watching() {
    const std::lock_guard held(watching);
    events = &events_;
    stm_trace_enabled = 1;
}

Watching::~Watching() {
    const std::lock_guard held(watching);
    events = nullptr;
    stm_trace_enabled = 0;
}

std::vector<Event> Watching::take() {
    const std::lock_guard held(watching);
    return std::exchange(events_, {});
}

} // namespace stm::simulated

using stm::simulated::Event;
using stm::simulated::note;

extern "C" {

void stm_linux_trace_start(stm_trace_region region, stm_trace_way way, __u64 owner,
                           __u64 snapshot) {
    note(
        {.what = "start", .region = region.name, .kind = way, .owner = owner, .version = snapshot});
}

void stm_linux_trace_commit(stm_trace_region region, stm_trace_way way, __u64 owner, __u64 version,
                            __u64 read, __u64 written) {
    note({.what = "commit",
          .region = region.name,
          .kind = way,
          .owner = owner,
          .version = version,
          .read = read,
          .written = written});
}

void stm_linux_trace_abort(stm_trace_region region, stm_trace_way way, __u64 owner, __u32 reason,
                           stm_trace_conflict conflict, __u32 row) {
    note({.what = "abort",
          .region = region.name,
          .kind = way,
          .owner = owner,
          .reason = reason,
          .offset = conflict.offset,
          .version = conflict.version,
          .locked_by = conflict.locked_by,
          .row = row});
}

void stm_linux_trace_fault(stm_trace_region region, __u64, __u64 offset, int write, int result) {
    note({.what = "fault",
          .region = region.name,
          .kind = result,
          .offset = static_cast<long long>(offset),
          .written = static_cast<std::uint64_t>(write)});
}

void stm_linux_trace_wait(stm_trace_region region, stm_trace_wait what, __u64, int) {
    note({.what = "wait", .region = region.name, .kind = what});
}

void stm_linux_trace_repair(stm_trace_region region, stm_trace_repair what, stm_thread*) {
    note({.what = "repair", .region = region.name, .kind = what});
}

int stm_linux_traces_accesses() {
    return stm_trace_enabled;
}

void stm_linux_trace_access(stm_trace_region region, __u64 offset, __u64 bytes, int write) {
    note({.what = "access",
          .region = region.name,
          .offset = static_cast<long long>(offset),
          .read = bytes,
          .written = static_cast<std::uint64_t>(write)});
}
}
