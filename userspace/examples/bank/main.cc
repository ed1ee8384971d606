// SPDX-License-Identifier: LGPL-2.1-or-later
// A bank: processes move money between accounts, auditors add all of it up all the time, and a
// killer kills processes at any instruction, which are replaced. No audit may ever see any other
// sum than the first.
#include "accounts.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <getopt.h>
#include <random>
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace bank {
namespace {

constexpr std::int64_t kOpening = 1000; // in each account
constexpr int kMaxProcesses = 512;

constexpr char kHelp[] = R"(Usage: bank [OPTION]...
Processes move money between accounts that they share. Every audit must find all of it.

  --processes N    processes that transfer money (default 4)
  --auditors N     processes that add it all up (default 1)
  --accounts N     accounts (default 256), a cache line each; a page each with --way transparent
  --seconds S      how long (default 10)
  --kill-rate R    processes killed, and replaced, in a second (default 0)
  --way WAY        calls: transactions by read and write calls (default)
                   transparent: transactions by loads and stores through ordinary pointers
                   typed: transactions by variables of <stm/stm.hpp>, without a call for each
                   direct: as typed, and programs commit by themselves, without a call
                   mutex: as calls, in a region whose transactions take its lock
                   pthread: a robust pthread mutex in plain memory; with --kill-rate it loses money
  --json           the result as JSON, without progress lines
  --help

Exit status: 0 all audits were right and nothing was left behind, 1 otherwise, 2 wrong usage.
)";

struct Options {
    int processes = 4;
    int auditors = 1;
    std::uint64_t accounts = 256;
    double seconds = 10;
    double kill_rate = 0;
    Way way = Way::calls;
    const char* way_name = "calls";
    bool json = false;
};

// What a process tells the others, in memory that all of them inherit. Its replacement goes on with
// it.
struct alignas(64) Slot {
    std::atomic<std::uint64_t> done; // transfers or audits
    std::atomic<std::uint64_t> attempts;
    std::atomic<std::uint64_t> longest; // attempts that one of them took
    std::atomic<std::uint64_t> wrong;   // audits
};

struct Board {
    std::atomic<bool> go;
    std::atomic<bool> stop;
    Slot slots[kMaxProcesses];
};

void count(Slot& slot, Taken taken) {
    slot.done.fetch_add(1, std::memory_order_relaxed);
    slot.attempts.fetch_add(taken.attempts, std::memory_order_relaxed);
    if (taken.attempts > slot.longest.load(std::memory_order_relaxed))
        slot.longest.store(taken.attempts, std::memory_order_relaxed);
}

class Bank {
public:
    explicit Bank(const Options& options)
        : options_(options), name_("bank:" + std::to_string(::getpid())),
          accounts_(attach(options.way, name_, options.accounts)), total_(kOpening) {
        total_ *= static_cast<std::int64_t>(options.accounts);
        accounts_->open(kOpening);
        void* shared = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED) {
            std::perror("mmap");
            std::exit(1);
        }
        board_ = static_cast<Board*>(shared);
    }
    int run();

private:
    using Clock = std::chrono::steady_clock;

    [[nodiscard]] int processes() const { return options_.processes + options_.auditors; }
    [[nodiscard]] bool is_auditor(int index) const { return index >= options_.processes; }

    void start(int index);
    [[noreturn]] void work(Slot& slot);
    [[noreturn]] void audit(Slot& slot);
    void kill_one();
    void replace_the_dead();
    void progress(double elapsed) const;
    [[nodiscard]] std::uint64_t sum(std::atomic<std::uint64_t> Slot::*what, int first,
                                    int end) const;
    [[nodiscard]] std::uint64_t most(int first, int end) const;
    void report(double elapsed, std::int64_t last, const struct stm_info& left) const;
    void report_json(double elapsed, std::int64_t last, const struct stm_info& left) const;

    Options options_;
    std::string name_;
    std::unique_ptr<Accounts> accounts_;
    std::int64_t total_;
    Board* board_ = nullptr;
    std::vector<pid_t> pids_;
    std::vector<bool> dying_; // sent SIGKILL
    std::uint64_t kills_ = 0;
    std::uint64_t accidents_ = 0; // processes that ended by themselves
    std::mt19937_64 random_{std::random_device{}()};
};

