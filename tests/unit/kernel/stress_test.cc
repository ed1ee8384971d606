// SPDX-License-Identifier: GPL-2.0
// Everything at once: threads of many users that open, use and destroy regions; the sanitizers look
// on.
#include "tests/unit/kernel/kernel_test.hpp"
#include "tests/unit/kernel/threads.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <random>

namespace stm::test {
namespace {

// One thread's process, files and dice.
class User {
public:
    User(const File& control, int number)
        : control_(control), random_(static_cast<unsigned>(number) + 1),
          process_(1000 + number,
                   {static_cast<std::uint32_t>(number % 3), 0, number == 0, true, number < 4},
                   "stress", 0) {}

    void run(Clock::time_point end) {
        const As now(process_);
        while (Clock::now() < end && !testing::Test::HasFailure()) {
            for (int batch = 0; batch < 16; ++batch)
                step();
        }
        files_.clear();
    }

private:
    // What needs a file acts on one that is open, if there is one.
    using Step = void (User::*)();
    using StepOnFile = void (User::*)(const File& file);

    void step() {
        static constexpr std::array<Step, 11> kSteps{
            &User::create,       &User::create,        &User::create_ephemeral,
            &User::open_name,    &User::open_node,     &User::close,
            &User::close,        &User::close,         &User::destroy_name,
            &User::list_regions, &User::check_version,
        };
        static constexpr std::array<StepOnFile, 6> kStepsOnFiles{
            &User::destroy_handle, &User::list_attachments, &User::read, &User::write,
            &User::fault,          &User::open_id,
        };
        const std::size_t which = dice(kSteps.size() + kStepsOnFiles.size());
        if (which < kSteps.size())
            (this->*kSteps[which])();
        else if (!files_.empty())
            (this->*kStepsOnFiles[which - kSteps.size()])(some());
    }

    void create() {
        note(keep(open(control_, name(), kCreate,
                       {(dice(8) + 1) * kPage, dice(2) * STM_REGION_PLAIN, 0666})),
             {-EINVAL, -ENOSPC});
    }
    void create_ephemeral() {
        note(keep(open(control_, name(), kCreate,
                       {(dice(8) + 1) * kPage, STM_REGION_EPHEMERAL, 0666})),
             {-EINVAL, -ENOSPC});
    }
    void open_name() { note(keep(open(control_, name(), kOpen, {0, 0, 0})), {-ENOENT}); }
    void open_node() {
        note(keep(File::node(dice(10), dice(2) == 0 ? kRead : kReadWrite)),
             {-ENXIO, -ENOSPC, -EEXIST});
    }
    void close() {
        if (!files_.empty())
            files_.erase(files_.begin() + dice(files_.size()));
    }
    void destroy_name() {
        note(test::destroy_name(control_, name(), dice(2) * STM_DESTROY_DEFERRED),
             {-ENOENT, -EBUSY, -EPERM});
    }
    void list_regions() {
        std::uint32_t minor = 0;
        for (const stm_info& info : all_regions(control_)) {
            EXPECT_GE(info.minor, minor);
            EXPECT_GE(info.region_size, info.resident_bytes);
            minor = info.minor + 1;
        }
    }
    void check_version() {
        const stm_version version = version_of(control_);
        EXPECT_LE(version.regions, version.max_regions);
        EXPECT_LE(version.bytes, version.max_bytes);
        EXPECT_LE(version.resident_bytes, version.bytes);
    }

    void destroy_handle(const File& file) {
        note(test::destroy_handle(file, dice(2) * STM_DESTROY_DEFERRED), {-ENOENT, -EBUSY, -EPERM});
    }
    void list_attachments(const File& file) {
        std::array<stm_attachment, 3> list{};
        auto argument = argument_of<stm_attachments>(STM_BY_HANDLE);
        argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
        argument.capacity = list.size();
        note(request(file, STM_IOC_ATTACHMENTS, argument), {});
    }
    void read(const File& file) {
        std::array<char, 5000> bytes;
        note(test::read(file, dice(4 * kPage), bytes.data(), bytes.size()), {-ENOSPC});
    }
    void write(const File& file) {
        std::array<char, 5000> bytes;
        bytes.fill(7);
        note(test::write(file, dice(4 * kPage), bytes.data(), bytes.size()), {-ENOSPC});
    }
    void fault(const File& file) {
        const Fault found = test::fault(file, dice(8), 8);
        EXPECT_NE(found.result, STM_FAULT_NO_MEMORY);
        for (stm_page* page : found.pages)
            EXPECT_EQ(simulated::page_state(page).identity, file.identity());
    }
    void open_id(const File& file) {
        note(keep(test::open_id(control_, info_of(file).id)), {-ESTALE});
    }

    std::uint32_t dice(std::size_t sides) {
        return static_cast<std::uint32_t>(random_() >> 7) % static_cast<std::uint32_t>(sides);
    }
    std::string name() { return std::string("region-") + static_cast<char>('a' + dice(5)); }
    const File& some() { return files_[dice(files_.size())]; }

    long keep(File file) {
        const int error = file.error();
        if (file.ok())
            files_.push_back(std::move(file));
        if (files_.size() > 6)
            files_.erase(files_.begin() + dice(6));
        return error;
    }

    // Failures that others cause are fine; these are all there may be.
    static void note(long result, std::initializer_list<long> allowed) {
        if (result < 0 && std::find(allowed.begin(), allowed.end(), result) == allowed.end())
            ADD_FAILURE() << "unexpected result " << result;
    }

    const File& control_;
    std::minstd_rand random_;
    Process process_;
    std::vector<File> files_;
};

class Stress : public KernelTest {};

TEST_F(Stress, OfEverythingAtOnceLeavesTheBooksRight) {
    constexpr int kThreads = 8;
    const auto end = Clock::now() + milliseconds(1000);
    in_threads(kThreads, [&](int number) {
        User user(control, number);
        user.run(end);
    });
    // Nobody uses anything any more: what is listed is all there is.
    std::uint64_t bytes = 0;
    std::uint64_t resident = 0;
    for (const stm_info& info : all_regions(control)) {
        EXPECT_EQ(info.handles, 0u) << info.name;
        EXPECT_EQ(info.region_flags & STM_REGION_EPHEMERAL, 0u) << info.name;
        bytes += info.region_size;
        resident += info.resident_bytes;
        EXPECT_EQ(destroy_name(control, info.name), info.minor == 0 ? -EBUSY : 0);
    }
    EXPECT_EQ(resident % kPage, 0u);
    EXPECT_GE(bytes, resident);
    const stm_version version = version_of(control);
    EXPECT_EQ(version.regions, 1u);
    EXPECT_EQ(version.bytes, info_of(control).region_size);
    EXPECT_EQ(version.resident_bytes, info_of(control).resident_bytes);
}

} // namespace
} // namespace stm::test
