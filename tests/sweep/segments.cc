// SPDX-License-Identifier: GPL-2.0
// Sites: what is there only for System V segments. The segment is a second region, beside the one
// that each try has.
#include "site.hpp"

#include <csignal>
#include <sys/ioctl.h>

namespace stm::sweep {
namespace {

using test::kPage;

constexpr std::size_t kSegmentBytes = 4 * kPage;
const std::set<int> kErrors{ENOMEM};
const std::set<int> kRequestErrors{ENOMEM, EFAULT};
const std::set<int> kFaultErrors{kSignal + SIGBUS};

std::string segment_name(const Try& attempt) {
    return attempt.name + ":segment";
}

struct stm_info segment_info(const Try& attempt) {
    auto info = test::make<struct stm_info>(STM_BY_HANDLE);
    (void)test::request(attempt.more[0].get(), STM_IOC_INFO, &info);
    return info;
}

// Its handle is more[0].
void make_segment(Try& attempt) {
    auto open = test::make_named<struct stm_open>(
        segment_name(attempt), STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE | STM_OPEN_CLOEXEC);
    open.region_size = kSegmentBytes;
    open.region_flags = STM_REGION_PLAIN | STM_REGION_SEGMENT;
    open.mode = 0600;
    attempt.more[0] = test::Fd(::ioctl(attempt.fd.get(), STM_IOC_OPEN, &open));
    attempt.expect(static_cast<bool>(attempt.more[0]), "no segment");
    attempt.number = open.id;
}

void map_segment(Try& attempt) {
    make_segment(attempt);
    attempt.map = std::make_unique<test::Mapping>(attempt.more[0].get(), kSegmentBytes);
    attempt.expect(attempt.map->ok(), "the segment cannot be mapped");
}

void end_segment(Try& attempt) {
    auto destroy = test::make<struct stm_destroy>(STM_BY_ID | STM_DESTROY_DEFERRED);
    destroy.id = attempt.number;
    attempt.expect(test::request(attempt.fd.get(), STM_IOC_DESTROY, &destroy) == 0,
                   "the segment cannot be destroyed");
    attempt.map.reset();
    attempt.more[0].reset();
}

void add_segment(const char* entry, const char* way, const std::set<int>& errors,
                 void (*prepare)(Try& attempt), int (*act)(Try& attempt),
                 std::function<void(Try&)> done) {
    add({.entry = entry,
         .region = "segment",
         .way = way,
         .flags = STM_PLAIN,
         .errors = errors,
         .prepare = prepare,
         .act = act,
         .done =
             [=](Try& attempt) {
                 done(attempt);
                 end_segment(attempt);
             },
         .leaves_traces_in_mappings = true});
}

void add_segments() {
    add_segment(
        "ioctl:STM_IOC_CHANGE_SEGMENT", "owner", kRequestErrors, make_segment,
        [](Try& attempt) {
            auto change = test::make<struct stm_change_segment>(STM_SEGMENT_OWNER);
            change.id = attempt.number;
            change.mode = 0640;
            return test::request(attempt.fd.get(), STM_IOC_CHANGE_SEGMENT, &change);
        },
        [](Try& attempt) {
            attempt.expect(segment_info(attempt).mode == 0640, "the mode is the old one");
        });
    add_segment(
        "ioctl:STM_IOC_DETACH_SEGMENT", "detach", kRequestErrors, map_segment,
        [](Try& attempt) {
            auto detach = test::make<struct stm_detach_segment>();
            detach.address = reinterpret_cast<std::uintptr_t>(attempt.at(0));
            return test::request(attempt.fd.get(), STM_IOC_DETACH_SEGMENT, &detach);
        },
        [](Try& attempt) {
            attempt.map->release();
            attempt.expect(segment_info(attempt).mappings == 0, "it is still mapped");
        });
    add_segment(
        "vm:stm_segment_vm_operations.fault", "store", kFaultErrors, map_segment,
        [](Try& attempt) {
            return guarded([&] { *static_cast<volatile char*>(attempt.at(kPage)) = 'b'; });
        },
        [](Try& attempt) {
            char byte = 0;
            attempt.expect(::pread(attempt.more[0].get(), &byte, 1, kPage) == 1 && byte == 'b',
                           "the store is lost");
        });
    add_segment(
        "vm:stm_segment_vm_operations.map_pages", "load-beside-another", kFaultErrors,
        [](Try& attempt) {
            map_segment(attempt);
            (void)*static_cast<volatile char*>(attempt.at(kPage));
        },
        [](Try& attempt) {
            return guarded([&] { (void)*static_cast<volatile char*>(attempt.at(0)); });
        },
        [](Try&) {});
    add_segment(
        "vm:stm_segment_vm_operations.open", "munmap-of-the-middle", kErrors, map_segment,
        [](Try& attempt) { return error_of(::munmap(attempt.at(kPage), kPage)); },
        [](Try& attempt) {
            attempt.expect(segment_info(attempt).mappings == 2, "it was not split");
        });
    add_segment(
        "vm:stm_segment_vm_operations.close", "munmap", kErrors, map_segment,
        [](Try& attempt) { return error_of(::munmap(attempt.at(0), kSegmentBytes)); },
        [](Try& attempt) {
            attempt.map->release();
            const struct stm_info info = segment_info(attempt);
            attempt.expect(info.mappings == 0 && info.detached_ns != 0, "it is still mapped");
        });
}

[[maybe_unused]] const int added = (add_segments(), 0);

} // namespace
} // namespace stm::sweep
