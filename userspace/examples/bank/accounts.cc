// SPDX-License-Identifier: LGPL-2.1-or-later
#include "accounts.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <sched.h>
#include <stm/stm.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace bank {
namespace {

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

int open_region(const std::string& name, std::size_t size, int flags) {
    int fd = stm_open(name.c_str(), size, STM_CREATE | STM_EPHEMERAL | STM_CLOEXEC | flags, 0600);
    if (fd < 0)
        fail("stm_open");
    return fd;
}

// Commits, and tells whether that has to be done all over. What never can be committed is the end.
bool is_to_be_tried_again(int fd) {
    const int result = stm_try_commit(fd);
    if (result < 0)
        fail("stm_try_commit");
    return result > 0;
}

class Transactions : public Accounts {
public:
    Transactions(const std::string& name, std::uint64_t count, int flags)
        : fd_(open_region(name, count * kAccountBytes, flags)), count_(count),
          chunk_(kChunk * kAccountBytes) {}
    ~Transactions() override { ::close(fd_); }
    Transactions(const Transactions&) = delete;
    Transactions& operator=(const Transactions&) = delete;

    Taken transfer(std::uint64_t from, std::uint64_t to, std::int64_t amount) override {
        volatile std::uint64_t attempts = 0; // changed in the transaction
        do {
            stm_start(fd_);
            attempts = attempts + 1;
            std::int64_t balance = read(from);
            if (balance < amount) {
                stm_cancel(fd_);
                break;
            }
            write(from, balance - amount);
            write(to, read(to) + amount);
        } while (is_to_be_tried_again(fd_));
        return {attempts};
    }

    Taken sum(std::int64_t& total) override {
        volatile std::uint64_t attempts = 0;
        do {
            stm_start(fd_);
            attempts = attempts + 1;
            total = 0;
            // In many calls, so that there is time for others between them.
            for (std::uint64_t first = 0; first < count_; first += kChunk)
                total += sum_of_chunk(first);
        } while (is_to_be_tried_again(fd_));
        return {attempts};
    }

    void open(std::int64_t balance) override {
        for (std::uint64_t account = 0; account < count_; ++account)
            write(account, balance);
    }

    [[nodiscard]] int handle() const override { return fd_; }

private:
    static constexpr std::uint64_t kChunk = 64;

    static off_t place(std::uint64_t account) {
        return static_cast<off_t>(account * kAccountBytes);
    }

    std::int64_t read(std::uint64_t account) const {
        std::int64_t balance = 0;
        if (::pread(fd_, &balance, sizeof balance, place(account)) != sizeof balance)
            fail("pread");
        return balance;
    }

    void write(std::uint64_t account, std::int64_t balance) const {
        if (::pwrite(fd_, &balance, sizeof balance, place(account)) != sizeof balance)
            fail("pwrite");
    }

    std::int64_t sum_of_chunk(std::uint64_t first) {
        std::uint64_t accounts = count_ - first < kChunk ? count_ - first : kChunk;
        std::size_t bytes = accounts * kAccountBytes;
        if (::pread(fd_, chunk_.data(), bytes, place(first)) != static_cast<ssize_t>(bytes))
            fail("pread");
        std::int64_t total = 0;
        for (std::uint64_t account = 0; account < accounts; ++account) {
            std::int64_t balance = 0;
            __builtin_memcpy(&balance, &chunk_[account * kAccountBytes], sizeof balance);
            total += balance;
        }
        return total;
    }

    int fd_;
    std::uint64_t count_;
    std::vector<char> chunk_;
};

// Ordinary pointers into a mapping: what happens to the accounts in a transaction is written as if
// nobody else were there.
class Transparent : public Accounts {
public:
    Transparent(const std::string& name, std::uint64_t count)
        : size_(count * kPageBytes), fd_(open_region(name, size_, 0)), count_(count) {
        void* mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
        if (mapped == MAP_FAILED)
            fail("mmap");
        accounts_ = static_cast<Account*>(mapped);
    }
    ~Transparent() override {
        ::munmap(accounts_, size_);
        ::close(fd_);
    }
    Transparent(const Transparent&) = delete;
    Transparent& operator=(const Transparent&) = delete;

