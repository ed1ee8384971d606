// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/storm.hpp"
#include "tests/storm/plan.hpp"

#include "tests/history/history_check.hpp"
#include "tests/storm/cast.hpp"
#include "tests/storm/churn.hpp"
#include "tests/storm/figures.hpp"
#include "tests/storm/hardship.hpp"
#include "tests/storm/plain.hpp"
#include "tests/storm/registers.hpp"
#include "tests/storm/structures.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stm/ioctl.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace stm::storm {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kEraMs = 4000;
constexpr std::uint64_t kProgressMs = 5000;
constexpr std::uint64_t kTickMs = 5;
// Nobody may need that long to finish one operation, on the slowest machine.
constexpr std::uint64_t kEndMs = 120000;
constexpr std::uint64_t kLongestCheckMs = 1200000; // of a history, on a machine that is busy, too

struct NamedStructure {
    const char* name;
    std::unique_ptr<Structure> structure;
    int flags;
};

std::vector<NamedStructure> structures() {
    std::vector<NamedStructure> all;
    all.push_back({"accounts", std::make_unique<Accounts>(), 0});
    all.push_back({"locked", std::make_unique<Accounts>(), STM_MUTEX});
    all.push_back({"list", std::make_unique<List>(), 0});
    all.push_back({"tree", std::make_unique<Tree>(), 0});
    return all;
}

template <typename Argument>
Argument of_handle(std::uint32_t flags = STM_BY_HANDLE) {
    Argument argument{};
    argument.size = sizeof argument;
    argument.flags = flags;
    return argument;
}

// A parameter of the module, until the end.
class Setting {
public:
    Setting(const std::string& name, const std::string& value)
        : path_("/sys/module/stm/parameters/" + name) {
        std::ifstream(path_) >> before_;
        std::ofstream(path_) << value;
    }
    ~Setting() { std::ofstream(path_) << before_; }
    Setting(const Setting&) = delete;
    Setting& operator=(const Setting&) = delete;

private:
    std::string path_;
    std::string before_;
};

class Storm {
public:
    explicit Storm(const Options& options)
        : options_(options), board_(make_board()), squeeze_("storm"),
          plan_(make_plan(options.seed, options.seconds, size())),
          self_{board_, &board_->slots[kMaxSlots - 1], kMaxSlots - 1, &random_} {
        board_->seed = options.seed;
    }

