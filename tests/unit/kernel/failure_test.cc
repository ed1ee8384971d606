// SPDX-License-Identifier: GPL-2.0
// Every entry and every request, with each service call failing in turn, and with somebody else
// acting at each moment at which no lock is held.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace stm::test {
namespace {

// A module with a little of everything in it.
struct World {
    Module module;
    File control = File::node(0);
    File plain = open(control, "plain", kCreate, {8 * kPage});
    File transactional = open(control, "tx", kCreate, {8 * kPage, 0, 0666});
    File born = File::node(9); // without a size
    std::uint64_t id = info_of(plain).id;
    std::vector<File> opened; // by the operation

    explicit World(const stm_settings& settings) : module(settings) {
        EXPECT_EQ(write(plain, 0, "abc", 3), 3);
        open(control, "unused").close();
    }

    long keep(File file) {
        const int error = file.error();
        if (file.ok())
            opened.push_back(std::move(file));
        return error;
    }
};

struct Operation {
    const char* name;
    long (*run)(World& world);
    Compare compare = Compare::everything;
};

template <typename Argument>
long ask(const File& file, unsigned number, std::uint32_t flags, std::string_view name = {}) {
    auto argument = argument_of<Argument>(flags, name);
    return request(file, number, argument);
}

long attachments(const File& file, std::uint32_t flags, std::string_view name) {
    std::array<stm_attachment, 4> list{};
    auto argument = argument_of<stm_attachments>(flags, name);
    argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
    argument.capacity = list.size();
    return request(file, STM_IOC_ATTACHMENTS, argument);
}

long fault_errno(const File& file, std::uint64_t index, Access access) {
    switch (fault(file, index, index + 3, access).result) {
    case STM_FAULT_MAP:
        return 0;
    case STM_FAULT_NO_MEMORY:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

const std::vector<Operation> kOperations = {
    {"open /dev/stm", [](World& w) { return w.keep(File::node(0)); }},
    {"open a node", [](World& w) { return w.keep(File::node(63)); }},
    {"open a node: birth", [](World& w) { return w.keep(File::node(20)); }},
    {"size", [](World& w) { return static_cast<long>(stm_core_size(w.plain.get())); }},
    {"size: first use of a node",
     [](World& w) { return static_cast<long>(stm_core_size(w.born.get())); }},
    {"size: first use of /dev/stm",
     [](World& w) {
         if (w.opened.empty())
             w.opened.push_back(File::node(0));
         return static_cast<long>(stm_core_size(w.opened[0].get()));
     }},
    {"read",
     [](World& w) {
         char bytes[300];
         return read(w.plain, kPage - 100, bytes, sizeof(bytes));
     }},
    {"write",
     [](World& w) {
         char bytes[300] = {};
         return write(w.plain, 10, bytes, sizeof(bytes));
     }},
    {"write to new pages",
     [](World& w) {
         char bytes[300] = {};
         return write(w.plain, 2 * kPage - 100, bytes, sizeof(bytes));
     },
     Compare::all_but_what_stays},
    {"write to a transactional region",
     [](World& w) {
         char bytes[300] = {};
         return write(w.transactional, 2 * kPage - 100, bytes, sizeof(bytes));
     },
     Compare::all_but_what_stays},
    {"VECTOR",
     [](World& w) {
         std::array<char, 2000> bytes{};
         std::array<stm_vector_piece, 20> pieces{};
         for (std::uint64_t index = 0; index < pieces.size(); ++index)
             pieces[index] = {index * 100, reinterpret_cast<std::uint64_t>(&bytes[index * 100]),
                              100, index % 2 == 0 ? STM_PIECE_WRITE : 0u};
         auto argument = argument_of<stm_vector>(0);
         argument.pieces = reinterpret_cast<std::uint64_t>(pieces.data());
         argument.count = pieces.size();
         return request(w.transactional, STM_IOC_VECTOR, argument);
     },
     Compare::all_but_what_stays},
    {"map", [](World& w) { return static_cast<long>(map(w.plain, 0, 8, STM_MAP_WRITE)); }},
    {"map: first use", [](World& w) { return static_cast<long>(map(w.born, 0, 1, 0)); }},
    {"fault", [](World& w) { return fault_errno(w.plain, 0, Access::store); }},
    {"fault in a new page", [](World& w) { return fault_errno(w.plain, 5, Access::load); }},
    {"fault in a new leaf", [](World& w) { return fault_errno(w.transactional, 5, Access::load); },
     Compare::all_but_what_stays},
    {"VERSION", [](World& w) { return ask<stm_version>(w.control, STM_IOC_VERSION, 0); }},
    {"INFO by handle",
     [](World& w) { return ask<stm_info>(w.plain, STM_IOC_INFO, STM_BY_HANDLE); }},
    {"INFO by name",
     [](World& w) { return ask<stm_info>(w.control, STM_IOC_INFO, STM_BY_NAME, "tx"); }},
    {"INFO by next", [](World& w) { return ask<stm_info>(w.control, STM_IOC_INFO, STM_BY_NEXT); }},
    {"ATTACHMENTS by handle", [](World& w) { return attachments(w.plain, STM_BY_HANDLE, ""); }},
    {"ATTACHMENTS by name", [](World& w) { return attachments(w.control, STM_BY_NAME, "tx"); }},
    {"NAME_PLACE",
     [](World& w) {
         auto place = argument_of<stm_place>(0);
         place.length = 8;
         place.name[0] = 'a';
         return request(w.transactional, STM_IOC_NAME_PLACE, place);
     }},
    {"PLACES by name",
     [](World& w) {
         std::array<stm_place, 4> list{};
         auto argument = argument_of<stm_places>(STM_BY_NAME, "tx");
         argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
         argument.capacity = list.size();
         return request(w.control, STM_IOC_PLACES, argument);
     }},
    {"START", [](World& w) { return start(w.transactional); }, Compare::all_but_what_stays},
    {"TRANSACTION",
     [](World& w) { return ask<stm_transaction>(w.transactional, STM_IOC_TRANSACTION, 0); }},
    {"STATISTICS by name",
     [](World& w) {
         return ask<stm_statistics>(w.control, STM_IOC_STATISTICS, STM_BY_NAME, "tx");
     }},
    {"OPEN", [](World& w) { return w.keep(open(w.control, "plain", kOpen)); }},
    {"OPEN by id", [](World& w) { return w.keep(open_id(w.control, w.id)); }},
    {"OPEN: create a plain region",
     [](World& w) { return w.keep(open(w.control, "new", kCreate, {5000 * kPage / 2})); }},
    {"OPEN: create a transactional region",
     [](World& w) {
         return w.keep(open(w.control, "new", kCreate, {5 * kPage, 0}));
     }},
    {"OPEN: create an ephemeral region",
     [](World& w) {
         return w.keep(
             open(w.control, "new", kCreate | STM_OPEN_EXCL, {kPage, STM_REGION_EPHEMERAL}));
     }},
    {"OPEN: create a segment",
     [](World& w) {
         return w.keep(
             open(w.control, "new", kCreate, {5000, STM_REGION_PLAIN | STM_REGION_SEGMENT}));
     }},
    {"OPEN: create without a size",
     [](World& w) { return w.keep(open(w.control, "new", kCreate, {0})); }},
    {"OPEN: give a size",
     [](World& w) { return w.keep(open(w.control, "minor:9", kOpen, {2 * kPage})); }},
    {"SET_SIZE", [](World& w) { return set_size(w.born, 3 * kPage); }},
    {"SET_SIZE again", [](World& w) { return set_size(w.plain, 3 * kPage); }},
    {"DESTROY by name", [](World& w) { return destroy_name(w.control, "unused"); }},
    {"DESTROY by handle", [](World& w) { return destroy_handle(w.born); }},
    {"DESTROY later",
     [](World& w) { return destroy_name(w.control, "plain", STM_DESTROY_DEFERRED); }},
};

class Failures : public testing::Test {
protected:
    Watch watch;
    stm_settings settings = usual_settings();
};

TEST_F(Failures, ChangeNothingAndLeakNothing) {
    std::size_t all = 0;
    for (const Operation& operation : kOperations) {
        std::size_t points = 0;
        for (;; ++points) {
            SCOPED_TRACE(testing::Message() << operation.name << ", point " << points + 1);
            World world(settings);
            if (std::string_view(operation.name) == "size: first use of /dev/stm")
                world.opened.push_back(File::node(0));
            const Snapshot before = snapshot(world.control);
            long result = 0;
            Failure failure = Failure::none;
            {
                const FailPoint point(points + 1);
                result = operation.run(world);
                failure = point.happened();
            }
            if (failure == Failure::none) {
                EXPECT_GE(result, 0);
                break;
            }
            EXPECT_EQ(result, simulated::errno_of(failure));
            EXPECT_TRUE(same(before, snapshot(world.control), operation.compare));
            EXPECT_GE(operation.run(world), 0) << "it does not work any more";
        }
        std::printf("[  points  ] %-34s %zu\n", operation.name, points);
        all += points;
    }
    std::printf("[  points  ] %-34s %zu\n", "all of them", all);
}

// -- Others act in between --

// What another process may do to the world at any moment. It leaves the handles alone that the
// operation uses: Linux keeps a file open during a call on it.
struct Intrusion {
    const char* name;
    void (*run)(World& world);
};
const std::vector<Intrusion> kIntrusions = {
    {"open and close",
     [](World& w) {
         for (const char* name : {"plain", "tx", "new", "minor:9", "minor:20"})
             open(w.control, name, kOpen, {0, 0, 0}).close();
     }},
    {"open and keep",
     [](World& w) {
         for (const char* name : {"plain", "tx", "new", "minor:9", "minor:20"})
             w.keep(open(w.control, name, kOpen, {0, 0, 0}));
     }},
    {"create",
     [](World& w) {
         w.keep(open(w.control, "new", kCreate, {kPage, STM_REGION_EPHEMERAL}));
         w.keep(File::node(20));
     }},
    {"create and destroy",
     [](World& w) {
         open(w.control, "new", kCreate, {7 * kPage}).close();
         destroy_name(w.control, "new");
         File::node(20).close();
         destroy_name(w.control, "minor:20");
     }},
    {"destroy now",
     [](World& w) {
         for (const char* name : {"plain", "tx", "new", "minor:9", "minor:20", "unused"})
             destroy_name(w.control, name);
     }},
    {"destroy later",
     [](World& w) {
         for (const char* name : {"plain", "tx", "new", "minor:9", "minor:20", "unused"})
             destroy_name(w.control, name, STM_DESTROY_DEFERRED);
     }},
    {"destroy and create",
     [](World& w) {
         for (const char* name : {"plain", "new", "unused"}) {
             destroy_name(w.control, name, STM_DESTROY_DEFERRED);
             w.keep(open(w.control, name, kCreate, {2 * kPage}));
         }
     }},
    {"give sizes",
     [](World& w) {
         set_size(w.born, kPage);
         for (const char* name : {"minor:20", "default", "new"})
             open(w.control, name, kOpen, {kPage, 0, 0}).close();
     }},
    {"touch",
     [](World& w) {
         char bytes[9000] = {1};
         write(w.plain, 0, bytes, sizeof(bytes));
         write(w.transactional, kPage, bytes, sizeof(bytes));
         fault(w.plain, 5, 6, Access::store);
         fault(w.transactional, 5, 6);
     }},
    {"use up the space",
     [](World& w) {
         w.keep(open(w.control, "big", kCreate, {16 << 20}));
         w.keep(open(w.control, "big2", kCreate, {16 << 20}));
         w.keep(open(w.control, "big3", kCreate, {16 << 20}));
         w.keep(open(w.control, "big4", kCreate, {15 << 20}));
     }},
};

// What the books say must be what there is. Unlinked regions are known by their handles alone.
void expect_consistent(World& world) {
    const stm_version version = version_of(world.control);
    std::uint64_t bytes = 0;
    std::uint64_t resident = 0;
    std::set<std::uint64_t> ids;
    std::vector<stm_info> regions = all_regions(world.control);
    EXPECT_EQ(version.regions, regions.size());
    for (const File* file : {&world.plain, &world.transactional, &world.born})
        regions.push_back(info_of(*file));
    for (const File& file : world.opened)
        regions.push_back(info_of(file));
    for (const stm_info& info : regions) {
        if (ids.insert(info.id).second) {
            bytes += info.region_size;
            resident += info.resident_bytes;
        }
    }
    EXPECT_EQ(version.bytes, bytes);
    EXPECT_EQ(version.resident_bytes, resident);
}

TEST_F(Failures, OfWhoWasInterruptedByOthersAreDocumentedOnes) {
    const std::set<long> documented = {-ENOENT, -EEXIST, -ENOSPC, -ESTALE, -EBUSY, -EINVAL};
    std::size_t all = 0;
    for (const Operation& operation : kOperations) {
        for (const Intrusion& intrusion : kIntrusions) {
            SCOPED_TRACE(testing::Message() << operation.name << ", meanwhile " << intrusion.name);
            for (EachMoment moment; moment.next();) {
                World world(settings);
                if (std::string_view(operation.name) == "size: first use of /dev/stm")
                    world.opened.push_back(File::node(0));
                long result = 0;
                moment.in_the_middle([&] { intrusion.run(world); },
                                     [&] { result = operation.run(world); });
                EXPECT_TRUE(result >= 0 || documented.contains(result)) << result;
                expect_consistent(world);
                all += moment.happened() ? 1 : 0;
            }
            if (HasFailure())
                return;
        }
    }
    std::printf("[  points  ] %-34s %zu\n", "interleavings", all);
}

void expect_a_whole_region(const File& only_user) {
    const stm_info info = info_of(only_user);
    EXPECT_EQ(info.handles, 1u);
    EXPECT_EQ(info.region_size, 2 * kPage);
    EXPECT_EQ(info.state, unsigned{STM_STATE_SIZED});
}

// A region that OPEN has created and cannot hand out is undone, unless somebody else has it by
// then.
TEST_F(Failures, OfOpenLeaveACreatedRegionToWhoElseOpenedIt) {
    std::size_t left = 0;
    std::size_t undone = 0;
    bool failed = true;
    for (std::size_t nth = 1; failed; ++nth) {
        SCOPED_TRACE(testing::Message() << "point " << nth);
        for (EachMoment moment; moment.next();) {
            World world(settings);
            const std::size_t before = all_regions(world.control).size();
            const auto open_as_well = [&] {
                world.keep(open(world.control, "new", kOpen, {0, 0, 0}));
            };
            long result = 0;
            Failure failure = Failure::none;
            moment.in_the_middle(open_as_well, [&] {
                const FailPoint point(nth);
                stm_open argument = open_argument("new", kCreate | STM_OPEN_EXCL, {2 * kPage});
                result = request(world.control, STM_IOC_OPEN, argument);
                failure = point.happened();
            });
            failed = failure != Failure::none;
            if (!failed) {
                ASSERT_GE(result, 0);
                simulated::close_descriptor(static_cast<int>(result));
                break;
            }
            ASSERT_EQ(result, simulated::errno_of(failure));
            ASSERT_EQ(all_regions(world.control).size(), before + world.opened.size());
            expect_consistent(world);
            left += world.opened.size();
            undone += world.opened.empty();
            if (!world.opened.empty())
                expect_a_whole_region(world.opened[0]);
        }
    }
    EXPECT_GT(left, 0u) << "nobody ever came in between";
    EXPECT_GT(undone, 0u);
}

} // namespace
} // namespace stm::test
