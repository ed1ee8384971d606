// SPDX-License-Identifier: GPL-2.0
// Threads against each other; the sanitizers look on.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <map>
#include <random>
#include <thread>

namespace stm::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Runs body(number) in so many threads and waits for all.
template <typename Body>
void in_threads(int count, Body body) {
    std::vector<std::thread> threads;
    for (int number = 0; number < count; ++number)
        threads.emplace_back([&body, number] { body(number); });
    for (std::thread& thread : threads)
        thread.join();
}

// Rounds for a while, three at least however busy the machine is: each thread does body(number,
// round) at the same time, then before() prepares and after() checks alone.
template <typename Before, typename Body, typename After>
void in_rounds(int count, milliseconds duration, Before before, Body body, After after) {
    const auto end = Clock::now() + duration;
    std::barrier turn(count);
    std::atomic<bool> over{false};
    int rounds = 0;
    in_threads(count, [&](int number) {
        while (true) {
            if (number == 0) {
                if (rounds++ != 0)
                    after();
                over = (Clock::now() >= end && rounds > 3) || testing::Test::HasFailure();
                if (!over)
                    before();
            }
            turn.arrive_and_wait();
            if (over)
                return;
            body(number);
            turn.arrive_and_wait();
        }
    });
}

class Races : public KernelTest {};

TEST_F(Races, OfOpeningAgainstTheLastCloseEndWithAUserOrWithNothing) {
    File file;
    std::uint64_t id = 0;
    int opened = 0;
    int refused = 0;
    in_rounds(
        3, milliseconds(300),
        [&] {
            file = open(control, "e", kCreate | STM_OPEN_EXCL,
                        {kPage, STM_REGION_PLAIN | STM_REGION_EPHEMERAL});
            ASSERT_TRUE(file.ok());
            id = info_of(file).id;
        },
        [&](int number) {
            if (number == 0) {
                file.close();
                return;
            }
            const File again =
                number == 1 ? open_id(control, id) : open(control, "e", kOpen, {0, 0, 0});
            if (!again.ok()) {
                EXPECT_EQ(again.error(), number == 1 ? -ESTALE : -ENOENT);
                if (number == 1)
                    ++refused;
                return;
            }
            if (number == 1)
                ++opened;
            // With a name or without, it is a whole region.
            EXPECT_EQ(write(again, 0, "x", 1), 1);
            EXPECT_EQ(read_string(again, 0, 1), "x");
            EXPECT_EQ(fault(again, 0, 0).result, STM_FAULT_MAP);
        },
        [&] {
            EXPECT_EQ(all_regions(control).size(), 1u);
            EXPECT_EQ(version_of(control).bytes, 0u);
            EXPECT_EQ(simulated::live().pages, 0);
        });
    std::printf("[  rounds  ] opened %d, refused %d\n", opened, refused);
}

TEST_F(Races, OfFirstFaultsInstallOnePage) {
    constexpr std::uint64_t kPages = 1024;
    const File file = open(control, "a", kCreate, {kPages * kPage});
    std::array<std::vector<stm_page*>, 4> seen;
    std::barrier turn(4);
    in_threads(4, [&](int number) {
        auto& mine = seen[static_cast<std::size_t>(number)];
        for (std::uint64_t index = 0; index < kPages; ++index) {
            turn.arrive_and_wait();
            const Fault found = fault(file, index, index, Access::store);
            ASSERT_EQ(found.result, STM_FAULT_MAP);
            mine.push_back(found.pages[0]);
        }
    });
    for (const auto& pages : seen)
        EXPECT_EQ(pages, seen[0]);
    EXPECT_EQ(info_of(file).resident_bytes, kPages * kPage);
    EXPECT_EQ(simulated::live().pages, static_cast<long>(kPages));
}