void Bank::start(int index) {
    pid_t pid = ::fork();
    if (pid < 0) {
        std::perror("fork");
        return; // tried again when the next one is killed
    }
    if (pid > 0) {
        pids_[static_cast<std::size_t>(index)] = pid;
        dying_[static_cast<std::size_t>(index)] = false;
        return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpriority(PRIO_PROCESS, 0, 5); // the killer must be quick
    // A handle of its own, not the parent's.
    accounts_ = attach(options_.way, name_, options_.accounts);
    Slot& slot = board_->slots[index];
    while (!board_->go.load(std::memory_order_relaxed))
        ::usleep(1000);
    if (is_auditor(index))
        audit(slot);
    work(slot);
}

void Bank::work(Slot& slot) {
    std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()) * 0x9e3779b97f4a7c15U);
    while (!board_->stop.load(std::memory_order_relaxed)) {
        std::uint64_t from = random() % options_.accounts;
        std::uint64_t to = (from + 1 + random() % (options_.accounts - 1)) % options_.accounts;
        count(slot, accounts_->transfer(from, to, static_cast<std::int64_t>(random() % 100 + 1)));
    }
    ::_exit(0);
}

void Bank::audit(Slot& slot) {
    while (!board_->stop.load(std::memory_order_relaxed)) {
        std::int64_t found = 0;
        count(slot, accounts_->sum(found));
        if (found != total_ && slot.wrong.fetch_add(1) == 0)
            std::fprintf(stderr, "bank: an audit found %lld instead of %lld\n",
                         static_cast<long long>(found), static_cast<long long>(total_));
    }
    ::_exit(0);
}

void Bank::kill_one() {
    auto index = static_cast<std::size_t>(random_() % static_cast<unsigned>(options_.processes));
    if (dying_[index])
        return; // not yet replaced
    ::kill(pids_[index], SIGKILL);
    dying_[index] = true;
}

void Bank::replace_the_dead() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
        auto found = std::find(pids_.begin(), pids_.end(), pid);
        if (found == pids_.end())
            continue;
        auto index = static_cast<std::size_t>(found - pids_.begin());
        if (dying_[index] && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            ++kills_;
        } else {
            ++accidents_;
            std::fprintf(stderr, "bank: process %d ended by itself, status %#x\n", pid,
                         static_cast<unsigned>(status));
        }
        start(static_cast<int>(index));
    }
}

std::uint64_t Bank::sum(std::atomic<std::uint64_t> Slot::*what, int first, int end) const {
    std::uint64_t result = 0;
    for (int index = first; index < end; ++index)
        result += (board_->slots[index].*what).load();
    return result;
}

std::uint64_t Bank::most(int first, int end) const {
    std::uint64_t result = 0;
    for (int index = first; index < end; ++index)
        result = std::max(result, board_->slots[index].longest.load());
    return result;
}

void Bank::progress(double elapsed) const {
    int workers = options_.processes;
    std::uint64_t transfers = sum(&Slot::done, 0, workers);
    std::uint64_t audits = sum(&Slot::done, workers, processes());
    bool terminal = ::isatty(STDOUT_FILENO) == 1;
    std::printf("%s%5.0f s %10llu transfers %8llu audits, %llu wrong %6llu kills%s",
                terminal ? "\r" : "", elapsed, static_cast<unsigned long long>(transfers),
                static_cast<unsigned long long>(audits),
                static_cast<unsigned long long>(sum(&Slot::wrong, workers, processes())),
                static_cast<unsigned long long>(kills_), terminal ? "" : "\n");
    std::fflush(stdout);
}

struct stm_info info_of(int fd) {
    struct stm_info info {};
    info.size = sizeof info;
    info.flags = STM_BY_HANDLE;
    if (::ioctl(fd, STM_IOC_INFO, &info) < 0)
        std::perror("STM_IOC_INFO");
    return info;
}

double rate(std::uint64_t number, double elapsed) {
    return static_cast<double>(number) / elapsed;
}

