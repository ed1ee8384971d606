// SPDX-License-Identifier: GPL-2.0
// The ioctl interface against callers that get it wrong: each refusal has its documented error and
// changes nothing.
#include "guest.hpp"

#include <functional>
#include <random>
#include <sys/ioctl.h>

using namespace stm::test;

namespace {

struct Request {
    const char* name;
    unsigned long number;
    std::size_t size;
    std::uint32_t bad_flag; // one that the request does not know
    std::size_t first = 0;  // its size in its first version, if that was another one

    [[nodiscard]] std::size_t first_size() const { return first != 0 ? first : size; }
};

const Request kRequests[] = {
    {"VERSION", STM_IOC_VERSION, sizeof(struct stm_version), 0x1},
    {"OPEN", STM_IOC_OPEN, sizeof(struct stm_open), 0x40},
    {"SET_SIZE", STM_IOC_SET_SIZE, sizeof(struct stm_set_size), 0x1},
    {"INFO", STM_IOC_INFO, sizeof(struct stm_info), 0x10, offsetof(struct stm_info, segment_bytes)},
    {"ATTACHMENTS", STM_IOC_ATTACHMENTS, sizeof(struct stm_attachments), 0x10},
    {"NAME_PLACE", STM_IOC_NAME_PLACE, sizeof(struct stm_place), 0x1},
    {"PLACES", STM_IOC_PLACES, sizeof(struct stm_places), 0x10},
    {"DESTROY", STM_IOC_DESTROY, sizeof(struct stm_destroy), 0x20},
    {"COMMIT_SETS", STM_IOC_COMMIT_SETS, sizeof(struct stm_commit_sets), 0x2},
    {"WAIT_SETS", STM_IOC_WAIT_SETS, sizeof(struct stm_wait_sets), 0x1},
    {"VECTOR", STM_IOC_VECTOR, sizeof(struct stm_vector), 0x4},
};

bool needs_transactional_region(unsigned long number) {
    return number == STM_IOC_COMMIT_SETS || number == STM_IOC_WAIT_SETS || number == STM_IOC_VECTOR;
}
// What the sets of a correct argument have read.
const std::uint64_t kRead = STM_READ_RUN(0, 1);
struct stm_sets correct_sets() {
    struct stm_sets sets {};
    sets.handle = -1;
    sets.reads = reinterpret_cast<std::uintptr_t>(&kRead);
    sets.read_count = 1;
    return sets;
}

void put(std::vector<char>& argument, std::size_t offset, std::uint32_t value) {
    std::memcpy(argument.data() + offset, &value, sizeof value);
}

// A correct argument of a request on a region's handle.
std::vector<char> correct(const Request& request, const std::string& name) {
    std::vector<char> result(request.size);
    auto fill = [&](auto argument) { std::memcpy(result.data(), &argument, sizeof argument); };
    switch (request.number) {
    case STM_IOC_VERSION:
        fill(make<struct stm_version>());
        break;
    case STM_IOC_OPEN:
        fill(make_named<struct stm_open>(name, STM_OPEN_READ));
        break;
    case STM_IOC_SET_SIZE: {
        auto argument = make<struct stm_set_size>();
        argument.region_size = 1;
        fill(argument);
        break;
    }
    case STM_IOC_INFO:
        fill(make_named<struct stm_info>(name, STM_BY_NAME));
        break;
    case STM_IOC_ATTACHMENTS:
        fill(make_named<struct stm_attachments>(name, STM_BY_NAME));
        break;
    case STM_IOC_NAME_PLACE: {
        auto place = make<struct stm_place>(0);
        place.length = 64;
        std::strcpy(place.name, "head");
        fill(place);
        break;
    }
    case STM_IOC_PLACES:
        fill(make_named<struct stm_places>(name, STM_BY_NAME));
        break;
    case STM_IOC_DESTROY:
        fill(make_named<struct stm_destroy>(name, STM_BY_NAME));
        break;
    case STM_IOC_COMMIT_SETS: {
        auto argument = make<struct stm_commit_sets>();
        argument.sets = correct_sets();
        fill(argument);
        break;
    }
    case STM_IOC_WAIT_SETS: {
        auto argument = make<struct stm_wait_sets>();
        argument.sets = correct_sets();
        fill(argument);
        break;
    }
    case STM_IOC_VECTOR:
        fill(make<struct stm_vector>());
        break;
    }
    return result;
}

class Interface : public ::testing::TestWithParam<Request> {
protected:
    void SetUp() override { before_ = info_of(region_.name()); }

