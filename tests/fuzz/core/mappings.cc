// SPDX-License-Identifier: GPL-2.0
// Steps that map regions, and load from and store to what is mapped.
#include "tests/fuzz/core/steps.hpp"

namespace stm::fuzz {

using simulated::MmapLock;

namespace {

// A transaction that runs already gets the view.
void give_view(World& world, File& file) {
    for (std::size_t actor = 0; actor < kActors; ++actor) {
        if (file.transactions[actor] && !file.transactions[actor]->has_no_view &&
            world.actors[actor].process == world.process() &&
            file.viewers[world.process()] != actor) {
            STM_FUZZ_EXPECT(file.viewers[world.process()] == kNobody);
            file.viewers[world.process()] = actor;
        }
    }
}

} // namespace

void map(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    std::uint64_t first = step.small % 6;
    std::uint64_t pages = 1 + step.large % 4;
    if ((step.flags & 8) != 0)
        pages = std::max(step.large, 1u);
    if ((step.flags & 16) != 0)
        first = ~std::uint64_t{0} - step.small % 8;
    unsigned allowed = 0;
    long result = 0;
    {
        const MmapLock held;
        result = stm_core_map(file.handle, first, pages, step.flags & 3, &allowed);
    }
    trace("  map %zu pages at %zu by thread %zu: %ld\n", std::size_t{pages}, std::size_t{first},
          world.who, result);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, EACCES, EBUSY, ENOSPC, EFBIG}));
    world.look_at_size(place);
    if (result != 0)
        return;
    const Region& region = world.region_of(place);
    STM_FUZZ_EXPECT(pages <= region.size / kPage && first <= region.size / kPage - pages);
    STM_FUZZ_EXPECT(((allowed & STM_MAP_PLAIN) != 0) == region.plain);
    STM_FUZZ_EXPECT((allowed & STM_MAP_EXEC) == 0 || (allowed & STM_MAP_WRITE) == 0);
    file.mappings.push_back(Mapping{world.process(), first, pages, (allowed & STM_MAP_WRITE) != 0});
    if (!region.plain) {
        give_view(world, file);
        file.was_mapped = true;
    }
}

namespace {

enum class Access { load, store };

// Bytes of one page of a mapping.
struct Place {
    const Mapping* mapping;
    std::size_t index;
    std::size_t offset;
    std::size_t count;

