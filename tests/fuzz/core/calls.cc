// SPDX-License-Identifier: GPL-2.0
// Steps that read and write by calls.
#include "tests/fuzz/core/arguments.hpp"
#include "tests/fuzz/core/steps.hpp"

#include <utility>

namespace stm::fuzz {

namespace {

// What a read and a write call have in common: a buffer that may end early, and the results that
// are documented.
struct Call {
    Call(World& w, const Step& step, std::size_t p, std::uint64_t position_of_it, Bytes content)
        : world(w), place(p), file(*w.files[p]), region(w.region_of(p)), position(position_of_it),
          bytes(std::move(content)), buffer(bytes.data(), bytes.size()), own(w.transaction(file)),
          failed_before(own != nullptr ? w.failure_of(file) : 0) {
        if ((step.flags & 1) != 0 && !bytes.empty())
            buffer.fault_at(step.flags % bytes.size());
    }

    void check(const char* what, long result) {
        trace("  %s %zu at %#zx by thread %zu: %ld\n", what, bytes.size(), std::size_t{position},
              world.who, result);
        STM_FUZZ_EXPECT(result >= 0 || world.expected(result, {EAGAIN, E2BIG, ENOSPC, EDEADLK,
                                                               EACCES, EFBIG, ECANCELED}));
        STM_FUZZ_EXPECT(buffer.consumed() == static_cast<std::size_t>(std::max(result, 0l)));
        if (own != nullptr)
            world.expect_failure(file, result, failed_before);
        world.look_at_size(place);
        if (result > 0)
            STM_FUZZ_EXPECT(position + static_cast<std::size_t>(result) <= region.size);
    }

    World& world;
    std::size_t place;
    File& file;
    Region& region;
    std::uint64_t position;
    Bytes bytes;
    simulated::UserBuffer buffer;
    Transaction* own; // the caller's, or null
    long failed_before;
};

} // namespace

void read(World& world, const Step& step, std::size_t place) {
    if ((world.files[place]->access & STM_ACCESS_READ) == 0)
        return;
    world.look_at_size(place);
    const Range range = range_of(step);
    Call call(world, step, place, range.position, Bytes(range.length, 0xEE));
    std::optional<Observer> alone;
    if (call.region.history)
        alone.emplace(*call.region.history);
    const bool shows = call.region.size != 0;
    const long result = stm_core_read(call.file.handle, call.buffer.get(), call.position);
    call.check("read", result);
    if (!shows || !call.region.history)
        return;
    Transaction* const own = call.own;
    if (world.in_between(call.region)) {
        if (own != nullptr)
            own->seen.reset();
        return;
    }
    if (own != nullptr && !own->seen)
        return;
    Observer& seen = own != nullptr ? *own->seen : *alone;
    if (own != nullptr)
        expect_reason(result, seen);
    if (result > 0)
        seen.saw(call.position, call.bytes.data(), static_cast<std::size_t>(result));
}

namespace {

void note_write_inside(Transaction& own, const Call& call, std::size_t count) {
    for (std::size_t i = 0; i < count;) {
        const std::size_t place = call.position + i;
        const std::size_t part = std::min(count - i, kPage - place % kPage);
        own.seen->wrote(place, call.bytes.data() + i, part,
                        own.touched[place / kPage] ? Observer::Way::if_different
                                                   : Observer::Way::hard);
        i += part;
    }
}

// Another call came before this one, or behind it. `before` is what the region had at its begin.
void note_write_beside_another(const Call& call, const Bytes& before, std::size_t count) {
    History& history = *call.region.history;
    const auto at = static_cast<long>(call.position);
    Bytes last = history.last();
    std::copy_n(call.bytes.begin(), count, last.begin() + at);
    Bytes first = before;
    std::copy_n(call.bytes.begin(), count, first.begin() + at);
    for (std::size_t i = 0; i < first.size(); ++i) {
        if (history.last()[i] != before[i])
            first[i] = history.last()[i];
    }
    const Bytes actual = call.world.contents_or(call.region, last);
    STM_FUZZ_EXPECT(call.world.guessed || actual == last || actual == first);
    history.replace(actual);
    // Which state lay in between is not known.
    call.world.forget_model(call.region);
}

} // namespace

void write(World& world, const Step& step, std::size_t place) {
    if ((world.files[place]->access & STM_ACCESS_WRITE) == 0)
        return;
    world.look_at_size(place);
    const Range range = range_of(step);
    Bytes bytes(range.length);
    for (std::size_t i = 0; i < range.length; ++i)
        bytes[i] = static_cast<std::uint8_t>(++world.value >> (i % 3));
    Call call(world, step, place, range.position, std::move(bytes));
    Region& region = call.region;
    const bool was_sized = region.size != 0;
    const Bytes before = region.history ? region.history->last() : Bytes();
    const std::uint64_t outer = world.writing;
    if (call.own == nullptr && outer != region.id) {
        world.writing = region.id;
        world.guessed = false;
    }
    const long result = stm_core_write(call.file.handle, call.buffer.get(), call.position);
    world.writing = outer;
    call.check("write", result);
    if (!region.history)
        return;
    const auto count = static_cast<std::size_t>(std::max(result, 0l));
    if (Transaction* own = call.own) {
        if (!own->seen)
            return;
        expect_reason(result, *own->seen);
        note_write_inside(*own, call, count);
    } else if (count != 0 || (world.disturbed && world.guessed)) {
        if (world.in_between(region) || !world.disturbed || !was_sized)
            region.history->write(call.position, call.bytes.data(), count);
        else
            note_write_beside_another(call, before, count);
    }
}

} // namespace stm::fuzz
