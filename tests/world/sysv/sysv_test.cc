// SPDX-License-Identifier: GPL-2.0
// System V segments of regions do what the kernel's own do: the same calls, in random order, by
// processes of several users that fork, exec, end and are killed, give the same results.
#include "actor.hpp"
#include "tests/guest/support/guest.hpp"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <random>
#include <sys/prctl.h>

namespace stm::world {
namespace {

using test::Child;
using test::kPage;

constexpr key_t kKeys = 0x57a70000;

// -- The same random calls --

struct ModelSegment {
    int ids[kSides];
    std::uint64_t bytes;
};

struct Actor {
    pid_t pid = -1;
    bool program = false; // it has called exec
};

std::string text_of_ids(const ModelSegment& segment) {
    return std::to_string(segment.ids[0]) + "/" + std::to_string(segment.ids[1]);
}

void remove_all(Side side) {
    struct shm_info sums {};
    const int highest = shm_ctl(side, 0, SHM_INFO, &sums);
    for (int index = 0; index <= highest; ++index) {
        struct shmid_ds what {};
        const int id = shm_ctl(side, index, SHM_STAT_ANY, &what);
        if (id >= 0)
            shm_ctl(side, id, IPC_RMID, nullptr);
    }
}

void write_setting(const char* path, const std::string& value) {
    const test::Fd file(::open(path, O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(file) << path;
    ASSERT_EQ(::write(file.get(), value.data(), value.size()), ssize_t(value.size())) << path;
}

class SysvComparison : public testing::TestWithParam<unsigned> {
protected:
    void SetUp() override {
        // Processes whose parents end are this one's to wait for.
        ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        for (const Side side : {kKernel, kRegions})
            remove_all(side);
        auto limits = test::make<struct stm_version>();
        ASSERT_EQ(test::request(STM_IOC_VERSION, &limits), 0);
        write_setting("/proc/sys/kernel/shmmax", std::to_string(limits.max_region_bytes));
        too_large_ = limits.max_region_bytes + kPage;
        actors_[0].pid = ::fork();
        if (actors_[0].pid == 0)
            act(channels_, 0);
    }

    void TearDown() override {
        for (Actor& actor : actors_)
            kill(actor);
        for (const Side side : {kKernel, kRegions})
            remove_all(side);
    }

    void step();
    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    bool chance(unsigned percent) { return below(100) < percent; }

    std::mt19937 random_{GetParam()};

private:
    void kill(Actor& actor) {
        if (actor.pid <= 0)
            return;
        ::kill(actor.pid, SIGKILL);
        int status = 0;
        EXPECT_EQ(::waitpid(actor.pid, &status, 0), actor.pid);
        actor = {};
    }

    void leave(int channel) {
        Order order{};
        order.act = Act::leave;
        channels_.tell(channel, order);
        int status = 0;
        EXPECT_EQ(::waitpid(actors_[channel].pid, &status, 0), actors_[channel].pid);
        EXPECT_EQ(status, 0);
        actors_[channel] = {};
    }

    std::optional<int> free_channel() {
        for (int channel = 1; channel < kChannels; ++channel)
            if (actors_[channel].pid <= 0)
                return channel;
        return std::nullopt;
    }

    Order any_order();
    void send(int channel, const Order& order, Report& report);
    void compare(int channel, const Order& order, const Report& report);
    void note_segment(const Order& order, const Report& report);
    void stat(std::size_t at, Report& report);
    void stat_all();
    void stat_one(const Order& order);

    Channels channels_;
    Actor actors_[kChannels];
    std::vector<ModelSegment> segments_;
    std::uint64_t too_large_ = 0;
    unsigned steps_ = 0;
};

Order SysvComparison::any_order() {
    static constexpr Act kActs[] = {
        Act::get,          Act::get,    Act::get,    Act::get,    Act::attach, Act::attach,
        Act::attach,       Act::attach, Act::attach, Act::detach, Act::detach, Act::detach,
        Act::detach_wrong, Act::unmap,  Act::move,   Act::store,  Act::store,  Act::stat,
        Act::stat,         Act::set,    Act::set,    Act::remove, Act::remove, Act::remove,
        Act::lock,         Act::unlock, Act::info,   Act::fork,   Act::fork,   Act::become,
        Act::exec};
    static constexpr std::int32_t kModes[] = {0600, 0644, 0666, 0400, 0000, 0040, 0004, 0777, 0660};
    static constexpr std::uint64_t kSizes[] = {0, 1, 4095, 4096, 4097, 10000, 65536};
    static constexpr std::uint32_t kUsers[] = {0, 1000, 1001, 1000, 1001, ~0u};
    Order order{};
    order.act = kActs[below(std::size(kActs))];
    order.key = chance(8) ? IPC_PRIVATE : kKeys + static_cast<int>(below(6));
    order.flags = kModes[below(std::size(kModes))];
    order.bytes = chance(3) ? too_large_ : kSizes[below(std::size(kSizes))];
    order.place = below(kPlaces);
    order.offset = below(32);
    order.uid = kUsers[below(std::size(kUsers))];
    order.gid = kUsers[below(std::size(kUsers))];
    order.mode = static_cast<std::uint32_t>(kModes[below(std::size(kModes))]);
    order.value = below(1000);
    order.ids[kKernel] = order.ids[kRegions] = chance(50) ? -1 : 32;
    if (!segments_.empty() && !chance(2)) {
        const ModelSegment& segment = segments_[below(unsigned(segments_.size()))];
        order.ids[kKernel] = segment.ids[kKernel];
        order.ids[kRegions] = segment.ids[kRegions];
        if (order.act == Act::attach)
            order.bytes = segment.bytes;
    }
    if (order.act == Act::get) {
        order.flags |= chance(70) ? IPC_CREAT : 0;
        order.flags |= chance(30) ? IPC_EXCL : 0;
    } else if (order.act == Act::attach) {
        order.flags = chance(30) ? SHM_RDONLY : 0;
        order.where = static_cast<Where>(chance(40) ? below(2) : below(8));
    } else if (order.act == Act::set && chance(30)) {
        order.mode |= 07000;
    }
    return order;
}

void SysvComparison::compare(int channel, const Order& order, const Report& report) {
    Outcome kernel = report.of[kKernel];
    Outcome regions = report.of[kRegions];
    // Whether another segment has the place of one that is gone is no business of programs.
    for (Outcome* outcome : {&kernel, &regions})
        if (outcome->facts.error == EIDRM)
            outcome->facts.error = EINVAL;
    ASSERT_TRUE(kernel.facts == regions.facts)
        << "step " << steps_ << ", actor " << channel << ": " << text_of(order)
        << "\nkernel:  " << text_of(kernel.facts) << "\nregions: " << text_of(regions.facts);
    EXPECT_NEAR(double(kernel.attached), double(regions.attached), 2) << text_of(order);
    EXPECT_NEAR(double(kernel.detached), double(regions.detached), 2) << text_of(order);
    EXPECT_NEAR(double(kernel.changed), double(regions.changed), 2) << text_of(order);
}

void SysvComparison::send(int channel, const Order& order, Report& report) {
    ASSERT_TRUE(channels_.order(channel, order, report)) << text_of(order);
    if (order.act < Act::fork) {
        ASSERT_NO_FATAL_FAILURE(compare(channel, order, report));
    }
}

void SysvComparison::note_segment(const Order& order, const Report& report) {
    if (report.of[kKernel].facts.error != 0)
        return;
    const int kernel = report.of[kKernel].id;
    const int regions = report.of[kRegions].id;
    for (const ModelSegment& segment : segments_) {
        if (segment.ids[kKernel] == kernel || segment.ids[kRegions] == regions) {
            ASSERT_TRUE(segment.ids[kKernel] == kernel && segment.ids[kRegions] == regions)
                << text_of(order) << ": " << kernel << "/" << regions << " is "
                << text_of_ids(segment);
            return;
        }
    }
    segments_.push_back({{kernel, regions}, order.bytes});
}

// The first actor, which is root, looks at a segment.
void SysvComparison::stat(std::size_t at, Report& report) {
    Order order{};
    order.act = Act::stat;
    order.ids[kKernel] = segments_[at].ids[kKernel];
    order.ids[kRegions] = segments_[at].ids[kRegions];
    ASSERT_NO_FATAL_FAILURE(send(0, order, report));
}

void SysvComparison::stat_all() {
    for (std::size_t at = 0; at < segments_.size();) {
        Report report{};
        ASSERT_NO_FATAL_FAILURE(stat(at, report));
        // A few that are gone stay in the list.
        if (report.of[kKernel].facts.error != 0 && segments_.size() > 6)
            segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(at));
        else
            ++at;
    }
}

// After a call, the segment that it was about.
void SysvComparison::stat_one(const Order& order) {
    Report report{};
    for (std::size_t at = 0; at < segments_.size(); ++at)
        if (segments_[at].ids[kRegions] == order.ids[kRegions])
            return stat(at, report);
}

void SysvComparison::step() {
    ++steps_;
    int channel = static_cast<int>(below(kChannels));
    while (actors_[channel].pid <= 0)
        channel = (channel + 1) % kChannels;
    Actor& actor = actors_[channel];
    Order order = any_order();
    if (channel != 0 && (actor.program ? chance(20) : chance(4))) {
        if (chance(50) || actor.program)
            kill(actor);
        else
            leave(channel);
        ASSERT_NO_FATAL_FAILURE(stat_all());
        return;
    }
    if (actor.program)
        return;
    const std::optional<int> other = free_channel();
    if (order.act == Act::fork) {
        if (!other)
            return;
        order.value = static_cast<std::uint32_t>(*other);
    }
    if (channel == 0 && (order.act == Act::become || order.act == Act::exec))
        return;
    if (order.act == Act::become) {
        order.uid = 1000 + below(2);
        order.gid = 1000 + below(2);
        order.mode = 1000 + below(3);
    }
    Report report{};
    ASSERT_NO_FATAL_FAILURE(send(channel, order, report));
    if (order.act == Act::get) {
        ASSERT_NO_FATAL_FAILURE(note_segment(order, report));
    }
    if (order.act == Act::fork) {
        ASSERT_GT(report.pid, 0);
        actors_[*other].pid = report.pid;
    }
    if (order.act == Act::exec)
        actor.program = true;
    if (order.act >= Act::fork || steps_ % 8 == 0)
        stat_all();
    else
        stat_one(order);
}

TEST_P(SysvComparison, RandomCallsGiveWhatTheKernelsOwnGive) {
    const char* wanted = std::getenv("STM_WORLD_STEPS");
    const unsigned steps = wanted != nullptr ? unsigned(std::atoi(wanted)) : 150;
    for (unsigned done = 0; done < steps; ++done) {
        ASSERT_NO_FATAL_FAILURE(step()) << "seed " << GetParam();
    }
}

// -- Death --

// What processes do that are killed at any instruction.
[[noreturn]] void use_segments_for_ever(unsigned seed) {
    std::minstd_rand random(seed);
    for (;;) {
        const int id =
            stm_shmget(kKeys + 100 + static_cast<int>(random() % 4), kPage, IPC_CREAT | 0600);
        struct shmid_ds what {};
        switch (random() % 8) {
        case 0:
            stm_shmctl(id, IPC_RMID, nullptr);
            break;
        case 1:
            if (stm_shmctl(id, IPC_STAT, &what) == 0) {
                what.shm_perm.mode = 0600 | (random() & 077);
                stm_shmctl(id, IPC_SET, &what);
            }
            break;
        case 2:
            stm_shmctl(stm_shmget(IPC_PRIVATE, kPage, 0600), IPC_RMID, nullptr);
            break;
        default: {
            void* address = stm_shmat(id, nullptr, 0);
            if (address != reinterpret_cast<void*>(-1)) {
                *static_cast<volatile char*>(address) = 1;
                if (random() % 4 != 0)
                    stm_shmdt(address);
            }
        }
        }
    }
}

TEST(Sysv, ProcessesThatAreKilledAnywhereLeaveEverythingRight) {
    for (int key = 0; key < 4; ++key)
        stm_shmctl(stm_shmget(kKeys + 100 + key, 0, 0), IPC_RMID, nullptr);
    auto before = test::make<struct stm_version>();
    ASSERT_EQ(test::request(STM_IOC_VERSION, &before), 0);
    std::minstd_rand random(1);
    pid_t children[3] = {};
    for (int round = 0; round < 60; ++round) {
        pid_t& child = children[round % 3];
        if (child > 0) {
            ::kill(child, SIGKILL);
            ::waitpid(child, nullptr, 0);
        }
        child = ::fork();
        if (child == 0)
            use_segments_for_ever(static_cast<unsigned>(round));
        ::usleep(static_cast<useconds_t>(random() % 5000));
    }
    for (const pid_t child : children) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }
    // A key leads to a whole segment that nobody has attached, or to none. A private one may be
    // left whose process died before it could remove it.
    struct shm_info sums {};
    const int highest = stm_shmctl(0, SHM_INFO, reinterpret_cast<struct shmid_ds*>(&sums));
    ASSERT_GE(highest, 0);
    for (int index = 0; index <= highest; ++index) {
        struct shmid_ds what {};
        const int id = stm_shmctl(index, SHM_STAT, &what);
        if (id < 0)
            continue;
        EXPECT_EQ(what.shm_nattch, 0U) << id;
        EXPECT_EQ(what.shm_perm.mode & SHM_DEST, 0U) << "it should be gone: " << id;
        EXPECT_EQ(what.shm_segsz, kPage);
        EXPECT_EQ(stm_shmctl(id, IPC_RMID, nullptr), 0);
    }
    auto after = test::make<struct stm_version>();
    ASSERT_EQ(test::request(STM_IOC_VERSION, &after), 0);
    EXPECT_EQ(after.regions, before.regions);
    EXPECT_EQ(after.bytes, before.bytes);
}

// -- Limits --

TEST(Sysv, ReachesItsLimitsAsTheKernelsOwnDoes) {
    for (const Side side : {kKernel, kRegions})
        remove_all(side);
    auto version = test::make<struct stm_version>();
    ASSERT_EQ(test::request(STM_IOC_VERSION, &version), 0);
    constexpr std::uint64_t kPages = 16;
    write_setting("/proc/sys/kernel/shmall", std::to_string(kPages));
    write_setting("/sys/module/stm/parameters/max_bytes",
                  std::to_string(version.bytes + kPages * kPage));
    for (const Side side : {kKernel, kRegions}) {
        const int id = shm_get(side, IPC_PRIVATE, (kPages - 1) * kPage, 0600);
        EXPECT_GE(id, 0) << kSideNames[side];
        errno = 0;
        EXPECT_EQ(shm_get(side, IPC_PRIVATE, 2 * kPage, 0600), -1) << kSideNames[side];
        EXPECT_EQ(errno, ENOSPC) << kSideNames[side];
        EXPECT_EQ(shm_ctl(side, id, IPC_RMID, nullptr), 0) << kSideNames[side];
        struct shminfo limits {};
        EXPECT_GE(shm_ctl(side, 0, IPC_INFO, &limits), 0) << kSideNames[side];
        EXPECT_EQ(limits.shmmin, 1U) << kSideNames[side];
        // Regions of other programs count, too; that one is kPages more than there were.
        const std::uint64_t expected = side == kKernel ? kPages : version.bytes / kPage + kPages;
        EXPECT_EQ(limits.shmall, expected) << kSideNames[side];
    }
    write_setting("/proc/sys/kernel/shmall", "18446744073692774399");
    write_setting("/sys/module/stm/parameters/max_bytes", std::to_string(version.max_bytes));
}

INSTANTIATE_TEST_SUITE_P(Seeds, SysvComparison, testing::Range(1U, 5U));

} // namespace
} // namespace stm::world