    int run() {
        // Orphans come to us: in the end nobody is left.
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        set_planted(options_.plant);
        set_prefix("storm:" + std::to_string(::getpid()) + ":");
        control_ = ::open("/dev/stm", O_RDWR | O_CLOEXEC);
        if (control_ < 0) {
            std::perror("storm: /dev/stm (the module must be loaded)");
            return 2;
        }
        before_ = totals();
        const Setting lease("serial_lease_ms", std::to_string(kLeaseMs));
        make_regions();
        for (unsigned slot = 0; slot < size(); ++slot)
            start(slot);
        board_->go.store(true);
        begin_ = Clock::now();
        weather();
        end();
        report();
        return good() ? 0 : 1;
    }

private:
    static unsigned size() { return static_cast<unsigned>(cast().size()); }
    [[nodiscard]] std::uint64_t now_ms() const {
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count());
    }
    [[nodiscard]] bool good() const { return board_->failures.count.load() == 0; }

    [[nodiscard]] struct stm_version totals() const {
        auto version = of_handle<struct stm_version>(0);
        if (::ioctl(control_, STM_IOC_VERSION, &version) < 0)
            board_->fail("STM_IOC_VERSION: %s", std::strerror(errno));
        return version;
    }

    // -- Regions --

    int create(const std::string& name, std::size_t size, int flags) {
        if (options_.direct && (flags & (STM_PLAIN | STM_MUTEX)) == 0)
            flags |= STM_DIRECT;
        const int fd =
            stm_open(name.c_str(), size, flags | STM_CREATE | STM_EXCL | STM_CLOEXEC, 0600);
        if (fd < 0) {
            std::fprintf(stderr, "storm: %s: %s\n", name.c_str(), std::strerror(errno));
            std::exit(2);
        }
        return fd;
    }

    void make_regions() {
        for (const NamedStructure& each : structures()) {
            const std::string name = prefix() + each.name;
            regions_.push_back(create(name, each.structure->size(), each.flags));
            Access access(self_, name, each.structure->size(), Way::calls);
            each.structure->make(access);
        }
        plain_ = create(prefix() + "plain", Plain::kSize, STM_PLAIN);
        Access access(self_, prefix() + "plain", Plain::kSize, Way::mapped);
        make_plain(access);
        registers_ = create(registers_name(0), Registers::kSize, 0);
    }

    // What the transactions of a region did, before it goes.
    void add_statistics(int fd) {
        struct stm_statistics all {};
        if (stm_statistics(fd, &all) != 0) {
            board_->fail("stm_statistics: %s", std::strerror(errno));
            return;
        }
        commits_ += all.commits;
        read_only_ += all.read_only;
        calls_ += all.calls;
        for (int reason = 1; reason < STM_REASONS; ++reason)
            aborts_[reason] += all.aborts[reason];
        serial_ += all.serial;
        signals_ += all.signals;
    }

    // Nobody but us may have it open now.
    void close_region(const std::string& name, int fd) {
        auto info = of_handle<struct stm_info>();
        if (::ioctl(fd, STM_IOC_INFO, &info) < 0)
            board_->fail("STM_IOC_INFO: %s", std::strerror(errno));
        else if (info.handles != 1 || info.mappings != 0)
            board_->fail("%s: %u handles and %u mappings are left of processes that are gone",
                         name.c_str(), info.handles - 1, info.mappings);
        ::close(fd);
        if (stm_unlink(name.c_str()) != 0)
            board_->fail("%s cannot be destroyed: %s", name.c_str(), std::strerror(errno));
    }

    // -- Processes --

    void start(unsigned slot) {
        const pid_t pid = ::fork();
        if (pid < 0)
            return; // tried again
        if (pid == 0) {
            if (cast()[slot].role == Role::exceed && squeeze_.exists())
                squeeze_.enter();
            live(*board_, slot);
        }
        processes_[slot] = {pid, false};
    }

    struct Process {
        pid_t pid = 0;
        bool dying = false; // sent SIGKILL
    };

    void kill(unsigned slot) {
        Process& process = processes_[slot];
        if (process.pid == 0 || process.dying)
            return;
        ::kill(process.pid, SIGKILL);
        process.dying = true;
    }

    bool reap(pid_t pid, int status) {
        if (pid == hog_) {
            hog_ = 0;
            return true;
        }
        if (pid == hotplug_) {
            hotplug_ = 0;
            if (WIFEXITED(status) && WEXITSTATUS(status) == kUnplugged)
                ++unplugged_;
            return true;
        }
        if (pid == checker_) {
            finish_check(status);
            return true;
        }
        const auto found =
            std::find_if(processes_.begin(), processes_.end(),
                         [pid](const Process& process) { return process.pid == pid; });
        if (found == processes_.end()) {
            // A child of a process that is gone: its failures are on the board, if it had any.
            if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
                board_->fail("a child of a process died of signal %d", WTERMSIG(status));
            return true;
        }
        const auto slot = static_cast<unsigned>(found - processes_.begin());
        judge(slot, *found, status);
        *found = {};
        return false;
    }

    // Why a process ended, and whether it may have.
    void judge(unsigned slot, const Process& process, int status) {
        const bool in_transaction = board_->slots[slot].busy.load();
        const bool squeezed = cast()[slot].role == Role::exceed;
        if (WIFSIGNALED(status)) {
            const int signal = WTERMSIG(status);
            if (signal == SIGKILL && process.dying) {
                ++kills_;
                kills_inside_ += in_transaction ? 1 : 0;
            } else if (signal == SIGKILL && (squeezed || hogs_ != 0)) {
                ++killed_by_kernel_;
            } else if (squeezed && (signal == SIGBUS || signal == SIGABRT)) {
                ++out_of_memory_;
            } else {
                board_->fail("process %u (%s) died of signal %d", slot,
                             to_string(cast()[slot].role), signal);
            }
            return;
        }
        const int code = WEXITSTATUS(status);
        if (code == kLeft)
            ++leaves_;
        else if (code == kNoMemory && squeezed)
            ++out_of_memory_;
        else if (code != 0 || !board_->stop.load())
            board_->fail("process %u (%s) ended with status %d", slot, to_string(cast()[slot].role),
                         code);
    }

    void reap_all() {
        int status = 0;
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;)
            reap(pid, status);
    }

    void replace() {
        for (unsigned slot = 0; slot < size(); ++slot) {
            const bool waits = cast()[slot].role == Role::history && era_ends_;
            if (processes_[slot].pid == 0 && !waits)
                start(slot);
        }
    }

    // -- The plan --

    void carry_out(const Decision& decision) {
        const auto order = [&](Order what) { board_->slots[decision.slot].order.store(what); };
        switch (decision.action) {
        case Action::kill:
            // Or it would never come to its end.
            if (cast()[decision.slot].role != Role::patient || decision.at_ms % 4 == 0)
                kill(decision.slot);
            return;
        case Action::stop:
            return stop(decision);
        case Action::fork:
            return order(Order::fork);
        case Action::exec:
            return order(Order::exec);
        case Action::leave:
            return order(Order::leave);
        case Action::unmap:
            return order(Order::unmap);
        case Action::advise:
            return order(Order::advise);
        case Action::close:
            return order(Order::close);
        case Action::share:
            return order(Order::share);
        case Action::first:
            return order(Order::first);
        case Action::unload:
            if (try_to_unload() == Unload::refused)
                ++unloads_;
            else
                board_->fail("the module could be unloaded while it was used, or: %s",
                             std::strerror(errno));
            return;
        case Action::destroy:
            return destroy(decision.slot);
        case Action::hog:
            if (hog_ == 0 && (hog_ = start_hog(decision.length_ms)) != 0)
                ++hogs_;
            return;
        case Action::cpu:
            if (options_.hotplug && hotplug_ == 0)
                hotplug_ = start_hotplug(decision.length_ms);
            return;
        }
    }

    void stop(const Decision& decision) {
        const Process& process = processes_[decision.slot];
        if (process.pid == 0)
            return;
        ::kill(process.pid, SIGSTOP);
        ++stops_;
        stopped_.push_back({now_ms() + decision.length_ms, process.pid});
    }

    void go_on(std::uint64_t now) {
        for (auto each = stopped_.begin(); each != stopped_.end();) {
            if (each->first > now) {
                ++each;
                continue;
            }
            ::kill(each->second, SIGCONT);
            each = stopped_.erase(each);
        }
    }

    // A region in use must stay.
    void destroy(unsigned number) {
        const auto all = structures();
        const std::string name = prefix() + all[number % all.size()].name;
        if (stm_unlink(name.c_str()) == 0)
            board_->fail("%s was destroyed while it was used", name.c_str());
        else if (errno != EBUSY)
            board_->fail("%s: to destroy it: %s, not EBUSY", name.c_str(), std::strerror(errno));
        else
            ++destroys_;
    }

    // -- Histories --

    // An era ends with the death of all its processes.
    void turn_era() {
        if (era_ends_) {
            for (unsigned slot = 0; slot < size(); ++slot)
                if (cast()[slot].role == Role::history && processes_[slot].pid != 0)
                    return;
            if (checker_ != 0)
                return; // its logs are needed for the next era
            end_era();
            era_ends_ = false;
            era_began_ = now_ms();
        } else if (now_ms() - era_began_ >= kEraMs) {
            era_ends_ = true;
            kill_historians();
        }
    }

    void kill_historians() {
        for (unsigned slot = 0; slot < size(); ++slot)
            if (cast()[slot].role == Role::history)
                kill(slot);
    }

    void end_era() {
        const unsigned era = board_->era.load();
        start_check(era);
        add_statistics(registers_);
        // Children of the dead may still look at it.
        ::close(registers_);
        if (stm_unlink_deferred(registers_name(era).c_str()) != 0)
            board_->fail("%s cannot be destroyed: %s", registers_name(era).c_str(),
                         std::strerror(errno));
        for (Log& log : board_->logs[(era + 1) % 2])
            log.count.store(0);
        registers_ = create(registers_name(era + 1), Registers::kSize, 0);
        board_->era.store(era + 1);
    }

    void start_check(unsigned era) {
        std::fflush(stdout);
        checked_era_ = era;
        checker_ = ::fork();
        if (checker_ != 0)
            return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const test::History history = collect(*board_, era);
        const test::Verdict verdict = test::check_by_graph(history);
        if (!verdict.is_correct()) {
            board_->fail("history %u is wrong: %s", era, verdict.why.substr(0, 200).c_str());
            if (!options_.keep.empty()) {
                std::ofstream file(options_.keep + "/history-" + std::to_string(era) + ".txt");
                test::print(file, history);
            }
        }
        board_->checked.fetch_add(history.attempts.size());
        ::_exit(0);
    }

    void finish_check(int status) {
        checker_ = 0;
        if (status != 0)
            board_->fail("the check of history %u ended with status %d", checked_era_, status);
        else
            ++histories_;
    }

    // -- The whole --

    void weather() {
        std::uint64_t next_progress = kProgressMs;
        auto next = plan_.begin();
        for (std::uint64_t now = 0; now < options_.seconds * 1000 && good(); now = now_ms()) {
            for (; next != plan_.end() && next->at_ms <= now; ++next)
                carry_out(*next);
            go_on(now);
            reap_all();
            turn_era();
            replace();
            if (now >= next_progress) {
                progress(now);
                next_progress = now + kProgressMs;
            }
            ::usleep(kTickMs * 1000);
        }
        seconds_ = static_cast<double>(now_ms()) / 1000;
    }

    void progress(std::uint64_t now) const {
        std::uint64_t done = 0;
        for (const Slot& slot : board_->slots)
            done += slot.done.load();
        std::fprintf(stderr, "%4llu s: %llu operations, %llu killed, %llu histories checked\n",
                     static_cast<unsigned long long>(now / 1000),
                     static_cast<unsigned long long>(done), static_cast<unsigned long long>(kills_),
                     static_cast<unsigned long long>(histories_));
    }

    void end() {
        era_ends_ = true;
        kill_historians();
        board_->stop.store(true);
        // On a busy machine it may take memory for minutes, and leaves the others little time.
        if (hog_ != 0)
            ::kill(hog_, SIGKILL);
        go_on(~std::uint64_t{0});
        wait_for_all();
        if (board_->era.load() != 0 || good())
            end_era();
        wait_for_all(); // the last check
        ::close(registers_);
        if (stm_unlink(registers_name(board_->era.load()).c_str()) != 0)
            board_->fail("the last registers cannot be destroyed: %s", std::strerror(errno));
        last_audits();
        clean_up_churn(prefix());
        const struct stm_version after = totals();
        const auto same = [&](const char* what, std::uint64_t is, std::uint64_t was) {
            if (is != was)
                board_->fail("%llu %s instead of %llu at the end",
                             static_cast<unsigned long long>(is), what,
                             static_cast<unsigned long long>(was));
        };
        same("regions", after.regions, before_.regions);
        same("bytes of regions", after.bytes, before_.bytes);
        same("resident bytes", after.resident_bytes, before_.resident_bytes);
    }

    void wait_for_all() {
        const std::uint64_t limit = now_ms() + kEndMs;
        for (;;) {
            int status = 0;
            const pid_t pid = ::waitpid(-1, &status, WNOHANG);
            if (pid > 0) {
                reap(pid, status);
            } else if (pid < 0 && errno == ECHILD) {
                return;
            } else if (now_ms() > limit + (checker_ != 0 ? kLongestCheckMs : 0)) {
                complain_of_the_late();
                return;
            } else {
                ::usleep(kTickMs * 1000);
            }
        }
    }

    void complain_of_the_late() {
        for (unsigned slot = 0; slot < size(); ++slot)
            if (processes_[slot].pid != 0) {
                board_->fail("process %u (%s) does not end", slot, to_string(cast()[slot].role));
                ::kill(processes_[slot].pid, SIGKILL);
            }
        // They have the descriptors of all regions.
        for (const auto& [pid, what] :
             {std::pair{checker_, "the check of a history"}, std::pair{hog_, "who takes memory"},
              std::pair{hotplug_, "who takes a processor out"}})
            if (pid != 0)
                board_->fail("%s does not end", what);
    }

    // Everything still works, in each way, for somebody new.
    void last_audits() {
        std::size_t index = 0;
        for (const NamedStructure& each : structures()) {
            const std::string name = prefix() + each.name;
            for (const Way way : {Way::calls, Way::mapped, Way::typed, Way::vectors}) {
                Access access(self_, name, each.structure->size(), way);
                each.structure->audit(access);
                each.structure->change(access, random_, false);
                each.structure->audit(access);
            }
            add_statistics(regions_[index]);
            close_region(name, regions_[index++]);
        }
        {
            Access access(self_, prefix() + "plain", Plain::kSize, Way::mapped);
            // Whoever ended, also by exec, may have ended between two additions.
            std::uint64_t deaths = 0;
            for (unsigned slot = 0; slot < size(); ++slot)
                if (cast()[slot].role == Role::plain)
                    deaths += board_->slots[slot].lives.load();
            audit_plain(access, random_, deaths);
        }
        close_region(prefix() + "plain", plain_);
    }

    void report();
    Figures figures() const;

    const Options options_;
    Board* board_;
    Squeeze squeeze_;
    const std::vector<Decision> plan_;
    Random random_{1};
    const Self self_;
    int control_ = -1;
    struct stm_version before_ {};
    Clock::time_point begin_;
    double seconds_ = 0;

    std::vector<int> regions_; // as structures()
    int plain_ = -1;
    int registers_ = -1;

    std::array<Process, kMaxSlots> processes_{};
    std::vector<std::pair<std::uint64_t, pid_t>> stopped_; // until when
    pid_t hog_ = 0;
    pid_t hotplug_ = 0;
    pid_t checker_ = 0;
    unsigned checked_era_ = 0;
    bool era_ends_ = false;
    std::uint64_t era_began_ = 0;

    std::uint64_t kills_ = 0;
    std::uint64_t kills_inside_ = 0;
    std::uint64_t killed_by_kernel_ = 0;
    std::uint64_t out_of_memory_ = 0;
    std::uint64_t leaves_ = 0;
    std::uint64_t stops_ = 0;
    std::uint64_t unloads_ = 0;
    std::uint64_t destroys_ = 0;
    std::uint64_t hogs_ = 0;
    std::uint64_t unplugged_ = 0;
    std::uint64_t histories_ = 0;
    std::uint64_t commits_ = 0;
    std::uint64_t read_only_ = 0;
    std::uint64_t calls_ = 0;
    std::array<std::uint64_t, STM_REASONS> aborts_{};
    std::uint64_t serial_ = 0;
    std::uint64_t signals_ = 0;
};