    // Everything that a failed request must not have changed.
    void TearDown() override {
        struct stm_info after = info_of(region_.name());
        EXPECT_EQ(std::memcmp(&after, &before_, sizeof after), 0) << "the region has changed";
    }

    // What a correct DESTROY of a region in use says, and a wait for nothing that takes no time.
    [[nodiscard]] int success() const {
        switch (GetParam().number) {
        case STM_IOC_DESTROY:
            return EBUSY;
        case STM_IOC_WAIT_SETS:
            return ETIMEDOUT;
        default:
            return 0;
        }
    }
    [[nodiscard]] std::vector<char> argument() const { return correct(GetParam(), region_.name()); }
    int run(std::vector<char>& argument) {
        return request(region_.fd(), GetParam().number, argument.data());
    }

    Region region_{"interface", kPage,
                   needs_transactional_region(GetParam().number) ? 0 : STM_PLAIN};
    struct stm_info before_ {};
};

TEST_P(Interface, TakesACorrectArgument) {
    std::vector<char> correct_argument = argument();
    EXPECT_EQ(run(correct_argument), success());
}

TEST_P(Interface, RefusesASizeThatIsTooSmall) {
    for (std::uint32_t size :
         {0U, 1U, 4U, 7U, static_cast<std::uint32_t>(GetParam().first_size()) - 1}) {
        std::vector<char> bad = argument();
        put(bad, 0, size);
        std::vector<char> copy = bad;
        EXPECT_EQ(run(bad), EINVAL) << "size " << size;
        EXPECT_EQ(bad, copy);
    }
}

TEST_P(Interface, TakesALongerArgumentIfTheRestIsZero) {
    std::vector<char> longer = argument();
    longer.resize(GetParam().size + 64);
    put(longer, 0, static_cast<std::uint32_t>(longer.size()));
    EXPECT_EQ(run(longer), success());
    longer = argument();
    longer.resize(GetParam().size + 64);
    put(longer, 0, static_cast<std::uint32_t>(longer.size()));
    longer.back() = 1;
    std::vector<char> copy = longer;
    EXPECT_EQ(run(longer), E2BIG);
    EXPECT_EQ(longer, copy);
}

TEST_P(Interface, RefusesAnEnormousSize) {
    for (std::uint32_t size : {0x10000U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        std::vector<char> bad = argument();
        put(bad, 0, size);
        int error = run(bad);
        EXPECT_TRUE(error == E2BIG || error == EFAULT) << "size " << size << ": " << error;
    }
}

TEST_P(Interface, RefusesUnknownFlags) {
    std::uint32_t flags = 0;
    std::memcpy(&flags, argument().data() + 4, sizeof flags);
    for (std::uint32_t flag : {GetParam().bad_flag, 0x8000U, 0x80000000U}) {
        std::vector<char> bad = argument();
        put(bad, 4, flags | flag);
        EXPECT_EQ(run(bad), EINVAL) << "flag " << flag;
    }
}

TEST_P(Interface, RefusesBadPointers) {
    int fd = region_.fd();
    unsigned long number = GetParam().number;
    for (std::uintptr_t address :
         {std::uintptr_t{0}, std::uintptr_t{8}, ~std::uintptr_t{0}, ~std::uintptr_t{0} - 4096,
          std::uintptr_t{1} << 47, std::uintptr_t{0xffff888000000000}})
        EXPECT_EQ(request(fd, number, reinterpret_cast<void*>(address)), EFAULT)
            << std::hex << address;
    // Half of it is not there.
    Mapping pages(-1, 2 * kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    ASSERT_EQ(::mprotect(pages.at(kPage), kPage, PROT_NONE), 0);
    std::vector<char> good = argument();
    std::memcpy(pages.at(kPage - 12), good.data(), 12);
    EXPECT_EQ(request(fd, number, pages.at(kPage - 12)), EFAULT);
}

TEST_P(Interface, RefusesAnArgumentThatCanNotBeAnswered) {
    if (GetParam().number == STM_IOC_DESTROY || GetParam().number == STM_IOC_NAME_PLACE ||
        needs_transactional_region(GetParam().number))
        GTEST_SKIP() << "it answers nothing, or nothing that matters";
    Mapping page(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    std::vector<char> good = argument();
    std::memcpy(page.data(), good.data(), good.size());
    ASSERT_EQ(::mprotect(page.data(), kPage, PROT_READ), 0);
    EXPECT_EQ(request(region_.fd(), GetParam().number, page.data()), EFAULT);
}

// The fault handler must not need a lock that is held while an argument is copied.
TEST_P(Interface, TakesAnArgumentInsideARegion) {
    Region memory("argument", 2 * kPage);
    Mapping mapping(memory.fd(), 2 * kPage);
    std::vector<char> good = argument();
    char* place = mapping.at(kPage - 8); // across two pages that were not touched
    std::memcpy(place, good.data(), good.size());
    EXPECT_EQ(request(region_.fd(), GetParam().number, place), success());
    if (needs_transactional_region(GetParam().number))
        return; // nobody stores there outside of a transaction
    // And on the very region that it lies in.
    Mapping own(region_.fd(), kPage);
    std::memcpy(own.data(), good.data(), good.size());
    int error = request(region_.fd(), GetParam().number, own.data());
    EXPECT_EQ(error, success());
    before_ = info_of(region_.name()); // it has a page now
    before_.mappings = 0;
}

TEST_P(Interface, WithRandomArgumentsBreaksNothing) {
    std::mt19937 random(static_cast<unsigned>(GetParam().number));
    for (int round = 0; round < 2000; ++round) {
        std::vector<char> bad(GetParam().size);
        for (char& byte : bad)
            byte = static_cast<char>(random() % 4 == 0 ? random() : 0);
        if (round % 2 == 0)
            put(bad, 0, static_cast<std::uint32_t>(bad.size()));
        // Nothing may come into being or go by accident.
        if (GetParam().number == STM_IOC_OPEN)
            bad[4] = static_cast<char>(bad[4] & ~STM_OPEN_CREATE);
        if (GetParam().number == STM_IOC_DESTROY)
            bad[4] = static_cast<char>(bad[4] & ~(STM_BY_HANDLE | STM_BY_ID | STM_BY_NAME));
        if (GetParam().number == STM_IOC_ATTACHMENTS || GetParam().number == STM_IOC_PLACES)
            std::memset(&bad[16], 0, 8);
        if (GetParam().number == STM_IOC_VECTOR)
            std::memset(&bad[offsetof(struct stm_vector, pieces)], 0, 8);
        if (GetParam().number == STM_IOC_WAIT_SETS)
            std::memset(&bad[offsetof(struct stm_wait_sets, timeout_ns)], 0, 8);
        (void)run(bad);
    }
}

INSTANTIATE_TEST_SUITE_P(Each, Interface, ::testing::ValuesIn(kRequests),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Unknown, RequestsAreEnotty) {
    Region region("unknown");
    std::vector<char> argument(kPage);
    for (unsigned long number : {0x0UL, 0x5413UL /* TIOCGWINSZ */, (STM_IOC_TYPE << 8) + 0x7fUL,
                                 0xb6UL << 8, _IOWR(STM_IOC_TYPE, 1, int), ~0UL})
        EXPECT_EQ(request(region.fd(), number, argument.data()), ENOTTY) << std::hex << number;
}

TEST(Open, RefusesWhatDoesNotGoTogether) {
    std::string name = unique_name("combination");
    auto with = [&](std::uint32_t flags, const std::function<void(struct stm_open&)>& change = {}) {
        auto argument = make_named<struct stm_open>(name, flags);
        argument.region_size = kPage;
        argument.mode = (flags & STM_OPEN_CREATE) != 0 ? 0600 : 0;
        if (change)
            change(argument);
        return request(STM_IOC_OPEN, &argument);
    };
    constexpr std::uint32_t kNew = STM_OPEN_READ | STM_OPEN_CREATE;
    EXPECT_EQ(with(STM_OPEN_CREATE), EINVAL) << "neither READ nor WRITE";
    EXPECT_EQ(with(STM_OPEN_READ | STM_OPEN_EXCL), EINVAL);
    EXPECT_EQ(with(kNew | STM_OPEN_BY_ID), EINVAL);
    EXPECT_EQ(with(kNew, [](auto& open) { open.region_flags = 0x20; }), EINVAL);
    EXPECT_EQ(
        with(kNew, [](auto& open) { open.region_flags = STM_REGION_DIRECT | STM_REGION_PLAIN; }),
        EINVAL);
    EXPECT_EQ(with(kNew, [](auto& open) { open.region_flags = STM_REGION_EXEC; }), EINVAL);
    EXPECT_EQ(
        with(kNew, [](auto& open) { open.region_flags = STM_REGION_PLAIN | STM_REGION_MUTEX; }),
        EINVAL);
    EXPECT_EQ(with(kNew, [](auto& open) { open.reserved = 1; }), EINVAL);
    EXPECT_EQ(with(kNew, [](auto& open) { open.mode = 01000; }), EINVAL);
    EXPECT_EQ(with(kNew, [](auto& open) { open.name[0] = '\0'; }), EINVAL);
    EXPECT_EQ(with(kNew, [](auto& open) { std::memset(open.name, 'x', sizeof open.name); }),
              ENAMETOOLONG);
    EXPECT_FALSE(exists(name));
}

TEST(Open, ThatCanNotAnswerCreatesNothing) {
    std::string name = unique_name("unanswered");
    Mapping page(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    auto argument = make_named<struct stm_open>(name, STM_OPEN_READ | STM_OPEN_CREATE);
    argument.region_size = kPage;
    argument.mode = 0600;
    std::memcpy(page.data(), &argument, sizeof argument);
    ASSERT_EQ(::mprotect(page.data(), kPage, PROT_READ), 0);
    EXPECT_EQ(request(STM_IOC_OPEN, page.data()), EFAULT);
    EXPECT_FALSE(exists(name));
}

TEST(Naming, NeedsExactlyOneWay) {
    Region region("naming");
    for (std::uint32_t flags : std::vector<std::uint32_t>{0, STM_BY_HANDLE | STM_BY_NAME,
                                                          STM_BY_ID | STM_BY_NAME, STM_BY_FLAGS}) {
        auto info = make_named<struct stm_info>(region.name(), flags);
        EXPECT_EQ(request(region.fd(), STM_IOC_INFO, &info), EINVAL) << flags;
        auto list = make_named<struct stm_attachments>(region.name(), flags & 7);
        EXPECT_EQ(request(region.fd(), STM_IOC_ATTACHMENTS, &list), EINVAL) << flags;
        auto destroy = make_named<struct stm_destroy>(region.name(), flags & 7);
        EXPECT_EQ(request(region.fd(), STM_IOC_DESTROY, &destroy), EINVAL) << flags;
    }
    auto list = make<struct stm_attachments>(STM_BY_NEXT);
    EXPECT_EQ(request(region.fd(), STM_IOC_ATTACHMENTS, &list), EINVAL);
    EXPECT_TRUE(exists(region.name()));
}

TEST(Attachments, WithABadBufferAreEfault) {
    Region region("buffer");
    auto list = make<struct stm_attachments>(STM_BY_HANDLE);
    list.capacity = 10;
    for (std::uint64_t address : {0ULL, 8ULL, 1ULL << 47, ~0ULL, 0xffff888000000000ULL}) {
        list.buffer = address;
        EXPECT_EQ(request(region.fd(), STM_IOC_ATTACHMENTS, &list), EFAULT) << std::hex << address;
    }
}

TEST(Answers, LeaveNoKernelMemoryInPadding) {
    Region region("padding");
    struct stm_attachment entry;
    std::memset(&entry, 0xaa, sizeof entry);
    auto list = make<struct stm_attachments>(STM_BY_HANDLE);
    list.buffer = reinterpret_cast<std::uintptr_t>(&entry);
    list.capacity = 1;
    ASSERT_EQ(request(region.fd(), STM_IOC_ATTACHMENTS, &list), 0);
    EXPECT_EQ(entry.reserved, 0u);
    std::size_t end = strnlen(entry.command, sizeof entry.command);
    for (; end < sizeof entry.command; ++end)
        EXPECT_EQ(entry.command[end], '\0');
    struct stm_info info = info_of(region.fd());
    EXPECT_EQ(info.reserved, 0u);
    for (end = std::strlen(info.name); end < sizeof info.name; ++end)
        EXPECT_EQ(info.name[end], '\0');
}

// caller32.c makes every request from a 32-bit process.
TEST(Compatibility, Serves32BitCallers) {
    std::string program = build_folder() + "/tests/guest/caller32";
    if (::access(program.c_str(), X_OK) != 0)
        GTEST_SKIP() << "only x86-64 has 32-bit callers here";
    Output output = shell(program + " '" + unique_name("32 bits") + "'");
    if (output.status == 126 || output.status == 127)
        GTEST_SKIP() << "this kernel runs no 32-bit programs";
    EXPECT_EQ(output.status, 0) << output.text;
}

} // namespace
