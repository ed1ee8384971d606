// SPDX-License-Identifier: GPL-2.0
// What parts of a region are called.
#include "tests/unit/kernel/kernel_test.hpp"

namespace stm::test {
namespace {

class Places : public KernelTest {
protected:
    static constexpr std::uint64_t kBytes = 2 * kPage;
    File file = open(control, "tx", kCreate, {kBytes, 0, 0666});

    static long name(const File& of, std::uint64_t offset, std::uint64_t length,
                     const std::string& name) {
        auto place = argument_of<stm_place>(0);
        place.offset = offset;
        place.length = length;
        name.copy(place.name, sizeof(place.name));
        return request(of, STM_IOC_NAME_PLACE, place);
    }
    // "NAME offset length", of those that fit into a list of `capacity`.
    std::vector<std::string> names(std::uint32_t capacity = STM_MAX_PLACES) {
        std::vector<stm_place> list(capacity);
        auto argument = argument_of<stm_places>(STM_BY_NAME, "tx");
        argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
        argument.capacity = capacity;
        EXPECT_EQ(request(control, STM_IOC_PLACES, argument), 0);
        count = argument.count;
        std::vector<std::string> found;
        for (std::uint32_t i = 0; i < count && i < capacity; ++i) {
            EXPECT_EQ(list[i].size, sizeof(stm_place));
            found.push_back(std::string(list[i].name) + " " + std::to_string(list[i].offset) + " " +
                            std::to_string(list[i].length));
        }
        return found;
    }
    std::uint32_t count = 0;
};

using Names = std::vector<std::string>;

TEST_F(Places, HaveTheLastNameThatTheyWereGiven) {
    EXPECT_EQ(names(), Names{});
    EXPECT_EQ(name(file, 0, 64, "head"), 0);
    EXPECT_EQ(name(file, 64, kBytes - 64, "accounts"), 0);
    EXPECT_EQ(names(), (Names{"head 0 64", "accounts 64 8128"}));
    EXPECT_EQ(name(file, 0, 64, "queue"), 0);
    EXPECT_EQ(names(), (Names{"queue 0 64", "accounts 64 8128"}));
    EXPECT_EQ(name(file, 0, 32, "half"), 0) << "another part";
    EXPECT_EQ(name(file, 64, kBytes - 64, ""), 0);
    EXPECT_EQ(names(), (Names{"queue 0 64", "half 0 32"}));
    EXPECT_EQ(name(file, 64, kBytes - 64, ""), -ENOENT);
    EXPECT_EQ(names(1), (Names{"queue 0 64"}));
    EXPECT_EQ(count, 2u) << "how many there are";
}

TEST_F(Places, LieInTheRegion) {
    EXPECT_EQ(name(file, kBytes, 1, "a"), -EINVAL);
    EXPECT_EQ(name(file, kBytes - 8, 9, "a"), -EINVAL);
    EXPECT_EQ(name(file, 8, ~std::uint64_t{0}, "a"), -EINVAL);
    EXPECT_EQ(name(file, ~std::uint64_t{0}, 1, "a"), -EINVAL);
    EXPECT_EQ(name(file, 0, 0, "a"), -EINVAL);
    EXPECT_EQ(name(file, kBytes - 8, 8, "a"), 0);
    EXPECT_EQ(names(), (Names{"a 8184 8"}));
}

TEST_F(Places, HaveNamesThatEndWithZeros) {
    EXPECT_EQ(name(file, 0, 8, std::string(39, 'x')), 0);
    EXPECT_EQ(name(file, 0, 8, std::string(40, 'x')), -ENAMETOOLONG);
    EXPECT_EQ(name(file, 0, 8, std::string("a\0b", 3)), -EINVAL);
    EXPECT_EQ(name(file, 0, 8, std::string("\0b", 2)), -EINVAL);
    EXPECT_EQ(names(), (Names{std::string(39, 'x') + " 0 8"}));
}

TEST_F(Places, AreNamedByThoseWhoMayWrite) {
    const File reader = open(control, "tx", kOpen & ~unsigned{STM_OPEN_WRITE}, {0, 0, 0});
    EXPECT_EQ(name(reader, 0, 8, "a"), -EBADF);
    EXPECT_EQ(names(), Names{});
}

TEST_F(Places, AreBoundedInNumber) {
    for (unsigned i = 0; i < STM_MAX_PLACES; ++i)
        ASSERT_EQ(name(file, i, 1, "a"), 0);
    EXPECT_EQ(name(file, STM_MAX_PLACES, 1, "a"), -ENOSPC);
    EXPECT_EQ(name(file, 7, 1, "b"), 0) << "it has one";
    EXPECT_EQ(name(file, 8, 1, ""), 0);
    EXPECT_EQ(name(file, STM_MAX_PLACES, 1, "a"), 0);
    EXPECT_EQ(names().size(), std::size_t{STM_MAX_PLACES});
    std::vector<stm_place> list(1);
    auto argument = argument_of<stm_places>(STM_BY_NAME, "tx");
    argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
    argument.capacity = STM_MAX_PLACES + 1;
    EXPECT_EQ(request(control, STM_IOC_PLACES, argument), -EINVAL);
}

TEST_F(Places, GoWithTheirRegion) {
    EXPECT_EQ(name(file, 0, 8, "a"), 0);
    file = File();
    auto destroy = argument_of<stm_destroy>(STM_BY_NAME, "tx");
    ASSERT_EQ(request(control, STM_IOC_DESTROY, destroy), 0);
    file = open(control, "tx", kCreate, {kBytes, 0, 0666});
    EXPECT_EQ(names(), Names{});
}

} // namespace
} // namespace stm::test