    std::size_t position() const { return index * kPage + offset; }
};

// In one of the caller's own mappings of the file; in none if it has none.
Place place_of(const World& world, const Step& step, const File& file) {
    std::vector<const Mapping*> own;
    for (const Mapping& mapping : file.mappings) {
        if (mapping.process == world.process())
            own.push_back(&mapping);
    }
    if (own.empty())
        return {};
    const Mapping& mapping = *own[step.flags % own.size()];
    const std::size_t offset = step.large >> 8 & (kPage - 1);
    return {&mapping, mapping.first + step.large % mapping.pages, offset,
            std::min<std::size_t>(kPage - offset, 1 + step.small % 100)};
}

stm_fault fault_at(const Place& at, const Step& step, bool plain, Access access) {
    stm_fault fault{};
    fault.index = at.index;
    fault.first = plain && step.small % 2 == 0 ? at.mapping->first : at.index;
    fault.last = plain ? at.mapping->first + at.mapping->pages - 1 : at.index;
    fault.write = access == Access::store;
    fault.memory = simulated::current_memory();
    fault.address = simulated::address_of(at.index);
    return fault;
}

struct Touched {
    stm_fault_result result;
    stm_page* page; // of STM_FAULT_MAP
};

Touched touch_plain(File& file, stm_fault& fault) {
    const stm_fault_result result = stm_core_fault(file.handle, &fault);
    if (result != STM_FAULT_MAP)
        return {result, nullptr};
    STM_FUZZ_EXPECT(fault.count <= STM_FAULT_BATCH);
    return {result, fault.pages[fault.index - fault.first]};
}

// As the processor and the fault handler do it.
Touched touch_transactional(File& file, stm_fault& fault, Access access) {
    stm_view* const view = stm_core_view(file.handle);
    stm_page* page = simulated::mapped_page(view, fault.index);
    if (simulated::touch(view, fault.index, access == Access::store))
        return {STM_FAULT_MAP, page};
    stm_fault_result result = STM_FAULT_MAP;
    if (page == nullptr) {
        result = stm_core_transactional_fault(file.handle, &fault);
        if (result != STM_FAULT_MAP)
            return {result, nullptr};
        STM_FUZZ_EXPECT(fault.count == 1);
        page = fault.pages[0];
        simulated::map_page(view, fault.index, page, false);
    }
    if (access == Access::store) {
        result = stm_core_make_writable(file.handle, &fault, page);
        if (result == STM_FAULT_MAP)
            simulated::map_page(view, fault.index, page, true);
    }
    return {result, page};
}

void check_refusal(const World& world, stm_fault_result result, Access access, bool has_viewer) {
    if (result == STM_FAULT_NO_MEMORY)
        STM_FUZZ_EXPECT(world.failed());
    if (result != STM_FAULT_MAP) {
        STM_FUZZ_EXPECT(result != STM_FAULT_OUTSIDE || has_viewer);
        if (access == Access::load && !has_viewer)
            STM_FUZZ_EXPECT(result == STM_FAULT_NO_MEMORY);
    }
}

// What the transaction, or a thread without one, sees there.
void compare(World& world, Region& region, Transaction* transaction, const Place& at,
             const std::uint8_t* bytes) {
    const bool compared = region.history && !world.in_between(region);
    if (region.history && !compared && transaction != nullptr)
        transaction->seen.reset();
    if (!compared)
        return;
    if (transaction == nullptr)
        STM_FUZZ_EXPECT(
            std::equal(bytes, bytes + at.count, region.history->last().data() + at.position()));
    else if (transaction->seen)
        transaction->seen->saw(at.position(), bytes, at.count);
}

void store_bytes(World& world, const Step& step, Region& region, Transaction* transaction,
                 const Place& at, std::uint8_t* bytes) {
    Bytes fresh(at.count);
    for (std::uint8_t& byte : fresh)
        byte = (step.flags & 8) != 0 ? bytes[0] : static_cast<std::uint8_t>(++world.value);
    std::copy(fresh.begin(), fresh.end(), bytes);
    if (!region.history)
        return;
    if (transaction == nullptr)
        region.history->write(at.position(), fresh.data(), at.count);
    else if (transaction->seen)
        transaction->seen->wrote(at.position(), fresh.data(), at.count,
                                 Observer::Way::if_different);
}

void touch(World& world, const Step& step, std::size_t place, Access access) {
    File& file = *world.files[place];
    const Place at = place_of(world, step, file);
    if (at.mapping == nullptr || (access == Access::store && !at.mapping->writable))
        return;
    Region& region = world.region_of(place);
    stm_fault fault = fault_at(at, step, region.plain, access);
    const Touched touched = [&] {
        const MmapLock held;
        return region.plain ? touch_plain(file, fault) : touch_transactional(file, fault, access);
    }();
    trace("  %s page %zu + %zu by thread %zu: %d\n", access == Access::store ? "store" : "load",
          at.index, at.offset, world.who, touched.result);
    const std::size_t viewer = region.plain ? kNobody : file.viewers[world.process()];
    if (!region.plain && viewer == kNobody && access == Access::store)
        STM_FUZZ_EXPECT(touched.result != STM_FAULT_MAP && "a store outside of a transaction");
    check_refusal(world, touched.result, access, viewer != kNobody);
    if (touched.result != STM_FAULT_MAP)
        return;
    Transaction* transaction = viewer == kNobody ? nullptr : file.transactions[viewer].get();
    if (transaction != nullptr)
        transaction->touched[at.index] = true;
    std::uint8_t* const bytes = simulated::page_bytes(touched.page) + at.offset;
    compare(world, region, transaction, at, bytes);
    if (access == Access::store)
        store_bytes(world, step, region, transaction, at, bytes);
}

} // namespace

void load(World& world, const Step& step, std::size_t place) {
    touch(world, step, place, Access::load);
}

void store(World& world, const Step& step, std::size_t place) {
    touch(world, step, place, Access::store);
}

void unmap(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    simulated::unmap_own(stm_core_view(file.handle));
    // MADV_DONTNEED leaves the mapping.
    if ((step.flags & 1) == 0)
        std::erase_if(file.mappings,
                      [&](const Mapping& mapping) { return mapping.process == world.process(); });
}

} // namespace stm::fuzz
