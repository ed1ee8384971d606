// SPDX-License-Identifier: GPL-2.0
// The first mapping of a handle comes while its other threads do something with the handle: a
// transaction that runs gets the view, and nobody else.
#include "mapped.hpp"

#include <atomic>
#include <chrono>
#include <linux/userfaultfd.h>
#include <memory>
#include <poll.h>
#include <sys/syscall.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr std::size_t kBytes = 16 * kPage;
constexpr std::size_t kPlace = 5 * kPage;

class LateMapping : public Transactions {
protected:
    explicit LateMapping(int flags = kTransactional) : Transactions(flags) {}
};
class LateMappingOfMutex : public LateMapping {
protected:
    LateMappingOfMutex() : LateMapping(STM_MUTEX) {}
};

/** Memory whose first touch waits until somebody says so. */
class HeldBack {
public:
    explicit HeldBack(std::size_t size)
        : size_(size),
          handler_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))),
          data_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        struct uffdio_api api {};
        api.api = UFFD_API;
        EXPECT_EQ(::ioctl(handler_.get(), UFFDIO_API, &api), 0) << std::strerror(errno);
        struct uffdio_register all {};
        all.range = range();
        all.mode = UFFDIO_REGISTER_MODE_MISSING;
        EXPECT_EQ(::ioctl(handler_.get(), UFFDIO_REGISTER, &all), 0) << std::strerror(errno);
    }
    ~HeldBack() { ::munmap(data_, size_); }
    HeldBack(const HeldBack&) = delete;
    HeldBack& operator=(const HeldBack&) = delete;

    [[nodiscard]] void* data() const { return data_; }
    void wait_until_touched() const {
        struct pollfd touched {
            handler_.get(), POLLIN, 0
        };
        EXPECT_EQ(::poll(&touched, 1, -1), 1);
        EXPECT_EQ(touched.revents, POLLIN);
    }
    void let_go() const {
        struct uffdio_zeropage zeros {};
        zeros.range = range();
        EXPECT_EQ(::ioctl(handler_.get(), UFFDIO_ZEROPAGE, &zeros), 0) << std::strerror(errno);
    }

private:
    [[nodiscard]] struct uffdio_range range() const {
        return {reinterpret_cast<std::uintptr_t>(data_), size_};
    }
    std::size_t size_;
    Fd handler_;
    void* data_;
};

TEST_F(LateMapping, OfATransactionThatWaits) {
    Fd other = another();
    put(other.get(), 7L, kPlace);
    std::thread waiter([&] {
        EXPECT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
        EXPECT_EQ(get(fd(), 0), 0);
        auto wait = make<struct stm_wait>();
        wait.timeout_ns = STM_WAIT_FOREVER;
        EXPECT_EQ(request(fd(), STM_IOC_WAIT, &wait), 0);
    });
    EXPECT_TRUE(eventually([&] { return statistics(other.get()).waiting == 1; }));
    Mapping map(fd(), kBytes);
    EXPECT_EQ(*map.at<volatile long>(kPlace), 7) << "as committed";
    put(other.get(), 1L, 0);
    waiter.join();
    put(other.get(), 8L, kPlace);
    EXPECT_EQ(*map.at<volatile long>(kPlace), 8);
}

TEST_F(LateMapping, OfASingleCall) {
    Fd other = another();
    put(other.get(), 1L, kPlace);
    HeldBack buffer(kBytes);
    std::atomic<bool> called = false;
    std::atomic<bool> changed = false;
    std::unique_ptr<Mapping> map;
    std::thread reader([&] {
        // The thread had a transaction before.
        EXPECT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
        EXPECT_EQ(get(fd(), 0), 0);
        EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
        EXPECT_EQ(::pread(fd(), buffer.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
        called = true;
        while (!changed)
            std::this_thread::yield();
        EXPECT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
        EXPECT_EQ(*map->at<volatile long>(kPlace), 42);
        EXPECT_EQ(get(fd(), kPlace), 42);
        EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
    });
    buffer.wait_until_touched();
    map = std::make_unique<Mapping>(fd(), kBytes);
    EXPECT_EQ(*map->at<volatile long>(kPlace), 1);
    buffer.let_go();
    while (!called)
        std::this_thread::yield();
    put(other.get(), 42L, kPlace);
    EXPECT_EQ(*map->at<volatile long>(kPlace), 42) << "the region's own page";
    changed = true;
    reader.join();
}

// The holder of the lock of the region needs its address space to go on.
TEST_F(LateMappingOfMutex, DoesNotWaitForWhoWaitsForTheLock) {
    constexpr auto kLongEnough = std::chrono::milliseconds(200); // if not, this shows nothing
    Fd other = another();
    EXPECT_EQ(::ioctl(other.get(), STM_IOC_START, 0), 1);
    std::thread starter([&] {
        EXPECT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
        EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
    });
    std::this_thread::sleep_for(kLongEnough);
    std::thread mapper([&] {
        Mapping map(fd(), kBytes);
        EXPECT_TRUE(map.ok());
    });
    std::this_thread::sleep_for(kLongEnough);
    void* fresh =
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(fresh, MAP_FAILED);
    *static_cast<volatile char*>(fresh) = 1;
    EXPECT_EQ(::ioctl(other.get(), STM_IOC_COMMIT, 0), 0);
    starter.join();
    mapper.join();
    ::munmap(fresh, kPage);
}

} // namespace
