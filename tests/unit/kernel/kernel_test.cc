// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/kernel_test.hpp"

#include "tests/unit/kernel/simulated/parameters.hpp"

#include <algorithm>
#include <random>

namespace stm::test {

namespace {

void fail_test(const std::string& what) {
    ADD_FAILURE() << "simulated Linux: " << what;
}

} // namespace

stm_settings usual_settings() {
    return simulated::usual_parameters();
}

Module::Module(const stm_settings& settings) {
    if (const int error = stm_core_init(&settings); error != 0)
        ADD_FAILURE() << "stm_core_init: " << error;
}
Module::~Module() {
    stm_core_exit();
}

File File::node(unsigned minor, unsigned access) {
    static const simulated::Node node(0, 0, 0666);
    return File::node(minor, access, node);
}
File File::node(unsigned minor, unsigned access, const simulated::Node& node) {
    File file;
    file.error_ = stm_core_open_minor(minor, access, node.get(), &file.handle_);
    return file;
}
File File::at(long descriptor) {
    File file;
    file.error_ = descriptor < 0 ? static_cast<int>(descriptor) : 0;
    if (descriptor >= 0) {
        file.descriptor_ = static_cast<int>(descriptor);
        file.handle_ = simulated::file_at(file.descriptor_).handle;
        EXPECT_NE(file.handle_, nullptr) << "no file at descriptor " << descriptor;
    }
    return file;
}
File::File(File&& other) noexcept {
    *this = std::move(other);
}
File& File::operator=(File&& other) noexcept {
    std::swap(error_, other.error_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(handle_, other.handle_);
    return *this;
}
File::~File() {
    close();
}
void File::close() {
    if (handle_ == nullptr)
        return;
    simulated::unmap_all(view());
    if (descriptor_ >= 0)
        simulated::close_descriptor(descriptor_);
    else
        stm_core_release(handle_);
    handle_ = nullptr;
    descriptor_ = -1;
    error_ = -EBADF;
}

stm_open open_argument(std::string_view name, std::uint32_t flags, OpenOptions options) {
    auto argument = argument_of<stm_open>(flags, name);
    argument.region_size = options.bytes;
    argument.region_flags = options.kind;
    argument.mode = options.mode;
    return argument;
}

File open(const File& control, std::string_view name, std::uint32_t flags, OpenOptions options) {
    stm_open argument = open_argument(name, flags, options);
    return File::at(request(control, STM_IOC_OPEN, argument));
}

File open_id(const File& control, std::uint64_t id, std::uint32_t flags, std::uint64_t bytes) {
    stm_open argument = open_argument("", flags | STM_OPEN_BY_ID, {bytes, 0, 0});
    argument.id = id;
    return File::at(request(control, STM_IOC_OPEN, argument));
}

long set_size(const File& file, std::uint64_t bytes, std::uint64_t* now) {
    auto argument = argument_of<stm_set_size>(0);
    argument.region_size = bytes;
    const long result = request(file, STM_IOC_SET_SIZE, argument);
    if (now != nullptr)
        *now = argument.region_size;
    return result;
}

long destroy_name(const File& control, std::string_view name, std::uint32_t flags) {
    auto argument = argument_of<stm_destroy>(STM_BY_NAME | flags, name);
    return request(control, STM_IOC_DESTROY, argument);
}
long destroy_id(const File& control, std::uint64_t id, std::uint32_t flags) {
    auto argument = argument_of<stm_destroy>(STM_BY_ID | flags);
    argument.id = id;
    return request(control, STM_IOC_DESTROY, argument);
}
long destroy_handle(const File& file, std::uint32_t flags) {
    auto argument = argument_of<stm_destroy>(STM_BY_HANDLE | flags);
    return request(file, STM_IOC_DESTROY, argument);
}

stm_info info_of(const File& file) {
    auto info = argument_of<stm_info>(STM_BY_HANDLE);
    EXPECT_EQ(request(file, STM_IOC_INFO, info), 0);
    return info;
}
long info_by_name(const File& control, std::string_view name, stm_info& info) {
    info = argument_of<stm_info>(STM_BY_NAME, name);
    return request(control, STM_IOC_INFO, info);
}
long info_by_id(const File& control, std::uint64_t id, stm_info& info) {
    info = argument_of<stm_info>(STM_BY_ID);
    info.id = id;
    return request(control, STM_IOC_INFO, info);
}

std::vector<stm_info> all_regions(const File& control) {
    std::vector<stm_info> regions;
    for (std::uint32_t minor = 0;;) {
        auto info = argument_of<stm_info>(STM_BY_NEXT);
        info.minor = minor;
        const long result = request(control, STM_IOC_INFO, info);
        if (result != 0) {
            EXPECT_EQ(result, -ENOENT);
            return regions;
        }
        regions.push_back(info);
        minor = info.minor + 1;
    }
}

stm_version version_of(const File& control) {
    auto version = argument_of<stm_version>(0);
    EXPECT_EQ(request(control, STM_IOC_VERSION, version), 0);
    return version;
}

long read(const File& file, std::uint64_t position, void* to, std::size_t bytes) {
    UserBuffer buffer(to, bytes);
    const long result = stm_core_read(file.get(), buffer.get(), position);
    EXPECT_EQ(buffer.consumed(), static_cast<std::size_t>(std::max(result, 0L)));
    return result;
}
long write(const File& file, std::uint64_t position, const void* from, std::size_t bytes) {
    UserBuffer buffer(const_cast<void*>(from), bytes);
    const long result = stm_core_write(file.get(), buffer.get(), position);
    EXPECT_EQ(buffer.consumed(), static_cast<std::size_t>(std::max(result, 0L)));
    return result;
}
std::string read_string(const File& file, std::uint64_t position, std::size_t bytes) {
    std::string text(bytes, '?');
    const long result = read(file, position, text.data(), bytes);
    EXPECT_GE(result, 0);
    text.resize(static_cast<std::size_t>(std::max(result, 0L)));
    return text;
}
std::vector<std::uint8_t> pattern(std::size_t bytes, unsigned seed) {
    std::vector<std::uint8_t> result(bytes);
    std::minstd_rand random(seed);
    for (std::uint8_t& byte : result)
        byte = static_cast<std::uint8_t>(random() >> 8);
    return result;
}

long wait(const File& file, std::uint64_t timeout_ns) {
    auto argument = argument_of<stm_wait>(0);
    argument.timeout_ns = timeout_ns;
    return request(file, STM_IOC_WAIT, argument);
}
stm_transaction transaction_of(const File& file) {
    auto transaction = argument_of<stm_transaction>(0);
    EXPECT_EQ(request(file, STM_IOC_TRANSACTION, transaction), 0);
    return transaction;
}
stm_statistics statistics_of(const File& file, std::uint32_t flags) {
    auto statistics = argument_of<stm_statistics>(flags);
    EXPECT_EQ(request(file, STM_IOC_STATISTICS, statistics), 0);
    return statistics;
}

int map(const File& file, std::uint64_t first, std::uint64_t pages, unsigned wanted,
        unsigned* allowed) {
    unsigned ignored = 0;
    const MmapLock held;
    return stm_core_map(file.get(), first, pages, wanted, allowed != nullptr ? allowed : &ignored);
}

Fault fault(const File& file, std::uint64_t index, std::uint64_t last, Access access) {
    return fault_around(file, index, index, last, access);
}

Fault fault_around(const File& file, std::uint64_t first, std::uint64_t index, std::uint64_t last,
                   Access access) {
    const bool plain = [&] {
        const Undisturbed quiet;
        return (info_of(file).region_flags & STM_REGION_PLAIN) != 0;
    }();
    stm_fault question{};
    question.index = index;
    question.first = first;
    question.last = last;
    question.write = access == Access::store;
    question.memory = simulated::current_memory();
    question.address = simulated::address_of(index);
    const MmapLock held;
    if (plain) {
        Fault answer{stm_core_fault(file.get(), &question), {}};
        if (answer.result == STM_FAULT_MAP) {
            answer.pages.assign(question.pages, question.pages + question.count);
            answer.first = question.first;
        }
        return answer;
    }
    if (simulated::touch(file.view(), index, access == Access::store))
        return {STM_FAULT_MAP, {simulated::mapped_page(file.view(), index)}};
    stm_page* mapped = simulated::mapped_page(file.view(), index);
    if (mapped != nullptr) {
        // Linux holds the page meanwhile.
        stm_linux_page_get(mapped);
        const auto result = stm_core_make_writable(file.get(), &question, mapped);
        simulated::put(mapped);
        if (result == STM_FAULT_MAP)
            simulated::map_page(file.view(), index, mapped, true);
        return {result, result == STM_FAULT_MAP ? std::vector{mapped} : std::vector<stm_page*>()};
    }
    const auto result = stm_core_transactional_fault(file.get(), &question);
    if (result != STM_FAULT_MAP)
        return {result, {}};
    EXPECT_EQ(question.count, 1u);
    if (access == Access::store) { // as Linux does then
        EXPECT_EQ(stm_core_make_writable(file.get(), &question, question.pages[0]), STM_FAULT_MAP);
    }
    simulated::map_page(file.view(), index, question.pages[0], access == Access::store);
    return {result, {question.pages[0]}};
}

bool EachMoment::next() {
    constexpr std::size_t kMostSteps = 10'000;
    if (!std::exchange(happened_, false))
        return false;
    trace_ = nullptr;
    ++step_;
    EXPECT_LT(step_, kMostSteps) << "the call never ends before the other one comes";
    trace_ =
        std::make_unique<testing::ScopedTrace>(__FILE__, __LINE__, "step " + std::to_string(step_));
    return step_ < kMostSteps && !testing::Test::HasFatalFailure();
}

Snapshot snapshot(const File& control) {
    const Undisturbed quiet;
    return {version_of(control), all_regions(control), simulated::live()};
}

testing::AssertionResult same(const Snapshot& before, const Snapshot& after, Compare what) {
    Snapshot one = before;
    Snapshot other = after;
    if (what == Compare::all_but_what_stays) {
        for (Snapshot* each : {&one, &other}) {
            each->version.resident_bytes = 0;
            each->live.pages = each->live.allocations = 0;
            // A thread's first access to a transactional region leaves its context with the handle.
            each->live.thread_references = each->live.locks = 0;
            for (stm_info& region : each->regions)
                region.resident_bytes = 0;
        }
    }
    if (std::memcmp(&one.version, &other.version, sizeof(one.version)) != 0)
        return testing::AssertionFailure()
               << "VERSION changed: regions " << one.version.regions << " to "
               << other.version.regions << ", bytes " << one.version.bytes << " to "
               << other.version.bytes << ", resident " << one.version.resident_bytes << " to "
               << other.version.resident_bytes;
    if (one.regions.size() != other.regions.size())
        return testing::AssertionFailure() << "the number of regions changed";
    for (std::size_t place = 0; place < one.regions.size(); ++place) {
        const stm_info& left = one.regions[place];
        const stm_info& right = other.regions[place];
        if (std::memcmp(&left, &right, sizeof(left)) != 0)
            return testing::AssertionFailure()
                   << "INFO of " << left.name << " changed: size " << left.region_size << " to "
                   << right.region_size << ", handles " << left.handles << " to " << right.handles
                   << ", resident " << left.resident_bytes << " to " << right.resident_bytes
                   << ", name " << right.name;
    }
    if (!(one.live == other.live))
        return testing::AssertionFailure() << "leaked: " << simulated::describe(one.live)
                                           << " before, " << simulated::describe(other.live);
    return testing::AssertionSuccess();
}

Watch::Watch() : before_(simulated::live()) {
    simulated::set_violation_handler(fail_test);
    EXPECT_EQ(simulated::describe(before_), simulated::describe(Live()));
}
Watch::~Watch() {
    EXPECT_EQ(simulated::describe(simulated::live()), simulated::describe(before_));
}

namespace {

// Before the first and after the last member of any fixture.
std::unique_ptr<Watch> watch;

} // namespace

KernelTest::KernelTest() {
    watch = std::make_unique<Watch>();
    module_ = std::make_unique<Module>(settings);
    control = File::node(0);
}
KernelTest::~KernelTest() {
    control.close();
    module_.reset();
    watch.reset();
}
void KernelTest::reload() {
    control.close();
    module_.reset();
    module_ = std::make_unique<Module>(settings);
    control = File::node(0);
}

} // namespace stm::test
