// SPDX-License-Identifier: GPL-2.0
// Steps of transactions that programs run by themselves: they read in the windows, and commit or
// wait by what they say that they have read.
#include "tests/fuzz/core/steps.hpp"

#include <utility>

namespace stm::fuzz {

using simulated::MmapLock;

namespace {

constexpr std::size_t kStripe = 64;

// What a window has at that place, or null.
const std::uint8_t* look(World& world, const File& file, std::uint64_t offset) {
    stm_fault fault{};
    fault.index = fault.last = offset / kPage;
    fault.first = fault.index - fault.index % 16 % (world.value % 3 + 1);
    const MmapLock held;
    const stm_fault_result result = stm_core_window_fault(file.handle, &fault);
    STM_FUZZ_EXPECT(result == STM_FAULT_MAP || (result == STM_FAULT_NO_MEMORY && world.failed()));
    if (result != STM_FAULT_MAP)
        return nullptr;
    STM_FUZZ_EXPECT(fault.first <= fault.index && fault.index - fault.first < fault.count);
    return simulated::page_bytes(fault.pages[fault.index - fault.first]) + offset % kPage;
}

// No window is mapped for more than loads, nor beyond its end.
void map_any_window(World& world, const Step& step, std::size_t place) {
    const File& file = *world.files[place];
    const std::uint64_t window = 1 + step.large % 4; // there are three
    unsigned allowed = 0;
    long result = 0;
    const unsigned wanted = step.flags >> 5 & 3;
    {
        const MmapLock held;
        result = stm_core_map(file.handle, (window << 56) / kPage + step.small % 8,
                              1 + (step.large >> 8) % 8, wanted, &allowed);
    }
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, EACCES, EBUSY, ENOSPC, EFBIG}));
    world.look_at_size(place);
    if (result != 0)
        return;
    STM_FUZZ_EXPECT(!world.region_of(place).plain && wanted == 0 && window < 4);
    STM_FUZZ_EXPECT(allowed == STM_MAP_WINDOW);
}

// The caller's transaction in that file. It begins if there is none; null if there can be none.
Typed* obtain(World& world, std::size_t place) {
    File& file = *world.files[place];
    if (file.typed[world.who])
        return file.typed[world.who].get();
    unsigned allowed = 0;
    long result = 0;
    {
        const MmapLock held;
        result = stm_core_map(file.handle, STM_OFFSET_CLOCK / kPage, 1, 0, &allowed);
    }
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, EACCES, ENOSPC, EFBIG}));
    world.look_at_size(place);
    if (result != 0)
        return nullptr;
    const Region& region = world.region_of(place);
    auto fresh = std::make_unique<Typed>();
    if (region.history)
        fresh->seen.emplace(*region.history);
    const std::uint8_t* const clock = look(world, file, STM_OFFSET_CLOCK);
    STM_FUZZ_EXPECT(clock != nullptr);
    std::memcpy(&fresh->snapshot, clock, sizeof(fresh->snapshot));
    file.typed[world.who] = std::move(fresh);
    return file.typed[world.who].get();
}

// Reads a stripe as <stm/ioctl.h> says. False: it conflicts.
bool read_stripe(World& world, Region& region, const File& file, Typed& own, std::size_t stripe) {
    const auto record = [&](std::uint64_t& value) {
        const std::uint8_t* const place =
            look(world, file, STM_OFFSET_RECORDS + stripe * sizeof(value));
        if (place != nullptr)
            std::memcpy(&value, place, sizeof(value));
        return place != nullptr;
    };
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    if (!record(before))
        return true;
    const std::uint8_t* const bytes = look(world, file, STM_OFFSET_COMMITTED + stripe * kStripe);
    if (bytes == nullptr)
        return true;
    std::array<std::uint8_t, kStripe> copy{};
    std::copy_n(bytes, kStripe, copy.begin());
    if (!record(after))
        return true;
    if (before != after || before % 2 != 0 || before >> 1 > own.snapshot)
        return false;
    own.reads.push_back(STM_READ_RUN(stripe, 1));
    if (own.seen && !world.in_between(region))
        own.seen->saw(stripe * kStripe, copy.data(), kStripe);
    return true;
}

// What a commit or a wait gives for one region.
struct Given {
    std::size_t place = kNobody;
    std::uint64_t snapshot = 0;
    std::vector<std::uint64_t> reads;
    std::vector<stm_stripe_write> writes;

    stm_sets sets(int handle) const {
        stm_sets sets{};
        sets.handle = handle;
        sets.snapshot = snapshot;
        sets.reads = reinterpret_cast<std::uint64_t>(reads.data());
        sets.writes = reinterpret_cast<std::uint64_t>(writes.data());
        sets.read_count = static_cast<std::uint32_t>(reads.size());
        sets.write_count = static_cast<std::uint32_t>(writes.size());
        return sets;
    }
};

