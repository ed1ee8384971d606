// SPDX-License-Identifier: GPL-2.0
// Other processes that have a region attached, or a transaction open in it.
#include "goals.hpp"

#include <cerrno>
#include <csignal>
#include <semaphore.h>
#include <stm/stm.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace stm::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// Processes that do something each time they are told, all at once.
class Others {
public:
    // be(step) in each of them: 0 is before everything else. At most kMost.
    Others(unsigned count, const std::function<void(unsigned step)>& be) {
        void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        shared_ = static_cast<Shared*>(memory);
        ::sem_init(&shared_->done, 1, 0);
        for (unsigned each = 0; each < count; ++each) {
            ::sem_init(&shared_->go[each], 1, 0);
            const pid_t child = ::fork();
            if (child < 0)
                fail("fork");
            if (child == 0)
                live(be, shared_->go[each]);
            children_.push_back(child);
        }
        wait_for_all();
    }
    ~Others() {
        for (const pid_t child : children_)
            ::kill(child, SIGKILL);
        for (const pid_t child : children_)
            ::waitpid(child, nullptr, 0);
        ::munmap(shared_, sizeof(Shared));
    }
    Others(const Others&) = delete;
    Others& operator=(const Others&) = delete;

    void next_step() {
        for (std::size_t each = 0; each < children_.size(); ++each)
            ::sem_post(&shared_->go[each]);
        wait_for_all();
    }

private:
    static constexpr unsigned kMost = 255;
    struct Shared {
        sem_t go[kMost]; // one for each, so that none takes the turn of another one
        sem_t done;
    };

    [[noreturn]] void live(const std::function<void(unsigned step)>& be, sem_t& go) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned step = 0;; ++step) {
            try {
                be(step);
            } catch (const std::exception&) {
                ::_exit(1);
            }
            ::sem_post(&shared_->done);
            while (::sem_wait(&go) < 0 && errno == EINTR) {
            }
        }
    }
    void wait_for_all() {
        for (std::size_t each = 0; each < children_.size(); ++each) {
            timespec until{};
            ::clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += 60;
            if (::sem_timedwait(&shared_->done, &until) < 0)
                fail("a process beside the measured one does not answer");
        }
    }

    Shared* shared_;
    std::vector<pid_t> children_;
};

// Passes everything on.
class Beside : public Contestant {
public:
    explicit Beside(std::unique_ptr<Contestant> contestant) : contestant_(std::move(contestant)) {}
    void enter() override { contestant_->enter(); }
    using Contestant::run;
    long run(const Task& task) override { return contestant_->run(task); }

protected:
    std::unique_ptr<Contestant> contestant_;
    std::unique_ptr<Others> others_;
};

class Attached : public Beside {
public:
    explicit Attached(unsigned others) : Beside(make_typed()) {
        others_ = std::make_unique<Others>(others, [this](unsigned step) {
            if (step != 0)
                return;
            contestant_->enter();
            Random random;
            contestant_->run(kReadOnly8, random, 0);
        });
    }
};

class BesideOpen : public Beside {
public:
    BesideOpen(unsigned others, bool typed) : BesideOpen(others, typed, own_name("open")) {}
    void before_turn() override { others_->next_step(); }
    void after_turn() override { others_->next_step(); }

private:
    BesideOpen(unsigned others, bool typed, const std::string& name)
        : Beside(typed ? make_typed_in(name, kBytes) : make_calls_in(name, kBytes)) {
        others_ = std::make_unique<Others>(others, [name, fd = -1](unsigned step) mutable {
            if (step == 0)
                fd = stm_open(name.c_str(), 0, 0, 0);
            else if (step % 2 == 1)
                begin(fd);
            else
                stm_cancel(fd);
        });
    }
    // Reads what nobody changes.
    static void begin(int fd) {
        if (stm_try_start(fd) < 0)
            fail("stm_try_start");
        long value = 0;
        if (::pread(fd, &value, sizeof(value), kList * 8) < 0)
            fail("pread");
    }
};

} // namespace

std::unique_ptr<Contestant> make_attached(unsigned others) {
    return std::make_unique<Attached>(others);
}

std::unique_ptr<Contestant> make_beside_open(unsigned others, bool typed) {
    return std::make_unique<BesideOpen>(others, typed);
}

} // namespace stm::bench
