// SPDX-License-Identifier: GPL-2.0
#include "site.hpp"

#include <csetjmp>
#include <csignal>
#include <fcntl.h>

namespace stm::sweep {

namespace {

thread_local sigjmp_buf way_out;

void leave(int signal) {
    siglongjmp(way_out, signal);
}

} // namespace

std::vector<Site>& sites() {
    static std::vector<Site> all;
    return all;
}

int add(Site site) {
    sites().push_back(std::move(site));
    return 0;
}

int guarded(const std::function<void()>& action) {
    struct sigaction handler {};
    handler.sa_handler = leave;
    for (int signal : {SIGSEGV, SIGBUS})
        ::sigaction(signal, &handler, nullptr);
    const int signal = sigsetjmp(way_out, 1);
    if (signal != 0)
        return kSignal + signal;
    action();
    return 0;
}

int error_of(long result) {
    return result < 0 ? errno : 0;
}

Try::Try(int region_flags)
    : flags(region_flags), name(test::unique_name("sweep")),
      fd(stm_open(name.c_str(), kBytes, flags | STM_CREATE | STM_EXCL, 0600)),
      observer(stm_open(name.c_str(), 0, 0, 0)), buffer(kBytes, 'b') {
    expect(fd && observer, "the region cannot be made");
    // Some pages are there and some are not, so that both ways are gone.
    const std::vector<char> some(2 * test::kPage, 'a');
    expect(::pwrite(observer.get(), some.data(), some.size(), 0) == 2 * test::kPage,
           "the region cannot be filled");
}

Try::~Try() {
    map.reset();
    for (test::Fd& one : more)
        one.reset();
    fd.reset();
    observer.reset();
    stm_unlink_deferred(name.c_str());
    if (!path.empty())
        ::unlink(path.c_str());
}

namespace {
char* present_page_table = nullptr; // the first address that it is for
} // namespace

void Try::use_present_page_table() {
    constexpr std::size_t kTable = 512 * test::kPage;
    void* const area =
        ::mmap(nullptr, 2 * kTable, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    const auto from = (reinterpret_cast<std::uintptr_t>(area) + kTable - 1) / kTable * kTable;
    auto* const first = reinterpret_cast<char*>(from);
    // Its last page stays, and so the table does.
    char* const last = first + kTable - test::kPage;
    if (area == MAP_FAILED || ::mprotect(last, test::kPage, PROT_READ | PROT_WRITE) != 0)
        return;
    *last = 1;
    ::munmap(first, kTable - test::kPage);
    present_page_table = first;
}

void Try::map_all(int protection) {
    map.reset();
    map = std::make_unique<test::Mapping>(
        fd.get(), kBytes, protection, 0,
        MAP_SHARED | (present_page_table != nullptr ? MAP_FIXED_NOREPLACE : 0), present_page_table);
    expect(map->ok(), "the region cannot be mapped");
}

void Try::wrong(const std::string& what) {
    problems.push_back(what);
}

std::vector<char> Try::contents() const {
    std::vector<char> bytes(kBytes, '?');
    const ssize_t got = ::pread(observer.get(), bytes.data(), bytes.size(), 0);
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return bytes;
}

void Try::expect_byte(std::size_t offset, char value, const std::string& what) {
    char byte = '?';
    if (::pread(observer.get(), &byte, 1, static_cast<off_t>(offset)) != 1 || byte != value)
        wrong(what + ": byte " + std::to_string(offset) + " is " + std::to_string(byte) + ", not " +
              std::to_string(value));
}

} // namespace stm::sweep