TEST_F(Races, OfReadAndWriteCallsSeeWholeCalls) {
    constexpr std::size_t kBytes = 3 * kPage + 100;
    const File file = open(control, "a", kCreate, {4 * kPage});
    const auto end = Clock::now() + milliseconds(300);
    in_threads(4, [&](int number) {
        std::vector<std::uint8_t> bytes(kBytes);
        for (std::uint8_t round = 0; Clock::now() < end; ++round) {
            if (number < 2) {
                std::fill(bytes.begin(), bytes.end(),
                          static_cast<std::uint8_t>(round * 2 + number));
                ASSERT_EQ(write(file, 50, bytes.data(), kBytes), static_cast<long>(kBytes));
            } else {
                ASSERT_EQ(read(file, 50, bytes.data(), kBytes), static_cast<long>(kBytes));
                ASSERT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                                        [&](auto byte) { return byte == bytes[0]; }));
            }
        }
    });
}

TEST_F(Races, OfExclusiveCreationHaveOneWinner) {
    std::atomic<int> winners{0};
    in_rounds(
        4, milliseconds(150), [&] { winners = 0; },
        [&](int) {
            const File file = open(control, "a", kCreate | STM_OPEN_EXCL);
            if (file.ok())
                ++winners;
            else
                EXPECT_EQ(file.error(), -EEXIST);
        },
        [&] {
            EXPECT_EQ(winners, 1);
            EXPECT_EQ(destroy_name(control, "a"), 0);
        });
}

TEST_F(Races, OfCreationAllGetTheSameRegion) {
    std::array<File, 4> files;
    in_rounds(
        4, milliseconds(150), [] {},
        [&](int number) {
            files[static_cast<std::size_t>(number)] =
                number % 2 == 0 ? open(control, "a", kCreate) : File::node(1);
        },
        [&] {
            for (std::size_t number = 0; number < 4; ++number) {
                ASSERT_TRUE(files[number].ok()) << files[number].error();
                EXPECT_EQ(info_of(files[number]).id, info_of(files[number % 2]).id);
                EXPECT_EQ(info_of(files[number]).handles, 2u);
            }
            for (File& file : files)
                file.close();
            EXPECT_EQ(destroy_name(control, "a"), 0);
            EXPECT_EQ(destroy_name(control, "minor:1"), 0);
        });
}

TEST_F(Races, OfTheFirstUseCountAHandleOnce) {
    File file;
    in_rounds(
        4, milliseconds(150), [&] { file = File::node(0); },
        [&](int number) {
            char byte = 0;
            EXPECT_GT(number == 0 ? read(file, 0, &byte, 1) : stm_core_size(file.get()), 0);
        },
        [&] {
            EXPECT_EQ(info_of(file).handles, 1u);
            file.close();
            EXPECT_EQ(info_of(control).handles, 0u);
        });
}

TEST_F(Races, OfSizesHaveOneWinner) {
    File file;
    std::array<long, 4> results{};
    in_rounds(
        4, milliseconds(150), [&] { file = File::node(9); },
        [&](int number) {
            results[static_cast<std::size_t>(number)] =
                set_size(file, (static_cast<std::uint64_t>(number) + 1) * kPage);
        },
        [&] {
            const std::uint64_t size = info_of(file).region_size;
            EXPECT_EQ(version_of(control).bytes, size);
            for (std::size_t number = 0; number < 4; ++number)
                EXPECT_EQ(results[number], (number + 1) * kPage <= size ? 0 : -EBUSY);
            EXPECT_EQ(destroy_handle(file), 0);
            file.close();
            EXPECT_EQ(version_of(control).bytes, 0u);
        });
}

// -- Everything at once --

class Stress : public Races {
protected:
    static constexpr int kThreads = 8;

    // One thread's files and dice.
    class User {
    public:
        User(const File& control, int number)
            : control_(control), random_(static_cast<unsigned>(number) + 1),
              process_(1000 + number,
                       {static_cast<std::uint32_t>(number % 3), 0, number == 0, true, number < 4},
                       "stress", 0) {}

        void run(Clock::time_point end) {
            const As now(process_);
            while (Clock::now() < end && !HasFailure()) {
                for (int batch = 0; batch < 16; ++batch)
                    step();
            }
            files_.clear();
        }

        std::map<long, int> results;

