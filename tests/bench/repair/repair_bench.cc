// SPDX-License-Identifier: GPL-2.0
// How long the next one waits for what a killed process has left behind. The process is killed in
// the middle of a change of 64 words, each in a stripe of its own: of a commit to a direct region,
// when all is locked, or when half is written; or with a robust mutex and an undo log, when half is
// written. The time is that from the signal to the end of the next change by its parent.
#include "../ways/robust_mutex.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <stm/tx.h>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace stm::bench {
namespace {

constexpr std::size_t kWords = 64;
constexpr std::size_t kStripe = 64;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// Where the victim is killed.
enum class Moment { locked, half_written };

// What is changed, and by whom.
class Contestant {
public:
    virtual ~Contestant() = default;
    // By the victim: stops itself by SIGSTOP where it is to be looked at, instruction by
    // instruction, or to be killed.
    virtual void change_and_stop() = 0;
    // By the parent, before the next instruction of the victim: whether it is to be killed here.
    [[nodiscard]] virtual bool is_there(Moment moment) const = 0;
    // By the parent. All words are equal afterwards.
    virtual void change() = 0;
    [[nodiscard]] virtual bool is_whole() const = 0;
};

class Direct : public Contestant {
public:
    Direct()
        : name_("repair-bench-" + std::to_string(::getpid())),
          region_(stm_region_open(name_.c_str(), kWords * kStripe,
                                  STM_CREATE | STM_EXCL | STM_EPHEMERAL | STM_DIRECT, 0600)) {
        if (region_ == nullptr)
            fail("stm_region_open");
        bytes_ = window(STM_OFFSET_COMMITTED);
        records_ = window(STM_OFFSET_RECORDS);
    }
    ~Direct() override { stm_region_close(region_); }
    Direct(const Direct&) = delete;
    Direct& operator=(const Direct&) = delete;

    void change_and_stop() override {
        change(); // gets the journal
        stm_tx* const tx = stm_tx_begin(region_, 0);
        add_to_all(tx);
        ::raise(SIGSTOP);
        static_cast<void>(stm_tx_commit(tx));
        ::raise(SIGSTOP);
    }
    bool is_there(Moment moment) const override {
        return moment == Moment::locked ? (records_[kWords - 1] & 1) != 0
                                        : bytes_[kWords / 2 * kStripe / 8] != bytes_[kLast];
    }
    void change() override {
        stm_tx* const tx = stm_tx_begin(region_, 0);
        do
            add_to_all(tx);
        while (stm_tx_commit(tx) > 0);
    }
    bool is_whole() const override {
        for (std::size_t i = 0; i < kWords; ++i) {
            if (bytes_[i * kStripe / 8] != bytes_[kLast])
                return false;
        }
        return true;
    }

private:
    static constexpr std::size_t kLast = (kWords - 1) * kStripe / 8;

    const volatile std::uint64_t* window(std::uint64_t offset) const {
        void* const address = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, stm_region_fd(region_),
                                     static_cast<off_t>(offset));
        if (address == MAP_FAILED)
            fail("mmap");
        return static_cast<const volatile std::uint64_t*>(address);
    }
    void add_to_all(stm_tx* tx) const {
        for (std::size_t i = 0; i < kWords; ++i) {
            std::uint64_t value = 0;
            // After a conflict the attempt has begun again, and the commit tells.
            if (stm_tx_load(tx, region_, i * kStripe, &value, sizeof value) != 0)
                return;
            ++value;
            if (stm_tx_store(tx, region_, i * kStripe, &value, sizeof value) != 0)
                return;
        }
    }

    const std::string name_;
    stm_region* const region_;
    const volatile std::uint64_t* bytes_ = nullptr;
    const volatile std::uint64_t* records_ = nullptr;
};

