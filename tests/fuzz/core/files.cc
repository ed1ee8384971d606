// SPDX-License-Identifier: GPL-2.0
// Steps that open and close files.
#include "tests/fuzz/core/arguments.hpp"
#include "tests/fuzz/core/steps.hpp"

namespace stm::fuzz {

void open_node(World& world, const Step& step, std::size_t) {
    world.open_minor(step.small % 4 == 0 ? step.small % 20 : step.small % 6, step.flags & 3,
                     step.flags >> 2 & 1);
}

void open_region(World& world, const Step& step, std::size_t place) {
    if (!world.has_room())
        return;
    stm_open open{};
    open.flags = step.large & STM_OPEN_FLAGS;
    if ((step.flags & 8) != 0) // what a program does
        open.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE;
    if ((step.flags & 16) != 0)
        open.flags = (open.flags & 3u) | 1u | STM_OPEN_BY_ID;
    open.region_flags = step.flags & 7;
    if (step.large >> 27 == 1)
        open.region_flags = step.large >> 8 & 0x1ff;
    open.mode = (step.large >> 16 & 3) == 0 ? step.large >> 18 & 01777 : 0666;
    open.region_size = bytes_of(step);
    open.id = world.id_of(step);
    name(open.name, step.large >> 8);
    const std::uint32_t flags = open.flags;
    const long result = world.control(step, *world.files[place], STM_IOC_OPEN, open);
    STM_FUZZ_EXPECT(result >= 0 ||
                    world.expected(result, {EINVAL, E2BIG, ENOENT, EEXIST, EACCES, ENAMETOOLONG,
                                            EFBIG, ENOSPC, ESTALE, EMFILE, ENFILE}));
    if (result < 0)
        return;
    const simulated::FileState state = simulated::file_at(static_cast<int>(result));
    STM_FUZZ_EXPECT(state.handle != nullptr);
    STM_FUZZ_EXPECT(state.access == (flags & (STM_OPEN_READ | STM_OPEN_WRITE)));
    world.add(state.handle, static_cast<int>(result), state.access);
}

void close_file(World& world, const Step&, std::size_t place) {
    // One is always open, for the questions.
    if (world.files[place]->calls == 1 && place != 0)
        world.close(place);
}

void close_descriptor(World& world, const Step& step, std::size_t place) {
    if (step.flags % 2 == 0)
        stm_core_flush(world.files[place]->handle, simulated::still_open());
    else
        world.lose(*world.files[place]);
}

} // namespace stm::fuzz