void Bank::report(double elapsed, std::int64_t last, const struct stm_info& left) const {
    int workers = options_.processes;
    std::uint64_t transfers = sum(&Slot::done, 0, workers);
    std::uint64_t audits = sum(&Slot::done, workers, processes());
    auto line = [&](const char* what, std::uint64_t number) {
        std::printf("  %-52s %12llu %12.1f/s\n", what, static_cast<unsigned long long>(number),
                    rate(number, elapsed));
    };
    std::printf("\n%d processes and %d auditors, %llu accounts, %.1f s, way: %s\n", workers,
                options_.auditors, static_cast<unsigned long long>(options_.accounts), elapsed,
                options_.way_name);
    line("transfers", transfers);
    line("audits", audits);
    line("killed with SIGKILL", kills_);
    struct stm_statistics all {};
    if (options_.way != Way::pthread && stm_statistics(accounts_->handle(), &all) == 0) {
        line("transactions committed", all.commits);
        for (int reason = 1; reason < STM_REASONS; ++reason)
            if (all.aborts[reason] != 0) {
                std::string what = std::string("aborted: ") + stm_reason_text(reason);
                line(what.c_str(), all.aborts[reason]);
            }
        line("restarted from stm_start", all.restarts);
        line("ran alone (serial token)", all.serial);
        std::printf("  %-52s %12u\n", "longest row of aborts of one transaction",
                    all.longest_streak);
    }
    std::printf("  %-52s %12llu\n", "most attempts of one transfer",
                static_cast<unsigned long long>(most(0, workers)));
    std::printf("  %-52s %12llu\n", "most attempts of one audit",
                static_cast<unsigned long long>(most(workers, processes())));
    std::printf("  %-52s %12llu\n", "wrong audits",
                static_cast<unsigned long long>(sum(&Slot::wrong, workers, processes())));
    std::printf("  %-52s %12lld of %lld\n", "money at the end", static_cast<long long>(last),
                static_cast<long long>(total_));
    std::printf("  %-52s %12u handles, %u mappings\n", "left behind", left.handles, left.mappings);
}

void Bank::report_json(double elapsed, std::int64_t last, const struct stm_info& left) const {
    int workers = options_.processes;
    struct stm_statistics all {};
    if (options_.way != Way::pthread)
        stm_statistics(accounts_->handle(), &all);
    auto number = [](const char* name, std::uint64_t value) {
        std::printf("  \"%s\": %llu,\n", name, static_cast<unsigned long long>(value));
    };
    std::printf("{\n  \"way\": \"%s\",\n  \"seconds\": %.3f,\n", options_.way_name, elapsed);
    number("processes", static_cast<std::uint64_t>(workers));
    number("auditors", static_cast<std::uint64_t>(options_.auditors));
    number("accounts", options_.accounts);
    number("transfers", sum(&Slot::done, 0, workers));
    number("audits", sum(&Slot::done, workers, processes()));
    number("wrong_audits", sum(&Slot::wrong, workers, processes()));
    number("kills", kills_);
    number("accidents", accidents_);
    number("commits", all.commits);
    std::printf("  \"aborts\": {");
    const char* comma = "";
    for (int reason = 1; reason < STM_REASONS; ++reason)
        if (all.aborts[reason] != 0) {
            std::printf("%s\n    \"%s\": %llu", comma, stm_reason_text(reason),
                        static_cast<unsigned long long>(all.aborts[reason]));
            comma = ",";
        }
    std::printf("\n  },\n");
    number("restarts", all.restarts);
    number("serial", all.serial);
    number("longest_streak", all.longest_streak);
    number("most_attempts_transfer", most(0, workers));
    number("most_attempts_audit", most(workers, processes()));
    number("handles_left", left.handles);
    number("mappings_left", left.mappings);
    std::printf("  \"money_missing\": %lld\n}\n", static_cast<long long>(total_ - last));
}