stm_stripe_write write_of(World& world, std::uint64_t stripe, std::uint64_t mask) {
    stm_stripe_write write{};
    write.stripe = stripe;
    write.mask = mask;
    for (std::uint8_t& byte : write.bytes)
        byte = static_cast<std::uint8_t>(++world.value);
    return write;
}

// What was read, and some writes: in a large region perhaps so many that they need the token.
Given given_by(World& world, const Step& step, std::size_t place, const Typed& own) {
    Given given{place, own.snapshot, own.reads, {}};
    const Region& region = world.region_of(place);
    const std::size_t stripes = region.size / kStripe;
    std::size_t count = step.small % 4;
    if (!region.history && (step.small & 0xf0) == 0xf0)
        count = 200 + step.small % 200;
    for (std::size_t stripe = step.large % stripes; count-- != 0 && stripe < stripes;
         stripe += 1 + step.large % 7)
        given.writes.push_back(
            write_of(world, stripe, step.large | std::uint64_t{step.small} << 40 | 1));
    return given;
}

// Anything at all.
void spoil(World& world, const Step& step, Given& given) {
    const std::uint64_t any = step.large * 0x9e3779b97f4a7c15u;
    switch (step.small >> 8 & 7) {
    case 0:
        given.snapshot = any;
        break;
    case 1:
        given.snapshot += step.large % 3;
        break;
    case 2:
        given.reads.push_back(any);
        break;
    case 3:
        given.reads.clear();
        break;
    case 4:
        given.writes.push_back(write_of(world, any, 1));
        break;
    case 5:
        given.writes.push_back(write_of(world, step.large % 4, any));
        break;
    case 6:
        given.writes.push_back(write_of(world, 0, 0));
        break;
    default:
        given.reads.push_back(STM_READ_RUN(step.large % 256, 1 + step.large % 300));
    }
}

// Whether a conflict is no surprise.
bool may_conflict(const World& world, const Typed* own) {
    return world.disturbed || own == nullptr || !own->seen || own->seen->may_conflict();
}

void wrote(Observer& seen, const Given& given) {
    for (const stm_stripe_write& write : given.writes) {
        for (std::size_t i = 0; i < kStripe; ++i) {
            if ((write.mask >> i & 1) != 0)
                seen.wrote(write.stripe * kStripe + i, write.bytes + i, 1);
        }
    }
}

// It has taken effect. `own` is null if the sets were not what was read.
void note_commit(World& world, const Given& given, Typed* own) {
    Region& region = world.region_of(given.place);
    if (!region.history)
        return;
    const std::optional<Bytes> actual = world.contents(region);
    if (!actual) {
        region.history.reset(); // without a name nobody can look
        world.forget_model(region);
        return;
    }
    std::optional<Observer> blind;
    Observer* seen = own != nullptr && own->seen ? &*own->seen : nullptr;
    if (seen == nullptr)
        seen = &blind.emplace(*region.history);
    if (world.in_between(region) || world.disturbed) {
        // Where it comes among the others is not known.
        if (*actual != region.history->last())
            region.history->replace(*actual);
        world.forget_model(region);
        return;
    }
    wrote(*seen, given);
    seen->committed(*region.history, *actual);
}

// The end of the transactions whose tokens it had. They may have written nothing.
void note_adopted(World& world, const Given& given, long result) {
    File& file = *world.files[given.place];
    const Transaction* const adopted = world.transaction(file);
    if (result == 0 && !world.disturbed) {
        STM_FUZZ_EXPECT(adopted != nullptr);
        STM_FUZZ_EXPECT(!adopted->seen || !adopted->seen->has_written());
    }
    const std::uint32_t left = world.tell_transaction(file).depth;
    STM_FUZZ_EXPECT(left == 0 || (result != 0 && result != -EAGAIN));
    if (left == 0)
        world.forget(file, world.who);
}

// Another file of the caller's that has a descriptor, of another region; or kNobody.
std::size_t pick_other(const World& world, const Step& step, std::size_t place) {
    const std::size_t other = world.pick(step.small >> 4);
    if (other == kNobody || world.files[other]->descriptor < 0 ||
        world.files[other]->region == world.files[place]->region)
        return kNobody;
    return other;
}

// The sets of one call. Files may be closed while a call is in progress, but not those.
class Request {
public:
    explicit Request(World& world) : world_(world) {}
    ~Request() {
        for (const std::size_t place : held_)
            --world_.files[place]->calls;
    }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    void hold(std::size_t place) {
        held_.push_back(place);
        ++world_.files[place]->calls;
    }

    std::vector<Given> all;
    std::vector<Typed*> own; // of the same numbers; null: the sets are others
    bool spoilt = false;

private:
    World& world_;
    std::vector<std::size_t> held_;
};

