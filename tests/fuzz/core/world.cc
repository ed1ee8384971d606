// SPDX-License-Identifier: GPL-2.0
#include "tests/fuzz/core/world.hpp"

#include "tests/unit/kernel/simulated/parameters.hpp"

#include <iterator>
#include <utility>

namespace stm::fuzz {

using simulated::As;
using simulated::AsThread;
using simulated::Process;
using simulated::Undisturbed;

namespace {

constexpr std::size_t kMostFiles = 12;
constexpr std::size_t kModelledBytes = 4 * kPage;
constexpr unsigned kMostStripes = 1 << 12;

// Every limit is reached soon.
stm_settings narrow_settings() {
    stm_settings settings = simulated::usual_parameters();
    settings.max_regions = 16;
    settings.max_user_regions = 4;
    settings.default_size = 2 * kPage;
    settings.max_region_bytes = 8 << 20;
    settings.max_bytes = 24 << 20;
    settings.max_user_bytes = 16 << 20;
    settings.max_stripes = kMostStripes;
    settings.max_contexts = 3;
    settings.serial_after = 3;
    settings.predicted_pages = 5;
    settings.warm_pages = 3;
    settings.max_old_bytes = 16 * 96;
    settings.max_user_old_bytes = 24 * 96;
    return settings;
}

// A request whose structure says its size.
template <typename Argument>
long ask(const File& file, unsigned request, Argument& argument) {
    argument.size = sizeof(argument);
    return stm_core_control(file.handle, request, reinterpret_cast<std::uint64_t>(&argument));
}

} // namespace

World::World() : settings(narrow_settings()) {
    STM_FUZZ_EXPECT(stm_core_init(&settings) == 0);
    processes[0] = std::make_unique<Process>(100, simulated::kRoot, "root");
    processes[1] = std::make_unique<Process>(
        101, simulated::Credential{1000, 1000, false, false, false}, "one");
    processes[2] = std::make_unique<Process>(
        102, simulated::Credential{1001, 1000, false, false, false}, "other", 027);
    for (std::size_t i = 0; i < kActors; ++i)
        actors[i].process = i / 2 + (i == 3 ? 1 : 0); // 0 0 1 2
    const Undisturbed quiet;
    open_minor(0, STM_ACCESS_READ | STM_ACCESS_WRITE, 0);
}

World::~World() {
    const Undisturbed quiet;
    check_books();
    for (std::size_t place = 0; place < files.size(); ++place) {
        if (files[place])
            close(place);
    }
    simulated::run_timers();
    stm_core_exit();
    simulated::take_signals();
}

// -- The actor that calls --

bool World::failed() const {
    return fail != nullptr && fail->happened() != simulated::Failure::none;
}

bool World::expected(long result, std::initializer_list<int> documented) const {
    static constexpr int kAlways[] = {EFAULT, ENOMEM, EINTR};
    const auto is = [&](int one) { return result == -one; };
    return std::any_of(documented.begin(), documented.end(), is) ||
           std::any_of(std::begin(kAlways), std::end(kAlways), is) ||
           (failed() && result == simulated::errno_of(fail->happened()));
}

long World::control(const File& file, unsigned request, std::uint64_t argument) const {
    const long result = stm_core_control(file.handle, request, argument);
    trace("  request %#x of thread %zu: %ld\n", request, who, result);
    return result;
}

// -- Files and regions --

Region* World::region(std::uint64_t id) {
    const auto found = std::find_if(regions.begin(), regions.end(),
                                    [&](const auto& one) { return one->id == id; });
    return found == regions.end() ? nullptr : found->get();
}

stm_info World::info_of(const File& file) const {
    const Undisturbed quiet;
    stm_info info{};
    info.flags = STM_BY_HANDLE;
    STM_FUZZ_EXPECT(ask(file, STM_IOC_INFO, info) == 0);
    return info;
}

void World::settle(Region& region, std::uint64_t size) {
    if (region.size == size)
        return;
    STM_FUZZ_EXPECT(region.size == 0); // given once
    STM_FUZZ_EXPECT(size % kPage == 0);
    region.size = size;
    if (size <= kModelledBytes)
        region.history.emplace(size);
}

void World::look_at_size(std::size_t place) {
    settle(region_of(place), info_of(*files[place]).region_size);
}

void World::add(stm_handle* handle, int descriptor, unsigned access) {
    const auto free = std::find(files.begin(), files.end(), nullptr);
    auto file = std::make_unique<File>();
    file->handle = handle;
    file->descriptor = descriptor;
    file->access = access;
    file->viewers.fill(kNobody);
    const stm_info info = info_of(*file);
    file->region = info.id;
    if (region(info.id) == nullptr)
        regions.push_back(std::make_unique<Region>(
            Region{info.id, (info.region_flags & STM_REGION_PLAIN) != 0, 0, std::nullopt}));
    settle(*region(info.id), info.region_size);
    // Only a segment can be opened when it has lost its name.
    STM_FUZZ_EXPECT((info.state & STM_STATE_UNLINKED) == 0 ||
                    (info.region_flags & STM_REGION_SEGMENT) != 0 || disturbed);
    if (free != files.end())
        *free = std::move(file);
    else
        files.push_back(std::move(file));
}

bool World::has_room() const {
    return files.size() < kMostFiles || std::count(files.begin(), files.end(), nullptr) != 0;
}

long World::open_minor(unsigned minor, unsigned access, std::size_t node) {
    if (!has_room())
        return 0;
    stm_handle* handle = nullptr;
    const long result = stm_core_open_minor(minor, access, nodes[node].get(), &handle);
    if (result == 0)
        add(handle, -1, access);
    return result;
}

void World::close(std::size_t place) {
    File& file = *files[place];
    stm_core_flush(file.handle, simulated::kLastDescriptor);
    // Linux releases a file when there is no descriptor, call or mapping of it any more.
    simulated::unmap_all(stm_core_view(file.handle));
    file.mappings.clear();
    file.released = true;
    if (file.descriptor >= 0)
        simulated::close_descriptor(file.descriptor);
    else
        stm_core_release(file.handle);
    files[place] = nullptr;
}

std::size_t World::pick(std::size_t number) const {
    std::vector<std::size_t> open;
    for (std::size_t place = 0; place < files.size(); ++place) {
        if (files[place] && !files[place]->released)
            open.push_back(place);
    }
    return open.empty() ? kNobody : open[number % open.size()];
}

std::uint64_t World::id_of(const Step& step) const {
    if (regions.empty() || step.large % 8 == 7)
        return step.large;
    const std::uint64_t id = regions[step.large % regions.size()]->id;
    return step.large % 8 == 6 ? id + (std::uint64_t{1} << 32) : id;
}

// -- Transactions --

stm_transaction World::tell_transaction(const File& file) const {
    const Undisturbed quiet;
    stm_transaction own{};
    STM_FUZZ_EXPECT(ask(file, STM_IOC_TRANSACTION, own) == 0);
    return own;
}

long World::failure_of(const File& file) const {
    switch (tell_transaction(file).doom) {
    case STM_REASON_TOO_BIG:
        return -E2BIG;
    case STM_REASON_NO_MEMORY:
        return -ENOMEM;
    case STM_REASON_OUT_OF_RANGE:
        return -ENOSPC;
    case STM_REASON_FAULT:
        return -EFAULT;
    case STM_REASON_CLOSED:
    case STM_REASON_RETRY:
        return -ECANCELED;
    default:
        return 0;
    }
}

void World::expect_failure(const File& file, long result, long before) const {
    if (before != 0)
        STM_FUZZ_EXPECT(result == before || result == 0); // of no byte
    if (result == -ENOMEM || result == -E2BIG || result == -ENOSPC || result == -ECANCELED)
        STM_FUZZ_EXPECT(failure_of(file) == result);
}

void World::forget(File& file, std::size_t actor) {
    file.transactions[actor] = nullptr;
    for (std::size_t& viewer : file.viewers)
        viewer = viewer == actor ? kNobody : viewer;
}

void World::orphan(std::size_t actor) {
    for (const auto& file : files) {
        if (!file)
            continue;
        forget(*file, actor);
        file->typed[actor] = nullptr;
    }
}

void World::give_up_view(File& file) {
    for (std::size_t& viewer : file.viewers)
        viewer = viewer == who ? kNobody : viewer;
    transaction(file)->seen.reset();
    transaction(file)->has_no_view = true;
}

void World::lose(File& file) {
    stm_core_flush(file.handle, simulated::kLastDescriptor);
    const Undisturbed quiet;
    for (std::size_t actor = 0; actor < kActors; ++actor) {
        if (!file.transactions[actor] || file.transactions[actor]->has_no_view ||
            actors[actor].process != process() || (actor != who && actors[actor].calls != 0))
            continue;
        if (actor == who) // it has closed the file itself, and sees what is committed
            file.transactions[actor]->seen.reset();
        const AsThread it(*actors[actor].thread);
        STM_FUZZ_EXPECT(tell_transaction(file).doom != STM_REASON_NONE);
    }
}

void expect_reason(long result, const Observer& seen) {
    if (result == -EAGAIN)
        STM_FUZZ_EXPECT(seen.may_conflict());
}

// -- Contents --

bool World::in_between(const Region& region) {
    if (writing != region.id &&
        std::find(committing.begin(), committing.end(), region.id) == committing.end())
        return false;
    guessed = true;
    return true;
}

std::optional<Bytes> World::contents(const Region& region) {
    const Undisturbed quiet;
    const As root(simulated::init_process());
    const AsThread reader(auditor);
    stm_open open{};
    open.flags = STM_OPEN_READ | STM_OPEN_BY_ID;
    open.id = region.id;
    const int descriptor = static_cast<int>(ask(*files[pick(0)], STM_IOC_OPEN, open));
    if (descriptor < 0)
        return std::nullopt;
    Bytes bytes(region.size, 0xEE);
    simulated::UserBuffer buffer(bytes.data(), bytes.size());
    const unsigned max_stripes = std::exchange(settings.max_stripes, kMostStripes);
    const long got = stm_core_read(simulated::file_at(descriptor).handle, buffer.get(), 0);
    STM_FUZZ_EXPECT(got == static_cast<long>(bytes.size()));
    simulated::close_descriptor(descriptor);
    settings.max_stripes = max_stripes;
    return bytes;
}

void World::forget_model(const Region& region) {
    for (const auto& file : files) {
        if (!file || file->region != region.id)
            continue;
        for (auto& one : file->transactions) {
            if (one)
                one->seen.reset();
        }
        for (auto& one : file->typed) {
            if (one)
                one->seen.reset();
        }
    }
}

// -- The books --

void World::check_named_region(const stm_info& info) {
    const auto handles = std::count_if(
        files.begin(), files.end(), [&](const auto& one) { return one && one->region == info.id; });
    // Those of minor 0 count from their first use on.
    STM_FUZZ_EXPECT(info.minor == 0 || info.handles == handles);
    STM_FUZZ_EXPECT(info.resident_bytes <= info.region_size);
    Region* known = region(info.id);
    if (known == nullptr) // by a failed STM_IOC_OPEN there is none
        STM_FUZZ_EXPECT(info.handles == 0);
    else if (known->history && known->size != 0)
        STM_FUZZ_EXPECT(contents_or(*known, known->history->last()) == known->history->last());
}

void World::check_named_regions(std::uint64_t& bytes, std::uint32_t& count) {
    for (std::uint32_t minor = 0;;) {
        stm_info info{};
        info.flags = STM_BY_NEXT;
        info.minor = minor;
        if (ask(*files[pick(0)], STM_IOC_INFO, info) != 0)
            return;
        minor = info.minor + 1;
        ++count;
        bytes += info.region_size;
        check_named_region(info);
    }
}

// Of regions that are destroyed and still used.
std::uint64_t World::unlinked_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& one : regions) {
        const auto user = std::find_if(files.begin(), files.end(), [&](const auto& file) {
            return file && file->region == one->id;
        });
        if (user != files.end() && (info_of(**user).state & STM_STATE_UNLINKED) != 0)
            bytes += info_of(**user).region_size;
    }
    return bytes;
}

void World::check_books() {
    const As root(simulated::init_process());
    const AsThread as_auditor(auditor);
    std::uint64_t bytes = 0;
    std::uint32_t named = 0;
    check_named_regions(bytes, named);
    bytes += unlinked_bytes();
    stm_version version{};
    STM_FUZZ_EXPECT(ask(*files[pick(0)], STM_IOC_VERSION, version) == 0);
    STM_FUZZ_EXPECT(version.regions == named);
    STM_FUZZ_EXPECT(version.bytes == bytes);
}

} // namespace stm::fuzz