    Taken transfer(std::uint64_t from, std::uint64_t to, std::int64_t amount) override {
        volatile std::uint64_t attempts = 0;
        do {
            stm_start(fd_);
            attempts = attempts + 1;
            if (accounts_[from].balance < amount) {
                stm_cancel(fd_);
                break;
            }
            accounts_[from].balance -= amount;
            accounts_[to].balance += amount;
        } while (is_to_be_tried_again(fd_));
        return {attempts};
    }

    Taken sum(std::int64_t& total) override {
        volatile std::uint64_t attempts = 0;
        do {
            stm_start(fd_);
            attempts = attempts + 1;
            total = 0;
            for (std::uint64_t account = 0; account < count_; ++account)
                total += accounts_[account].balance;
        } while (is_to_be_tried_again(fd_));
        return {attempts};
    }

    // Account by account, so that no number of them is too large for one transaction.
    void open(std::int64_t balance) override {
        for (std::uint64_t account = 0; account < count_; ++account)
            open_one(accounts_[account], balance);
    }

    [[nodiscard]] int handle() const override { return fd_; }

private:
    static constexpr std::size_t kPageBytes = 4096;
    // Two transactions that store to one page conflict, so each account has a page of its own.
    struct alignas(kPageBytes) Account {
        std::int64_t balance;
    };

    void open_one(Account& account, std::int64_t balance) const {
        do {
            stm_start(fd_);
            account.balance = balance;
        } while (is_to_be_tried_again(fd_));
    }

    std::size_t size_;
    int fd_;
    std::uint64_t count_;
    Account* accounts_ = nullptr;
};

// A mutex, and accounts that are changed under it, in memory that all processes map.
class Locked : public Accounts {
public:
    Locked(const std::string& name, std::uint64_t count)
        : size_((count + 1) * kAccountBytes), fd_(open_region(name, size_, STM_PLAIN)),
          count_(count) {
        void* mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
        if (mapped == MAP_FAILED)
            fail("mmap");
        memory_ = static_cast<char*>(mapped);
    }
    ~Locked() override {
        ::munmap(memory_, size_);
        ::close(fd_);
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

    Taken transfer(std::uint64_t from, std::uint64_t to, std::int64_t amount) override {
        lock();
        if (balance(from) >= amount) {
            balance(from) = balance(from) - amount;
            ::sched_yield(); // a good moment to die
            balance(to) = balance(to) + amount;
        }
        pthread_mutex_unlock(mutex());
        return {1};
    }

    Taken sum(std::int64_t& total) override {
        lock();
        total = 0;
        for (std::uint64_t account = 0; account < count_; ++account)
            total += balance(account);
        pthread_mutex_unlock(mutex());
        return {1};
    }

    void open(std::int64_t amount) override {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (pthread_mutex_init(mutex(), &attributes) != 0)
            fail("pthread_mutex_init");
        for (std::uint64_t account = 0; account < count_; ++account)
            balance(account) = amount;
    }

    [[nodiscard]] int handle() const override { return fd_; }

private:
    pthread_mutex_t* mutex() { return reinterpret_cast<pthread_mutex_t*>(memory_); }
    volatile std::int64_t& balance(std::uint64_t account) {
        return *reinterpret_cast<volatile std::int64_t*>(memory_ + (account + 1) * kAccountBytes);
    }
    void lock() {
        if (pthread_mutex_lock(mutex()) == EOWNERDEAD)
            pthread_mutex_consistent(mutex()); // as if anybody knew
    }

    std::size_t size_;
    int fd_;
    std::uint64_t count_;
    char* memory_ = nullptr;
};

} // namespace

std::unique_ptr<Accounts> attach(Way way, const std::string& name, std::uint64_t count) {
    switch (way) {
    case Way::calls:
        return std::make_unique<Transactions>(name, count, 0);
    case Way::mutex:
        return std::make_unique<Transactions>(name, count, STM_MUTEX);
    case Way::transparent:
        return std::make_unique<Transparent>(name, count);
    case Way::typed:
        return attach_typed(name, count, 0);
    case Way::direct:
        return attach_typed(name, count, STM_DIRECT);
    case Way::pthread:
        break;
    }
    return std::make_unique<Locked>(name, count);
}

} // namespace bank