// False: there are no sets.
bool prepare(World& world, const Step& step, std::size_t place, Request& request) {
    request.spoilt = (step.flags & 3) == 3;
    for (const std::size_t at :
         {place, (step.flags & 4) != 0 ? pick_other(world, step, place) : kNobody}) {
        if (at == kNobody)
            continue;
        request.hold(at);
        Typed* const own = obtain(world, at);
        if (own == nullptr)
            continue;
        request.all.push_back(given_by(world, step, at, *own));
        request.own.push_back(request.spoilt ? nullptr : own);
    }
    if (request.all.empty() || request.all[0].place != place)
        return false;
    if (request.spoilt)
        spoil(world, step, request.all[step.large % request.all.size()]);
    return true;
}

} // namespace

void typed_read(World& world, const Step& step, std::size_t place) {
    if ((step.flags & 16) != 0)
        return map_any_window(world, step, place);
    Typed* const own = obtain(world, place);
    if (own == nullptr)
        return;
    File& file = *world.files[place];
    Region& region = world.region_of(place);
    const std::size_t stripes = region.size / kStripe;
    for (std::size_t i = 0; i <= step.flags % 3u; ++i) {
        if (!read_stripe(world, region, file, *own, (step.large + i * step.small) % stripes)) {
            STM_FUZZ_EXPECT(may_conflict(world, own) || world.in_between(region));
            file.typed[world.who] = nullptr;
            return;
        }
    }
}

void typed_commit(World& world, const Step& step, std::size_t place) {
    Request request(world);
    if (!prepare(world, step, place, request))
        return;
    std::vector<stm_sets> others;
    for (std::size_t i = 1; i < request.all.size(); ++i)
        others.push_back(request.all[i].sets(world.files[request.all[i].place]->descriptor));
    const bool serial = (step.flags & 8) != 0;
    stm_commit_sets argument{};
    argument.flags = serial ? STM_COMMIT_SERIAL : 0;
    argument.sets = request.all[0].sets(-1);
    argument.others = reinterpret_cast<std::uint64_t>(others.data());
    argument.other_count = static_cast<std::uint32_t>(others.size());
    for (const Given& given : request.all)
        world.committing.push_back(world.files[given.place]->region);
    const long result = world.control(step, *world.files[place], STM_IOC_COMMIT_SETS, argument);
    world.committing.resize(world.committing.size() - request.all.size());
    STM_FUZZ_EXPECT(result == 0 ||
                    world.expected(result, {EAGAIN, EINVAL, EBADF, EACCES, EOPNOTSUPP, E2BIG,
                                            ENOSPC, EINTR, EDEADLK, ECANCELED}));
    bool conflicts = request.spoilt || serial;
    for (std::size_t i = 0; i < request.all.size(); ++i) {
        const Given& given = request.all[i];
        Region& region = world.region_of(given.place);
        conflicts = conflicts || may_conflict(world, request.own[i]) || world.in_between(region);
        if (result == 0)
            note_commit(world, given, request.own[i]);
        if (serial)
            note_adopted(world, given, result);
    }
    if (result == -EAGAIN)
        STM_FUZZ_EXPECT(conflicts);
    for (const Given& given : request.all)
        world.files[given.place]->typed[world.who] = nullptr;
}

void typed_wait(World& world, const Step& step, std::size_t place) {
    Request request(world);
    if (!prepare(world, step, place, request))
        return;
    std::vector<stm_sets> others;
    for (std::size_t i = 0; i < request.all.size(); ++i) {
        if ((step.small & 0xf000) != 0)
            request.all[i].writes.clear();
        if (i != 0)
            others.push_back(request.all[i].sets(world.files[request.all[i].place]->descriptor));
    }
    stm_wait_sets argument{};
    argument.flags = (step.small & 0x100) != 0 ? STM_WAIT_UNTIL : 0;
    argument.sets = request.all[0].sets(-1);
    argument.others = reinterpret_cast<std::uint64_t>(others.data());
    argument.other_count = static_cast<std::uint32_t>(others.size());
    argument.timeout_ns = (step.small & 0x200) != 0 ? STM_WAIT_FOREVER : step.large;
    const long result = world.control(step, *world.files[place], STM_IOC_WAIT_SETS, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, EBADF, EACCES, EOPNOTSUPP, E2BIG,
                                                           ETIMEDOUT, EINTR, EDEADLK}));
    bool changes = request.spoilt;
    for (std::size_t i = 0; i < request.all.size(); ++i)
        changes = changes || may_conflict(world, request.own[i]) ||
                  world.in_between(world.region_of(request.all[i].place));
    if (result == 0)
        STM_FUZZ_EXPECT(changes);
}

} // namespace stm::fuzz
