// SPDX-License-Identifier: GPL-2.0
// Steps that ask, and that change what is there without touching its contents.
#include "tests/fuzz/core/arguments.hpp"
#include "tests/fuzz/core/steps.hpp"

#include <iterator>

namespace stm::fuzz {

void info(World& world, const Step& step, std::size_t place) {
    stm_info argument{};
    argument.flags = 1u << step.large % 6;
    argument.id = world.id_of(step);
    argument.minor = step.small % 20;
    name(argument.name, step.large >> 8);
    const long result = world.control(step, *world.files[place], STM_IOC_INFO, argument);
    STM_FUZZ_EXPECT(result == 0 ||
                    world.expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
}

void statistics(World& world, const Step& step, std::size_t place) {
    stm_statistics argument{};
    argument.flags = 1u << step.large % 5;
    if ((step.flags & 1) != 0)
        argument.flags = STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE;
    argument.id = world.id_of(step);
    name(argument.name, step.large >> 8);
    const long result = world.control(step, *world.files[place], STM_IOC_STATISTICS, argument);
    STM_FUZZ_EXPECT(result == 0 ||
                    world.expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
    if (result == 0)
        STM_FUZZ_EXPECT(argument.waiting == 0 || world.disturbed);
}

void attachments(World& world, const Step& step, std::size_t place) {
    std::vector<stm_attachment> list(step.small % 8);
    stm_attachments argument{};
    argument.flags = 1u << step.large % 5;
    argument.id = world.id_of(step);
    argument.capacity =
        (step.flags & 1) != 0 ? static_cast<std::uint32_t>(list.size()) : step.large >> 16;
    // More than there are is told only where they fit.
    if (argument.capacity > list.size())
        list.resize(std::min<std::size_t>(argument.capacity, 64));
    argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
    if ((step.flags & 2) != 0)
        argument.buffer = step.small % simulated::kLowestAddress;
    name(argument.name, step.large >> 8);
    const long result = world.control(step, *world.files[place], STM_IOC_ATTACHMENTS, argument);
    STM_FUZZ_EXPECT(result == 0 ||
                    world.expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
}

namespace {

void change_segment(World& world, const Step& step, std::size_t place) {
    stm_change_segment argument{};
    argument.flags = 1u << step.large % 4;
    argument.id = world.id_of(step);
    argument.uid = 1000 + step.small % 2;
    argument.mode = step.small >> 4;
    const long result = world.control(step, *world.files[place], STM_IOC_CHANGE_SEGMENT, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, E2BIG, ESTALE, EPERM}));
}

} // namespace

void destroy(World& world, const Step& step, std::size_t place) {
    if ((step.flags & 12) == 12)
        return change_segment(world, step, place);
    stm_destroy argument{};
    argument.flags = (1u << step.large % 4) | ((step.flags & 1) != 0 ? STM_DESTROY_DEFERRED : 0);
    if ((step.flags & 2) != 0)
        argument.flags = step.large;
    argument.id = world.id_of(step);
    name(argument.name, step.large >> 8);
    const long result = world.control(step, *world.files[place], STM_IOC_DESTROY, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, EPERM,
                                                           EBUSY, ENAMETOOLONG}));
}

void set_size(World& world, const Step& step, std::size_t place) {
    stm_set_size argument{};
    argument.region_size = bytes_of(step);
    argument.flags = (step.flags & 7) == 7 ? 1 : 0;
    world.look_at_size(place);
    const std::uint64_t before = world.region_of(place).size;
    const long result = world.control(step, *world.files[place], STM_IOC_SET_SIZE, argument);
    STM_FUZZ_EXPECT(result == 0 ||
                    world.expected(result, {EINVAL, E2BIG, EBUSY, EFBIG, ENOSPC, EBADF, EACCES}));
    world.look_at_size(place);
    if (result == 0) {
        STM_FUZZ_EXPECT(argument.region_size == world.region_of(place).size);
        STM_FUZZ_EXPECT((world.files[place]->access & STM_ACCESS_WRITE) != 0);
    } else if (!world.disturbed) {
        STM_FUZZ_EXPECT(world.region_of(place).size == before);
    }
}