Figures Storm::figures() const {
    const auto sum = [&](std::atomic<std::uint64_t> Slot::*what) {
        std::uint64_t all = 0;
        for (const Slot& slot : board_->slots)
            all += (slot.*what).load();
        return all;
    };
    const auto audits = [&] {
        std::uint64_t all = 0;
        for (unsigned slot = 0; slot < size(); ++slot)
            switch (cast()[slot].role) {
            case Role::accounts_audit:
            case Role::accounts_at_once:
            case Role::locked_audit:
            case Role::list_audit:
            case Role::tree_audit:
            case Role::patient:
                all += board_->slots[slot].done.load();
                break;
            default:
                break;
            }
        return all;
    };
    std::uint64_t aborts = 0;
    for (const std::uint64_t each : aborts_)
        aborts += each;
    Figures all;
    all.add("processes", "processes at a time", size());
    all.add("lives", "processes in all", sum(&Slot::lives));
    all.add("kills", "killed with SIGKILL", kills_);
    all.add("kills_in_transaction", "of these inside of a transaction or with a lock",
            kills_inside_);
    all.add("kills_by_kernel", "killed by the kernel for want of memory", killed_by_kernel_);
    all.add("out_of_memory", "told that there is no memory", out_of_memory_);
    all.add("leaves", "_exit inside of a transaction", leaves_);
    all.add("stops", "SIGSTOP and SIGCONT", stops_);
    all.add("forks", "fork inside of a transaction", sum(&Slot::forks));
    all.add("heirs", "of these children, how many audited and ended", sum(&Slot::heirs));
    all.add("execs", "exec inside of a transaction", sum(&Slot::execs));
    all.add("unmaps", "munmap and mmap inside of a transaction", sum(&Slot::unmaps));
    all.add("advices", "MADV_DONTNEED inside of a transaction", sum(&Slot::advices));
    all.add("closes", "duplicates closed inside of a transaction", sum(&Slot::closes));
    all.add("sharers", "children of which several threads audited by the same handle",
            sum(&Slot::sharers));
    all.add("warm", "handles whose mappings stayed warm", sum(&Slot::warm));
    all.add("firsts", "handles that another process mapped first", sum(&Slot::firsts));
    all.add("patient", "transactions longer than the lease that committed", sum(&Slot::patient));
    all.add("recoveries", "robust mutexes taken over from the dead", sum(&Slot::recoveries));
    all.add("unloads_refused", "attempts to unload the module, refused", unloads_);
    all.add("destroys_refused", "attempts to destroy a region in use, refused", destroys_);
    all.add("hogs", "times that memory ran short", hogs_);
    all.add("processors_unplugged", "times that a processor was taken out", unplugged_);
    all.add("operations", "operations", sum(&Slot::done));
    all.add("audits", "audits of a whole structure", audits());
    all.add("commits", "transactions committed", commits_);
    all.add("read_only", "of these without a write", read_only_);
    all.add("single_calls", "read and write calls that were a transaction", calls_);
    all.add("aborts", "transactions aborted", aborts);
    for (int reason = 1; reason < STM_REASONS; ++reason)
        if (aborts_[static_cast<std::size_t>(reason)] != 0)
            all.add("aborts_reason_" + std::to_string(reason),
                    std::string("  ") + stm_reason_text(reason),
                    aborts_[static_cast<std::size_t>(reason)]);
    all.add("serial", "transactions that ran alone", serial_);
    all.add("signals", "signals to doomed transactions", signals_);
    all.add("histories", "histories checked", histories_);
    all.add("history_transactions", "transactions in them", board_->checked.load());
    all.add("wrong", "things found wrong", board_->failures.count.load());
    return all;
}