int Bank::run() {
    pids_.resize(static_cast<std::size_t>(processes()));
    dying_.resize(static_cast<std::size_t>(processes()));
    for (int index = 0; index < processes(); ++index)
        start(index);
    board_->go = true;
    Clock::time_point begin = Clock::now();
    auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };

    double next_progress = 1;
    double next_kill = options_.kill_rate > 0 ? 1 / options_.kill_rate : 1e18;
    for (double now = 0; now < options_.seconds; now = elapsed()) {
        replace_the_dead();
        if (now >= next_kill) {
            kill_one();
            next_kill += 1 / options_.kill_rate;
        }
        if (now >= next_progress) {
            if (!options_.json)
                progress(now);
            next_progress += 1;
        }
        // The dead are looked for a thousand times a second while there are any.
        double until = std::min({next_kill, next_progress, options_.seconds});
        double pause = std::min(until - elapsed(), options_.kill_rate > 0 ? 0.001 : 1.0);
        if (pause > 0)
            ::usleep(static_cast<useconds_t>(pause * 1e6));
    }
    double length = elapsed();
    board_->stop = true;
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, 0)) > 0;) {
        auto found = std::find(pids_.begin(), pids_.end(), pid);
        bool killed =
            found != pids_.end() && dying_[static_cast<std::size_t>(found - pids_.begin())];
        if (status != 0 && !killed)
            ++accidents_;
    }

    std::int64_t last = 0;
    accounts_->sum(last);
    struct stm_info left = info_of(accounts_->handle());
    if (options_.json)
        report_json(length, last, left);
    else
        report(length, last, left);

    const bool mapped = options_.way == Way::pthread || options_.way == Way::transparent;
    // The library maps committed bytes, records, and the clock; of a direct region also journals.
    unsigned own_mappings = mapped ? 1 : 0;
    own_mappings = options_.way == Way::typed ? 3 : own_mappings;
    own_mappings = options_.way == Way::direct ? 4 : own_mappings;
    std::uint64_t wrong = sum(&Slot::wrong, options_.processes, processes());
    bool audited = options_.auditors == 0 || sum(&Slot::done, options_.processes, processes()) > 0;
    bool right = wrong == 0 && last == total_ && accidents_ == 0 && audited && left.handles == 1 &&
                 left.mappings == own_mappings;
    if (!audited)
        std::fprintf(stderr, "bank: no audit came to its end; give it more --seconds\n");
    if (!options_.json)
        std::printf("%s\n", right ? "every audit saw all the money" : "NOT RIGHT");
    return right ? 0 : 1;
}

[[noreturn]] void usage(const char* message) {
    std::fprintf(stderr, "bank: %s; see bank --help\n", message);
    std::exit(2);
}

double number(const char* text, double least, double most, const char* option) {
    char* end = nullptr;
    double value = std::strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least) || !(value <= most)) {
        std::fprintf(stderr, "bank: --%s takes a number from %g to %g\n", option, least, most);
        std::exit(2);
    }
    return value;
}

Options parse(int argc, char** argv) {
    enum { processes = 1, auditors, accounts, seconds, kill_rate, way, json, help };
    static const struct option known[] = {
        {"processes", required_argument, nullptr, processes},
        {"auditors", required_argument, nullptr, auditors},
        {"accounts", required_argument, nullptr, accounts},
        {"seconds", required_argument, nullptr, seconds},
        {"kill-rate", required_argument, nullptr, kill_rate},
        {"way", required_argument, nullptr, way},
        {"json", no_argument, nullptr, json},
        {"help", no_argument, nullptr, help},
        {},
    };
    Options options;
    for (int option = 0; (option = ::getopt_long(argc, argv, "", known, nullptr)) != -1;) {
        switch (option) {
        case processes:
            options.processes = static_cast<int>(number(optarg, 1, kMaxProcesses / 2, "processes"));
            break;
        case auditors:
            options.auditors = static_cast<int>(number(optarg, 0, kMaxProcesses / 2, "auditors"));
            break;
        case accounts:
            options.accounts = static_cast<std::uint64_t>(number(optarg, 2, 1e6, "accounts"));
            break;
        case seconds:
            options.seconds = number(optarg, 0.1, 1e6, "seconds");
            break;
        case kill_rate:
            options.kill_rate = number(optarg, 0, 10000, "kill-rate");
            break;
        case way:
            options.way_name = optarg;
            if (std::strcmp(optarg, "calls") == 0)
                options.way = Way::calls;
            else if (std::strcmp(optarg, "transparent") == 0)
                options.way = Way::transparent;
            else if (std::strcmp(optarg, "typed") == 0)
                options.way = Way::typed;
            else if (std::strcmp(optarg, "direct") == 0)
                options.way = Way::direct;
            else if (std::strcmp(optarg, "mutex") == 0)
                options.way = Way::mutex;
            else if (std::strcmp(optarg, "pthread") == 0)
                options.way = Way::pthread;
            else
                usage("--way is calls, transparent, typed, direct, mutex or pthread");
            break;
        case json:
            options.json = true;
            break;
        case help:
            std::fputs(kHelp, stdout);
            std::exit(0);
        default:
            std::exit(2);
        }
    }
    if (optind < argc)
        usage("only options, no other words");
    return options;
}

} // namespace
} // namespace bank

int main(int argc, char** argv) {
    return bank::Bank(bank::parse(argc, argv)).run();
}