void places(World& world, const Step& step, std::size_t place) {
    if ((step.flags & 1) != 0) {
        std::vector<stm_place> list(step.small % 8);
        stm_places argument{};
        argument.flags = 1u << step.large % 5;
        argument.id = world.id_of(step);
        argument.capacity =
            (step.flags & 2) != 0 ? static_cast<std::uint32_t>(list.size()) : step.large >> 16;
        if (argument.capacity > list.size())
            list.resize(std::min<std::size_t>(argument.capacity, STM_MAX_PLACES));
        argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
        name(argument.name, step.large >> 8);
        const long result = world.control(step, *world.files[place], STM_IOC_PLACES, argument);
        STM_FUZZ_EXPECT(result == 0 ||
                        world.expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
        STM_FUZZ_EXPECT(result != 0 || argument.count <= STM_MAX_PLACES);
        return;
    }
    stm_place argument{};
    argument.flags = (step.flags & 6) == 6 ? 1 : 0;
    argument.offset = step.small;
    argument.length = step.large & 0xffff;
    argument.name[0] = static_cast<char>(step.large >> 16);
    argument.name[1] = static_cast<char>(step.large >> 24);
    if ((step.flags & 8) != 0)
        std::fill(std::begin(argument.name), std::end(argument.name), 'x');
    const long result = world.control(step, *world.files[place], STM_IOC_NAME_PLACE, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, E2BIG, ENOENT, ENOSPC, EBADF,
                                                           EACCES, EFBIG, ENAMETOOLONG}));
    world.look_at_size(place);
}

namespace {

void any_request(World& world, const Step& step, const File& file) {
    static constexpr unsigned kRequests[] = {
        STM_IOC_VERSION,     STM_IOC_OPEN,      STM_IOC_SET_SIZE,       STM_IOC_INFO,
        STM_IOC_ATTACHMENTS, STM_IOC_DESTROY,   STM_IOC_WAIT,           STM_IOC_STATISTICS,
        STM_IOC_TRANSACTION, STM_IOC_CELL,      STM_IOC_CHANGE_SEGMENT, STM_IOC_DETACH_SEGMENT,
        STM_IOC_COMMIT_SETS, STM_IOC_WAIT_SETS, STM_IOC_NAME_PLACE,     STM_IOC_PLACES,
        STM_IOC_VECTOR};
    if ((step.flags & 2) != 0) {
        // Addresses that lead nowhere.
        const long result = world.control(file, kRequests[step.large % std::size(kRequests)],
                                          std::uint64_t{step.small % simulated::kLowestAddress});
        STM_FUZZ_EXPECT(world.expected(result, {}));
        return;
    }
    const unsigned request = step.large;
    const bool known = (request & ~0x1fu) == STM_IOC_VERSION;
    if (!known)
        STM_FUZZ_EXPECT(world.control(file, request, std::uint64_t{step.small}) == -ENOTTY);
}

void version(World& world, const Step& step, const File& file) {
    stm_version argument{};
    argument.flags = (step.flags & 7) == 7 ? 1 : 0;
    argument.reserved = (step.flags & 7) == 6 ? 1 : 0;
    const long result = world.control(step, file, STM_IOC_VERSION, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, E2BIG}));
}

// What Linux asks by itself: poll, fdinfo, lseek.
void look(World& world, const File& file) {
    stm_core_poll_ready(file.handle);
    stm_core_poll_queue(file.handle);
    stm_info info{};
    stm_core_describe(file.handle, &info);
    const long long size = stm_core_size(file.handle);
    STM_FUZZ_EXPECT(size > 0 || world.expected(static_cast<long>(size), {EACCES, ENOSPC, EFBIG}));
}

void change_settings(stm_settings& settings, const Step& step) {
    settings.max_contexts = 1 + step.small % 4;
    settings.serial_after = step.small >> 2 & 3;
    settings.max_stripes = (step.flags & 1) != 0 ? 1 << 12 : 1 + (step.small >> 4 & 0x7f);
    settings.serial_lease_ms = (step.flags & 2) != 0 ? 1000 : 0;
    settings.max_user_regions = 1 + step.large % 6;
    settings.max_bytes = ((step.flags & 4) != 0 ? 24 : 1) << 20;
}

void change_rights(const File& file, const Step& step) {
    stm_identity* identity = simulated::identity_of(stm_core_view(file.handle));
    simulated::change_mode(identity, step.small & 0777);
    if ((step.flags & 1) != 0)
        simulated::change_owner(identity, 1000 + step.large % 2, 1000);
}

} // namespace

void timers_or_any_request(World& world, const Step& step, std::size_t place) {
    if ((step.flags & 1) != 0)
        simulated::run_timers();
    else
        any_request(world, step, *world.files[place]);
}

void version_or_look(World& world, const Step& step, std::size_t place) {
    if ((step.flags & 1) != 0)
        version(world, step, *world.files[place]);
    else
        look(world, *world.files[place]);
}

void change_settings_or_rights(World& world, const Step& step, std::size_t place) {
    if ((step.flags & 16) != 0)
        change_settings(world.settings, step);
    else
        change_rights(*world.files[place], step);
}

} // namespace stm::fuzz