    private:
        std::uint32_t dice(std::uint32_t sides) {
            return static_cast<std::uint32_t>(random_() >> 7) % sides;
        }
        std::string name() { return std::string("region-") + static_cast<char>('a' + dice(5)); }
        const File* some() {
            return files_.empty() ? nullptr
                                  : &files_[dice(static_cast<std::uint32_t>(files_.size()))];
        }

        long keep(File file) {
            const int error = file.error();
            if (file.ok())
                files_.push_back(std::move(file));
            if (files_.size() > 6)
                files_.erase(files_.begin() + dice(6));
            return error;
        }

        // Failures that others cause are fine; these are all there may be.
        void note(long result, std::initializer_list<long> allowed) {
            if (result < 0 && std::find(allowed.begin(), allowed.end(), result) == allowed.end())
                ADD_FAILURE() << "unexpected result " << result;
        }

        void step() {
            const File* file = some();
            char bytes[5000];
            switch (dice(17)) {
            case 0:
            case 1:
                note(keep(open(control_, name(), kCreate,
                               {(dice(8) + 1) * kPage, dice(2) * STM_REGION_PLAIN, 0666})),
                     {-EINVAL, -ENOSPC});
                break;
            case 2:
                note(keep(open(control_, name(), kCreate,
                               {(dice(8) + 1) * kPage, STM_REGION_EPHEMERAL, 0666})),
                     {-EINVAL, -ENOSPC});
                break;
            case 3:
                note(keep(open(control_, name(), kOpen, {0, 0, 0})), {-ENOENT});
                break;
            case 4:
                note(keep(File::node(dice(10), dice(2) == 0 ? kRead : kReadWrite)),
                     {-ENXIO, -ENOSPC, -EEXIST});
                break;
            case 5:
            case 6:
            case 7:
                if (!files_.empty())
                    files_.erase(files_.begin() + dice(static_cast<std::uint32_t>(files_.size())));
                break;
            case 8:
                note(destroy_name(control_, name(), dice(2) * STM_DESTROY_DEFERRED),
                     {-ENOENT, -EBUSY, -EPERM});
                break;
            case 9:
                if (file != nullptr)
                    note(destroy_handle(*file, dice(2) * STM_DESTROY_DEFERRED),
                         {-ENOENT, -EBUSY, -EPERM});
                break;
            case 10: {
                std::uint32_t minor = 0;
                for (const stm_info& info : all_regions(control_)) {
                    EXPECT_GE(info.minor, minor);
                    EXPECT_GE(info.region_size, info.resident_bytes);
                    minor = info.minor + 1;
                }
                break;
            }
            case 11:
                if (file != nullptr) {
                    std::array<stm_attachment, 3> list{};
                    auto argument = argument_of<stm_attachments>(STM_BY_HANDLE);
                    argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
                    argument.capacity = list.size();
                    note(request(*file, STM_IOC_ATTACHMENTS, argument), {});
                }
                break;
            case 12:
                if (file != nullptr)
                    note(read(*file, dice(4 * kPage), bytes, sizeof(bytes)), {-ENOSPC});
                break;
            case 13:
                if (file != nullptr) {
                    std::memset(bytes, 7, sizeof(bytes));
                    note(write(*file, dice(4 * kPage), bytes, sizeof(bytes)), {-ENOSPC});
                }
                break;
            case 14:
                if (file != nullptr) {
                    const Fault found = fault(*file, dice(8), 8);
                    EXPECT_NE(found.result, STM_FAULT_NO_MEMORY);
                    for (stm_page* page : found.pages)
                        EXPECT_EQ(simulated::page_state(page).identity, file->identity());
                }
                break;
            case 15:
                if (file != nullptr)
                    note(keep(open_id(control_, info_of(*file).id)), {-ESTALE});
                break;
            case 16: {
                const stm_version version = version_of(control_);
                EXPECT_LE(version.regions, version.max_regions);
                EXPECT_LE(version.bytes, version.max_bytes);
                EXPECT_LE(version.resident_bytes, version.bytes);
                break;
            }
            }
        }

        const File& control_;
        std::minstd_rand random_;
        Process process_;
        std::vector<File> files_;
    };
};

TEST_F(Stress, OfEverythingAtOnceLeavesTheBooksRight) {
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
