// SPDX-License-Identifier: GPL-2.0
// Regions in core files.
#include "core_file.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <stm/stm.hpp>
#include <sys/ioctl.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr int kTransactional = 0;
constexpr std::size_t kSize = 8 * kPage;

class Cores : public ::testing::Test {
protected:
    // Where a child tells what it has mapped, for who looks into its core file.
    template <typename T>
    void tell(T* place) {
        shared_.at<void*>()[0] = const_cast<void*>(static_cast<const volatile void*>(place));
    }
    template <typename T>
    [[nodiscard]] T* told() const {
        return static_cast<T*>(shared_.at<void*>()[0]);
    }
    CoreFile core(const std::function<void()>& body) {
        path_ = core_of(body);
        return CoreFile(path_);
    }
    ~Cores() override {
        if (!path_.empty())
            ::unlink(path_.c_str());
    }

    CoreFiles files_;
    Mapping shared_{-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS};
    std::string path_;
};

long* mapped(int fd, int protection = PROT_READ | PROT_WRITE) {
    void* const memory = ::mmap(nullptr, kSize, protection, MAP_SHARED, fd, 0);
    EXPECT_NE(memory, MAP_FAILED) << std::strerror(errno);
    return static_cast<long*>(memory);
}

constexpr std::size_t kNumbers = kPage / sizeof(long); // of a page

TEST_F(Cores, LeaveARegionOutThatNobodyHasAskedFor) {
    Region region("left-out", kSize);
    const CoreFile file = core([&] {
        long* const numbers = mapped(region.fd());
        numbers[0] = 7;
        EXPECT_EQ(::madvise(numbers, kSize, MADV_DODUMP), -1);
        tell(numbers);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), std::nullopt);
}

TEST_F(Cores, HaveAPlainRegionThatWasAskedFor) {
    Region region("plain", kSize);
    const CoreFile file = core([&] {
        long* const numbers = mapped(region.fd());
        numbers[0] = 7;
        numbers[3 * kNumbers] = 8;
        EXPECT_EQ(stm_set_dump(region.fd(), 1), 0); // also after the mapping was made
        tell(numbers);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 7);
    EXPECT_EQ(file.value(told<long>() + kNumbers), 0);
    EXPECT_EQ(file.value(told<long>() + 3 * kNumbers), 8);
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 2 * kPage)
        << "the file has taken no memory of the region";
}

TEST_F(Cores, HaveWhatIsCommitted) {
    Region region("committed", kSize, kTransactional);
    const long before = 7;
    ASSERT_EQ(::pwrite(region.fd(), &before, sizeof before, 0), 8);
    const CoreFile file = core([&] {
        EXPECT_EQ(stm_set_dump(region.fd(), 1), 0);
        long* const numbers = mapped(region.fd());
        stm_start(region.fd());
        numbers[2 * kNumbers] = 9;
        stm_commit(region.fd());
        tell(numbers);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 7) << "a page that the program has never loaded";
    EXPECT_EQ(file.value(told<long>() + kNumbers), 0);
    EXPECT_EQ(file.value(told<long>() + 2 * kNumbers), 9);
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 2 * kPage);
}

