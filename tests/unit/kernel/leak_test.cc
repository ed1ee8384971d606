// SPDX-License-Identifier: GPL-2.0
// No byte of the kernel's memory reaches a caller. The simulated Linux fills all memory that it
// gives with one byte, and with another what it takes back; neither may show in an answer, a page
// or a buffer, however a request ends.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace stm::test {
namespace {

// What user memory holds before a call, so that what was not written to is seen.
constexpr std::uint8_t kUntouched = 0x11;

// An aggregate without any byte that belongs to no member: then an answer whose members are set is
// set as a whole.
template <typename... Arguments>
constexpr bool have_no_padding = (std::has_unique_object_representations_v<Arguments> && ...);
static_assert(
    have_no_padding<stm_version, stm_open, stm_set_size, stm_info, stm_attachment, stm_attachments,
                    stm_destroy, stm_wait, stm_transaction, stm_statistics>);

// A few bytes of a pattern in a row are no number that happens to look so.
testing::AssertionResult is_clean(const void* memory, std::size_t bytes) {
    const auto* first = static_cast<const std::uint8_t*>(memory);
    for (const std::uint8_t poison : {simulated::kFreshByte, simulated::kFreedByte}) {
        const std::array<std::uint8_t, 3> run{poison, poison, poison};
        const auto* found = std::search(first, first + bytes, run.begin(), run.end());
        if (found != first + bytes)
            return testing::AssertionFailure() << "the kernel's memory at byte " << found - first;
    }
    return testing::AssertionSuccess();
}

class Leaks : public KernelTest {
protected:
    File plain = open(control, "plain", kCreate, {3 * kPage});
    File transactional = open(control, "tx", kCreate, {3 * kPage, 0, 0600});

    // Makes the request, and looks at all of the page of user memory that it was given.
    template <typename Argument>
    long ask(const File& file, unsigned number, const Argument& argument) {
        std::vector<std::uint8_t> memory(kPage, kUntouched);
        std::memcpy(memory.data(), &argument, sizeof(argument));
        const auto before = memory;
        const long result =
            stm_core_control(file.get(), number, reinterpret_cast<std::uint64_t>(memory.data()));
        EXPECT_TRUE(is_clean(memory.data(), memory.size())) << "request " << number;
        EXPECT_TRUE(std::equal(memory.begin() + sizeof(argument), memory.end(),
                               before.begin() + sizeof(argument)))
            << "request " << number << " wrote behind its structure";
        if (result < 0) {
            EXPECT_EQ(memory, before) << "request " << number << " failed and has answered";
        }
        return result;
    }

