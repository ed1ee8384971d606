// SPDX-License-Identifier: GPL-2.0
// Scans of a large region in one transaction, beside another process that writes one word of it all
// the time, and the other way round.
#include "../ways/own_region.hpp"
#include "goals.hpp"

#include <atomic>
#include <csignal>
#include <new>
#include <numeric>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace stm::bench {
namespace {

constexpr std::size_t kScanned = std::size_t{64} << 20;
// What the writer writes, one of these words after the other: far from each other, because a
// scan that is late with one page need not be with the next.
constexpr std::size_t kStride = kScanned / 16 + 8;

// One word of it, in a transaction by plain pointers.
[[gnu::noinline]] void write_one(int fd, volatile long* words, std::size_t at) {
    do {
        stm_start(fd);
        words[at] = words[at] + 1;
    } while (stm_commit(fd) != 0);
}

[[gnu::noinline]] long scan(int fd, const volatile long* words) {
    long sum = 0;
    do {
        stm_start(fd);
        sum = 0;
        for (std::size_t word = 0; word < kScanned / sizeof(long); ++word)
            sum = sum + words[word];
    } while (stm_commit(fd) != 0);
    return sum;
}

// A process of its own, on the second processor, which does something all the time while it is
// switched on.
class Companion {
public:
    explicit Companion(const std::function<void()>& act) {
        void* const memory = ::mmap(nullptr, sizeof(Switch), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        switch_ = new (memory) Switch{};
        child_ = ::fork();
        if (child_ < 0)
            fail("fork");
        if (child_ == 0)
            live(act);
    }
    ~Companion() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
        ::munmap(switch_, sizeof(Switch));
    }
    Companion(const Companion&) = delete;
    Companion& operator=(const Companion&) = delete;

    void turn(bool on) {
        switch_->wanted = on;
        while (switch_->is_on != on)
            ::usleep(100);
    }

private:
    struct Switch {
        std::atomic<bool> wanted;
        std::atomic<bool> is_on;
    };

    [[noreturn]] void live(const std::function<void()>& act) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        cpu_set_t second;
        CPU_ZERO(&second);
        CPU_SET(1, &second);
        ::sched_setaffinity(0, sizeof(second), &second);
        try {
            for (;;) {
                const bool wanted = switch_->wanted;
                if (wanted)
                    act();
                else
                    ::usleep(100);
                switch_->is_on = wanted;
            }
        } catch (const std::exception&) {
        }
        ::_exit(1);
    }

    Switch* switch_;
    pid_t child_;
};

// A handle and a mapping of the region in each process that asks for its words.
class Scanned {
public:
    explicit Scanned(std::string name) : name_(std::move(name)), fd_(open_region(kNew)) {
        // Every page has data, and records.
        volatile long* const words = map();
        for (std::size_t page = 0; page < kScanned / 4096; ++page)
            write_one(fd_, words, page * 512 + 1);
        ::munmap(const_cast<long*>(words), kScanned);
    }

    [[nodiscard]] int fd() const { return fd_; }
    volatile long* enter() {
        fd_ = open_region(0);
        return map();
    }

private:
    [[nodiscard]] int open_region(int flags) const {
        const int fd = stm_open(name_.c_str(), flags == 0 ? 0 : kScanned, flags, 0600);
        if (fd < 0)
            fail("stm_open");
        return fd;
    }
    [[nodiscard]] volatile long* map() const {
        void* const place = ::mmap(nullptr, kScanned, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
        if (place == MAP_FAILED)
            fail("mmap");
        return static_cast<volatile long*>(place);
    }

    std::string name_;
    int fd_;
};

class Beside : public Contestant {
public:
    Beside(Job job, Company company) : job_(job), region_(own_name("scanned")) {
        if (company == Company::present)
            companion_ = std::make_unique<Companion>([this] {
                if (words_ == nullptr)
                    words_ = region_.enter();
                act(job_ == Job::scan ? Job::write : Job::scan);
            });
    }
    void enter() override { words_ = region_.enter(); }
    long run(const Task&) override { return 0; }
    long run(const Work&, Random&, std::size_t) override {
        act(job_);
        return 0;
    }
    void before_turn() override {
        if (companion_)
            companion_->turn(true);
    }
    void after_turn() override {
        if (companion_)
            companion_->turn(false);
    }

private:
    void act(Job what) {
        if (what == Job::scan)
            scan(region_.fd(), words_);
        else
            write_one(region_.fd(), words_, ++written_ * kStride % kScanned / sizeof(long));
    }

    const Job job_;
    Scanned region_;
    volatile long* words_ = nullptr;
    std::size_t written_ = 0;
    std::unique_ptr<Companion> companion_;
};

} // namespace

std::unique_ptr<Contestant> make_scan(Job job, Company company) {
    return std::make_unique<Beside>(job, company);
}

} // namespace stm::bench