TEST_F(Cores, HaveWhatATransactionHasStored) {
    Region region("inside", kSize, kTransactional);
    const long before = 7;
    for (const off_t page : {0, 1, 4})
        ASSERT_EQ(::pwrite(region.fd(), &before, sizeof before, page * kPage), 8);
    const CoreFile file = core([&] {
        EXPECT_EQ(stm_set_dump(region.fd(), 1), 0);
        long* const numbers = mapped(region.fd());
        stm_start(region.fd());
        numbers[0] = 8;
        numbers[3 * kNumbers] = 9; // where nothing was ever committed
        const long called = 10;
        EXPECT_EQ(::pwrite(region.fd(), &called, sizeof called, 4 * kPage + 8), 8);
        tell(numbers);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 8);
    EXPECT_EQ(file.value(told<long>() + kNumbers), 7) << "it has not touched that page";
    EXPECT_EQ(file.value(told<long>() + 3 * kNumbers), 9);
    EXPECT_EQ(file.value(told<long>() + 4 * kNumbers), 7);
    EXPECT_EQ(file.value(told<long>() + 4 * kNumbers + 1), 10) << "by a call";
    long after = 0;
    ASSERT_EQ(::pread(region.fd(), &after, sizeof after, 0), 8);
    EXPECT_EQ(after, 7) << "the transaction has had no effect";
}

// What it has read has changed, so nothing more can be read at its snapshot.
TEST_F(Cores, HaveAllOfTheRegionAlsoInADoomedTransaction) {
    Region region("doomed", kSize, kTransactional);
    const long before = 7;
    for (const off_t page : {0, 1})
        ASSERT_EQ(::pwrite(region.fd(), &before, sizeof before, page * kPage), 8);
    const CoreFile file = core([&] {
        EXPECT_EQ(stm_set_dump(region.fd(), 1), 0);
        long* const numbers = mapped(region.fd());
        stm_start(region.fd());
        // No restart may take the thread back from here.
        stm_defer_restarts();
        *const_cast<volatile long*>(numbers);
        std::thread([&] {
            Fd other(stm_open(region.name().c_str(), 0, 0, 0));
            const long after = 8;
            for (const off_t page : {0, 1})
                EXPECT_EQ(::pwrite(other.get(), &after, sizeof after, page * kPage), 8);
        }).join();
        tell(numbers);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 7) << "as the transaction saw it";
    EXPECT_EQ(file.value(told<long>() + kNumbers), 8) << "as it is committed";
}

TEST_F(Cores, HaveVariables) {
    Region region("variables", kSize, kTransactional);
    const CoreFile file = core([&] {
        // Still there when the process dies.
        const auto& own = *new stm::region(stm::region::open(region.name()));
        EXPECT_EQ(stm_set_dump(own.fd(), 1), 0);
        auto& number = own.root<stm::var<long>>();
        stm::atomically(own, [&](stm::transaction& tx) { tx[number] = 77; });
        tell(&number);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 77);
}

TEST_F(Cores, HaveTheMappingsOfOneHandleInEachProcess) {
    Region region("handles", kSize);
    Region other("other", kSize);
    EXPECT_EQ(stm_set_dump(region.fd(), 1), 0);
    mapped(region.fd())[0] = 7;
    const CoreFile file = core([&] { // a child of fork has the same open file
        long* const numbers = mapped(region.fd(), PROT_READ);
        mapped(other.fd())[0] = 8;
        tell(numbers);
        shared_.at<void*>()[1] = mapped(other.fd());
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 7) << "a mapping for loads alone";
    EXPECT_EQ(file.value(static_cast<long*>(shared_.at<void*>()[1])), std::nullopt);
}

TEST_F(Cores, LeaveItOutAgain) {
    Region region("again", kSize);
    const CoreFile file = core([&] {
        EXPECT_EQ(stm_set_dump(region.fd(), 1), 0);
        EXPECT_EQ(stm_set_dump(region.fd(), 0), 0);
        long* const numbers = mapped(region.fd());
        numbers[0] = 7;
        tell(numbers);
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), std::nullopt);
}

TEST_F(Cores, HaveAllRegionsForWhoSaysSoInTheEnvironment) {
    const CoreFile file = core([&] {
        EXPECT_EQ(::setenv("STM_DUMP", "1", 1), 0);
        Region region("environment", kSize);
        long* const numbers = mapped(region.fd());
        numbers[0] = 7;
        tell(numbers);
        stm_unlink_deferred(region.name().c_str());
        std::abort();
    });
    ASSERT_TRUE(file.is_whole());
    EXPECT_EQ(file.value(told<long>()), 7);
}

TEST(SetDump, RefusesWhatIsNoHandle) {
    EXPECT_EQ(stm_set_dump(-1, 1), -1);
    EXPECT_EQ(errno, EBADF);
    const Fd file(::open("/dev/null", O_RDONLY));
    EXPECT_EQ(stm_set_dump(file.get(), 1), -1);
    EXPECT_EQ(errno, ENOTTY);
    Region region("refuses");
    EXPECT_EQ(::ioctl(region.fd(), STM_IOC_DUMP, 2), -1);
    EXPECT_EQ(errno, EINVAL);
}

} // namespace