void Storm::report() {
    const Figures all = figures();
    std::printf("storm: %.1f s, seed %llu\n", seconds_,
                static_cast<unsigned long long>(options_.seed));
    for (const Figures::Figure& each : all.list)
        std::printf("  %-52s %12llu\n", each.text.c_str(),
                    static_cast<unsigned long long>(each.value));
    std::printf("  operations by process:\n");
    for (unsigned slot = 0; slot < size(); ++slot)
        std::printf("    %2u %-26s %-6s %10llu in %llu lives\n", slot, to_string(cast()[slot].role),
                    to_string(cast()[slot].way),
                    static_cast<unsigned long long>(board_->slots[slot].done.load()),
                    static_cast<unsigned long long>(board_->slots[slot].lives.load()));
    const unsigned count = board_->failures.count.load();
    for (unsigned i = 0; i < std::min(count, Failures::kKept); ++i)
        std::printf("WRONG: %s\n", board_->failures.text[i].data());
    std::printf("%s\n", count == 0 ? "nothing was lost" : "SOMETHING IS WRONG");
    if (options_.json.empty())
        return;
    nlohmann::ordered_json json;
    json["seed"] = options_.seed;
    json["seconds"] = seconds_;
    for (const Figures::Figure& each : all.list)
        json[each.name] = each.value;
    std::ofstream(options_.json) << json.dump(2) << '\n';
}

} // namespace

int run(const Options& options) {
    return Storm(options).run();
}

} // namespace stm::storm