class MutexWithUndoLog : public Contestant {
public:
    void change_and_stop() override {
        change();
        lock();
        change_first(kWords / 2);
        ::raise(SIGSTOP);
    }
    bool is_there(Moment) const override { return true; }
    void change() override {
        lock();
        change_first(kWords);
        state_->saved.store(0, std::memory_order_release);
        state_->mutex.unlock();
    }
    bool is_whole() const override {
        const State& state = *const_cast<MutexWithUndoLog*>(this)->state_;
        return std::all_of(std::begin(state.words), std::end(state.words),
                           [&](const Word& word) { return word.value == state.words[0].value; });
    }

private:
    struct alignas(kStripe) Word {
        std::uint64_t value;
    };
    struct State {
        RobustMutex mutex;
        std::atomic<std::size_t> saved{0};
        std::uint64_t log[kWords];
        Word words[kWords];
    };
    void lock() {
        if (state_->mutex.lock() == RobustMutex::Owner::fine)
            return;
        for (std::size_t i = state_->saved.load(); i-- > 0;)
            state_->words[i].value = state_->log[i];
        state_->mutex.repaired();
    }
    void change_first(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            state_->log[i] = state_->words[i].value;
            state_->saved.store(i + 1, std::memory_order_release);
            ++state_->words[i].value;
        }
    }

    SharedState<State> state_;
};

void expect_stop(pid_t victim, const char* what) {
    int status = 0;
    if (::waitpid(victim, &status, 0) != victim || !WIFSTOPPED(status))
        throw std::runtime_error(what);
}

// The microseconds of one round.
double round(Contestant& contestant, Moment moment) {
    const pid_t victim = ::fork();
    if (victim == 0) {
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        contestant.change_and_stop();
        ::_exit(0);
    }
    expect_stop(victim, "the victim has not come to its change");
    while (!contestant.is_there(moment)) {
        if (::ptrace(PTRACE_SINGLESTEP, victim, nullptr, 0) != 0)
            fail("ptrace");
        expect_stop(victim, "the victim has ended before it was killed");
    }
    const auto begin = std::chrono::steady_clock::now();
    ::kill(victim, SIGKILL);
    contestant.change();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    int status = 0;
    ::waitpid(victim, &status, 0);
    if (!WIFSIGNALED(status) || !contestant.is_whole())
        throw std::runtime_error("half of a change is there");
    return time.count();
}

double median(std::vector<double> times) {
    const auto middle = times.begin() + static_cast<long>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
}

void run(unsigned rounds, bool as_json) {
    Direct direct;
    MutexWithUndoLog mutex;
    struct Case {
        const char* name;
        Contestant& contestant;
        Moment moment;
        std::vector<double> times = {};
    };
    Case cases[] = {{"direct, undone", direct, Moment::locked},
                    {"direct, finished", direct, Moment::half_written},
                    {"robust mutex, undo log", mutex, Moment::half_written}};
    for (unsigned i = 0; i < rounds; ++i) {
        for (Case& one : cases)
            one.times.push_back(round(one.contestant, one.moment));
    }
    nlohmann::json result;
    const double peer = median(cases[2].times);
    for (const Case& one : cases) {
        const double time = median(one.times);
        result[one.name] = time;
        if (!as_json)
            fmt::print("{:<24} {:8.1f} us   {:.2f}\n", one.name, time, time / peer);
    }
    if (as_json)
        fmt::print("{}\n", result.dump());
}

} // namespace
} // namespace stm::bench

int main(int argc, char** argv) {
    CLI::App app{"How long the next one waits for what a process has left behind that was killed "
                 "in the middle of a change of 64 words"};
    unsigned rounds = 31;
    bool as_json = false;
    app.add_option("--rounds", rounds, "of which the median is taken")->check(CLI::Range(1, 10000));
    app.add_flag("--json", as_json, "print microseconds as JSON");
    CLI11_PARSE(app, argc, argv);
    try {
        stm::bench::run(rounds, as_json);
    } catch (const std::exception& error) {
        fmt::print(stderr, "repair_bench: {}\n", error.what());
        return EXIT_FAILURE;
    }
    return 0;
}
