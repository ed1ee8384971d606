// SPDX-License-Identifier: GPL-2.0
// What the tests of the core share: a loaded module, files that close themselves, and the requests
// of <stm/ioctl.h> as functions that return what ioctl(2) would, with -errno for a failure.
#pragma once

#include "tests/unit/kernel/simulated_linux.hpp"

#include <stm/ioctl.h>

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility> // IWYU pragma: export
#include <vector>

namespace stm::test {

using simulated::As;
using simulated::Credential;
using simulated::FailPoint;
using simulated::Failure;
using simulated::Interleave;
using simulated::kRoot;
using simulated::Live;
using simulated::MmapLock;
using simulated::Process;
using simulated::Undisturbed;
using simulated::UserBuffer;

inline constexpr unsigned kRead = STM_ACCESS_READ;
inline constexpr unsigned kWrite = STM_ACCESS_WRITE;
inline constexpr unsigned kReadWrite = STM_ACCESS_READ | STM_ACCESS_WRITE;
inline constexpr std::uint64_t kPage = STM_PAGE_BYTES;
// The page of its clock: `default` is there from the start.
inline constexpr long kPagesOfDefault = 1;

stm_settings usual_settings();

// The module, loaded.
class Module {
public:
    explicit Module(const stm_settings& settings);
    ~Module();
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;
};

// An open file: of a device node (of root, for everybody, if not said otherwise), or a descriptor
// of STM_IOC_OPEN. error() is 0 or what the open returned.
class File {
public:
    File() = default;
    static File node(unsigned minor, unsigned access = kReadWrite);
    static File node(unsigned minor, unsigned access, const simulated::Node& node);
    static File at(long descriptor);
    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    ~File();

    int error() const { return error_; }
    bool ok() const { return error_ == 0; }
    int descriptor() const { return descriptor_; }
    stm_handle* get() const { return handle_; }
    stm_view* view() const { return stm_core_view(handle_); }
    stm_identity* identity() const { return simulated::identity_of(view()); }
    void close();

private:
    int error_ = -EBADF;
    int descriptor_ = -1;
    stm_handle* handle_ = nullptr;
};

// -- Requests --

template <typename Argument>
long request(const File& file, unsigned number, Argument& argument) {
    if (argument.size == 0)
        argument.size = sizeof(argument);
    return stm_core_control(file.get(), number, reinterpret_cast<std::uint64_t>(&argument));
}

template <typename Argument>
Argument argument_of(std::uint32_t flags, std::string_view name = {}) {
    Argument argument{};
    argument.size = sizeof(argument);
    argument.flags = flags;
    if constexpr (requires { argument.name; })
        name.copy(argument.name, sizeof(argument.name));
    return argument;
}

struct OpenOptions {
    std::uint64_t bytes = kPage;
    std::uint32_t kind = STM_REGION_PLAIN;
    std::uint32_t mode = 0600;
};
inline constexpr std::uint32_t kOpen = STM_OPEN_READ | STM_OPEN_WRITE;
inline constexpr std::uint32_t kCreate = kOpen | STM_OPEN_CREATE;

stm_open open_argument(std::string_view name, std::uint32_t flags, OpenOptions options = {});
File open(const File& control, std::string_view name, std::uint32_t flags = kCreate,
          OpenOptions options = {});
File open_id(const File& control, std::uint64_t id, std::uint32_t flags = kOpen,
             std::uint64_t bytes = 0);

long set_size(const File& file, std::uint64_t bytes, std::uint64_t* now = nullptr);
long destroy_name(const File& control, std::string_view name, std::uint32_t flags = 0);
long destroy_id(const File& control, std::uint64_t id, std::uint32_t flags = 0);
long destroy_handle(const File& file, std::uint32_t flags = 0);

// What exists; a failed expectation if the request fails.
stm_info info_of(const File& file);
long info_by_name(const File& control, std::string_view name, stm_info& info);
long info_by_id(const File& control, std::uint64_t id, stm_info& info);
std::vector<stm_info> all_regions(const File& control);
stm_version version_of(const File& control);

// -- Contents --

long read(const File& file, std::uint64_t position, void* to, std::size_t bytes);
long write(const File& file, std::uint64_t position, const void* from, std::size_t bytes);
std::string read_string(const File& file, std::uint64_t position, std::size_t bytes);
std::vector<std::uint8_t> pattern(std::size_t bytes, unsigned seed = 1);

// -- Transactions --

inline long start(const File& file, std::uint64_t argument = 0) {
    return stm_core_control(file.get(), STM_IOC_START, argument);
}
inline long commit(const File& file) {
    return stm_core_control(file.get(), STM_IOC_COMMIT, 0);
}
inline long cancel(const File& file, std::uint64_t argument = 0) {
    return stm_core_control(file.get(), STM_IOC_CANCEL, argument);
}
inline long validate(const File& file) {
    return stm_core_control(file.get(), STM_IOC_VALIDATE, 0);
}
long wait(const File& file, std::uint64_t timeout_ns = STM_WAIT_FOREVER);
stm_transaction transaction_of(const File& file);
stm_statistics statistics_of(const File& file, std::uint32_t flags = STM_BY_HANDLE);

// -- Mappings --

int map(const File& file, std::uint64_t first, std::uint64_t pages, unsigned wanted,
        unsigned* allowed = nullptr);
// A fault, in the way that suits the region: for a transactional one a single page, which is then
// mapped in the caller's address space until the core takes it out, or the file is closed.
struct Fault {
    stm_fault_result result;
    std::vector<stm_page*> pages;
    std::uint64_t first = 0; // of a plain region: the index of the first of them
};
enum class Access { load, store };
Fault fault(const File& file, std::uint64_t index, std::uint64_t last,
            Access access = Access::load);
Fault fault_around(const File& file, std::uint64_t first, std::uint64_t index, std::uint64_t last,
                   Access access = Access::load);

// -- Other calls in the middle --

// For a call that is made again and again, each time with another one in its middle, one step
// later each time, until it is over before the other one comes:
//
//     for (EachMoment moment; moment.next();) {
//         moment.in_the_middle(OTHER, CALL);
//         ...
//     }
class EachMoment {
public:
    bool next();
    template <typename Other, typename Call>
    void in_the_middle(Other other, Call call) {
        const Interleave point(step_, other);
        call();
        happened_ = point.happened();
    }
    std::size_t step() const { return step_; }
    // The other call came in this turn. It does in all but the last.
    bool happened() const { return happened_; }

private:
    std::size_t step_ = 0;
    bool happened_ = true;
    std::unique_ptr<testing::ScopedTrace> trace_;
};

// -- State --

// All that a failed request must not have changed.
struct Snapshot {
    stm_version version;
    std::vector<stm_info> regions;
    Live live;
};
Snapshot snapshot(const File& control);
// What stays after a failure: pages that were touched before it, the context of a thread.
enum class Compare { everything, all_but_what_stays };
testing::AssertionResult same(const Snapshot& before, const Snapshot& after,
                              Compare what = Compare::everything);

// The usual module, and a handle of /dev/stm that uses no region. Nothing may be left at the end.
class KernelTest : public testing::Test {
protected:
    KernelTest();
    ~KernelTest() override;

    stm_settings settings = usual_settings();
    File control;

private:
    std::unique_ptr<Module> module_;

protected:
    // Unloads the module and loads it with the settings as they are now.
    void reload();
};

// Reports broken rules of the simulation as failures of the running test, and expects that what it
// began with is all that is left at its end.
class Watch {
public:
    Watch();
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

private:
    Live before_;
};

} // namespace stm::test