    void expect_zeros(const File& file, std::uint64_t from, std::size_t bytes) {
        std::vector<std::uint8_t> memory(bytes, kUntouched);
        ASSERT_EQ(read(file, from, memory.data(), bytes), static_cast<long>(bytes));
        EXPECT_EQ(std::count(memory.begin(), memory.end(), 0), static_cast<long>(bytes));
    }
};

TEST_F(Leaks, NoAnswerShowsTheKernelsMemory) {
    EXPECT_EQ(ask(plain, STM_IOC_VERSION, argument_of<stm_version>(0)), 0);
    for (const File* file : {&control, &plain, &transactional}) {
        EXPECT_EQ(ask(*file, STM_IOC_INFO, argument_of<stm_info>(STM_BY_HANDLE)), 0);
        EXPECT_EQ(ask(*file, STM_IOC_STATISTICS, argument_of<stm_statistics>(STM_BY_HANDLE)), 0);
        EXPECT_EQ(ask(*file, STM_IOC_STATISTICS,
                      argument_of<stm_statistics>(STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE)),
                  0);
    }
    EXPECT_EQ(ask(control, STM_IOC_INFO, argument_of<stm_info>(STM_BY_NEXT)), 0);
    EXPECT_EQ(ask(control, STM_IOC_INFO, argument_of<stm_info>(STM_BY_NAME, "tx")), 0);
    ASSERT_EQ(start(transactional), 1);
    EXPECT_EQ(ask(transactional, STM_IOC_TRANSACTION, argument_of<stm_transaction>(0)), 0);
    EXPECT_EQ(cancel(transactional), 0);
    EXPECT_EQ(ask(transactional, STM_IOC_TRANSACTION, argument_of<stm_transaction>(0)), 0);
    EXPECT_EQ(ask(plain, STM_IOC_DESTROY, argument_of<stm_destroy>(STM_BY_HANDLE)), 0);
}

TEST_F(Leaks, NoRefusalShowsAnything) {
    EXPECT_LT(ask(control, STM_IOC_INFO, argument_of<stm_info>(STM_BY_NAME, "missing")), 0);
    EXPECT_LT(ask(control, STM_IOC_INFO, argument_of<stm_info>(STM_BY_ID)), 0);
    EXPECT_LT(ask(control, STM_IOC_INFO, argument_of<stm_info>(0)), 0);
    EXPECT_LT(ask(control, STM_IOC_OPEN, argument_of<stm_open>(STM_OPEN_READ, "missing")), 0);
    EXPECT_LT(ask(control, STM_IOC_OPEN, argument_of<stm_open>(kOpen | STM_OPEN_EXCL, "plain")), 0);
    auto larger = argument_of<stm_open>(kOpen, "plain");
    larger.region_size = 4 * kPage;
    EXPECT_LT(ask(control, STM_IOC_OPEN, larger), 0);
    auto size = argument_of<stm_set_size>(0);
    size.region_size = 4 * kPage;
    EXPECT_LT(ask(plain, STM_IOC_SET_SIZE, size), 0);
    EXPECT_LT(ask(control, STM_IOC_STATISTICS, argument_of<stm_statistics>(0)), 0);
    EXPECT_LT(ask(control, STM_IOC_DESTROY, argument_of<stm_destroy>(STM_BY_NAME, "missing")), 0);
    EXPECT_LT(ask(transactional, STM_IOC_WAIT, argument_of<stm_wait>(0)), 0);
    auto list = argument_of<stm_attachments>(STM_BY_NAME, "missing");
    EXPECT_LT(ask(control, STM_IOC_ATTACHMENTS, list), 0);
}

TEST_F(Leaks, OnlyTheEntriesThatThereAreAreTold) {
    std::vector<std::uint8_t> memory(16 * sizeof(stm_attachment), kUntouched);
    auto list = argument_of<stm_attachments>(STM_BY_HANDLE);
    list.buffer = reinterpret_cast<std::uint64_t>(memory.data());
    list.capacity = 16;
    ASSERT_EQ(ask(plain, STM_IOC_ATTACHMENTS, list), 0);
    EXPECT_TRUE(is_clean(memory.data(), memory.size()));
    const auto told = sizeof(stm_attachment); // its one handle
    EXPECT_EQ(std::count(memory.begin() + told, memory.end(), kUntouched),
              static_cast<long>(memory.size() - told));
}

TEST_F(Leaks, PagesAreNewAsZeros) {
    for (const File* file : {&plain, &transactional}) {
        expect_zeros(*file, 0, 3 * kPage);
        // Around what is written, too.
        ASSERT_EQ(write(*file, kPage + 100, "x", 1), 1);
        expect_zeros(*file, 0, kPage + 100);
        expect_zeros(*file, kPage + 101, 2 * kPage - 101);
    }
    for (const stm_page* page : fault(plain, 0, 2).pages)
        EXPECT_TRUE(is_clean(simulated::page_bytes(const_cast<stm_page*>(page)), kPage));
    for (const stm_page* page : fault(transactional, 2, 2).pages)
        EXPECT_TRUE(is_clean(simulated::page_bytes(const_cast<stm_page*>(page)), kPage));
}

TEST_F(Leaks, TheRestOfALastPageIsZeros) {
    const File odd = open(control, "odd", kCreate, {kPage + 1});
    EXPECT_EQ(info_of(odd).region_size, 2 * kPage);
    ASSERT_EQ(write(odd, kPage, "x", 1), 1);
    expect_zeros(odd, kPage + 1, kPage - 1);
}

TEST_F(Leaks, PrivatePagesAreWhollyFilled) {
    ASSERT_EQ(map(transactional, 0, 3, STM_MAP_WRITE), 0);
    ASSERT_EQ(start(transactional), 1);
    for (const Access access : {Access::load, Access::store}) {
        const std::uint64_t index = access == Access::load ? 0 : 1;
        const Fault found = fault(transactional, index, index, access);
        ASSERT_EQ(found.result, STM_FAULT_MAP);
        EXPECT_TRUE(is_clean(simulated::page_bytes(found.pages[0]), kPage));
        const std::vector<std::uint8_t> zeros(kPage);
        EXPECT_EQ(std::memcmp(simulated::page_bytes(found.pages[0]), zeros.data(), kPage), 0);
        std::memset(simulated::page_bytes(found.pages[0]), 'S',
                    access == Access::store ? kPage : 0);
    }
    ASSERT_EQ(cancel(transactional), 0);
    // The page comes from the pool now, where another page's bytes were on it.
    ASSERT_EQ(start(transactional), 1);
    const Fault again = fault(transactional, 2, 2, Access::load);
    ASSERT_EQ(again.result, STM_FAULT_MAP);
    const std::vector<std::uint8_t> zeros(kPage);
    EXPECT_EQ(std::memcmp(simulated::page_bytes(again.pages[0]), zeros.data(), kPage), 0);
    ASSERT_EQ(cancel(transactional), 0);
}

TEST_F(Leaks, ADestroyedRegionsBytesAreNotAnothers) {
    const std::vector<std::uint8_t> secret(3 * kPage, 'S');
    for (int round = 0; round < 3; ++round) {
        for (const std::uint32_t kind : {std::uint32_t{STM_REGION_PLAIN}, 0u}) {
            File file = open(control, "secret", kCreate, {3 * kPage, kind});
            expect_zeros(file, 0, 3 * kPage);
            ASSERT_EQ(write(file, 0, secret.data(), secret.size()),
                      static_cast<long>(secret.size()));
            file.close();
            ASSERT_EQ(destroy_name(control, "secret"), 0);
        }
    }
}

TEST_F(Leaks, AReadAtTheEndLeavesTheRestOfTheBuffer) {
    std::vector<std::uint8_t> memory(2 * kPage, kUntouched);
    EXPECT_EQ(read(plain, 3 * kPage - 10, memory.data(), memory.size()), 10);
    EXPECT_EQ(std::count(memory.begin() + 10, memory.end(), kUntouched),
              static_cast<long>(memory.size() - 10));
    EXPECT_EQ(read(plain, 3 * kPage, memory.data(), memory.size()), 0);
    EXPECT_EQ(read(plain, ~std::uint64_t{0} >> 1, memory.data(), memory.size()), 0);
    EXPECT_TRUE(is_clean(memory.data(), memory.size()));
}

} // namespace
} // namespace stm::test
