// SPDX-License-Identifier: GPL-2.0
// Sites: a direct region, in which programs commit by themselves.
#include "site.hpp"
#include "windows.hpp"

#include <sys/ioctl.h>

namespace stm::sweep {
namespace {

constexpr Kind kDirect{"direct", STM_DIRECT};

int claim(Try& attempt) {
    auto request = test::make<struct stm_claim_journal>();
    const int error = test::request(attempt.fd.get(), STM_IOC_JOURNAL, &request);
    attempt.number = request.offset;
    return error;
}

void add_requests() {
    add({.entry = "ioctl:STM_IOC_JOURNAL",
         .region = kDirect.name,
         .way = "claim",
         .flags = kDirect.flags,
         .errors = {ENOMEM, EFAULT},
         .act = claim});
    add({.entry = "ioctl:STM_IOC_SETTLE",
         .region = kDirect.name,
         .way = "unlocked",
         .flags = kDirect.flags,
         .errors = {},
         .act = [](Try& attempt) {
             return ::ioctl(attempt.fd.get(), STM_IOC_SETTLE, 3) == 0 ? 0 : errno;
         }});
    add({.entry = "ioctl:STM_IOC_WAKE",
         .region = kDirect.name,
         .way = "nobody",
         .flags = kDirect.flags,
         .errors = {},
         .act = [](Try& attempt) {
             return ::ioctl(attempt.fd.get(), STM_IOC_WAKE, STM_WAKE_KEY(3)) == 0 ? 0 : errno;
         }});
}

constexpr Window kJournals{"journals", STM_OFFSET_JOURNALS, STM_JOURNAL_BYTES};

void add_window(const Window& window) {
    const auto map = [=](Try& attempt) {
        attempt.expect(claim(attempt) == 0, "there is no journal");
        const std::uint64_t journal = window.offset == STM_OFFSET_JOURNALS ? attempt.number : 0;
        attempt.map =
            std::make_unique<test::Mapping>(attempt.fd.get(), window.bytes, PROT_READ | PROT_WRITE,
                                            static_cast<off_t>(window.offset + journal));
        attempt.expect(attempt.map->ok(), "it cannot be mapped");
    };
    const std::string way = window.name;
    const auto site = [&](const char* entry, const char* what, std::function<int(Try&)> act) {
        add({.entry = entry,
             .region = kDirect.name,
             .way = way + "," + what,
             .flags = kDirect.flags,
             .errors = {kSignal + SIGBUS},
             .prepare = map,
             .act = std::move(act)});
    };
    site("vm:stm_direct_vm_operations.fault", "load", [](Try& attempt) {
        return guarded([&] { static_cast<void>(*attempt.map->at<volatile char>(64)); });
    });
    // The bytes that are there already.
    site("vm:stm_direct_vm_operations.page_mkwrite", "store", [](Try& attempt) {
        return guarded([&] {
            auto* const byte = attempt.map->at<volatile char>(64);
            *byte = *byte;
        });
    });
    site("vm:stm_direct_vm_operations.map_pages", "load-beside-another", [](Try& attempt) {
        return guarded([&] { static_cast<void>(*attempt.map->at<volatile char>(128)); });
    });
    site("vm:stm_direct_vm_operations.close", "munmap", [=](Try& attempt) {
        const int error = ::munmap(attempt.map->data(), window.bytes) == 0 ? 0 : errno;
        if (error == 0)
            attempt.map->release();
        return error;
    });
}

[[maybe_unused]] const int added = [] {
    add_requests();
    for (const Window& window : kWindows)
        add_window(window);
    add_window(kJournals);
    return 0;
}();

} // namespace
} // namespace stm::sweep
