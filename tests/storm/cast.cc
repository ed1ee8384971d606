// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/cast.hpp"

#include "tests/storm/churn.hpp"
#include "tests/storm/plain.hpp"
#include "tests/storm/registers.hpp"
#include "tests/storm/structures.hpp"

#include <csignal>
#include <cstdlib>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace stm::storm {

const std::vector<Part>& cast() {
    static const std::vector<Part> all{
        {Role::accounts, Way::calls},
        {Role::accounts, Way::mapped},
        {Role::accounts, Way::mapped},
        {Role::accounts_audit, Way::calls},
        {Role::accounts_audit, Way::mapped},
        {Role::accounts_at_once, Way::calls},
        {Role::locked, Way::calls},
        {Role::locked, Way::mapped},
        {Role::locked_audit, Way::mapped},
        {Role::list, Way::calls},
        {Role::list, Way::mapped},
        {Role::list_audit, Way::mapped},
        {Role::tree, Way::calls},
        {Role::tree, Way::mapped},
        {Role::tree_audit, Way::calls},
        {Role::history, Way::calls, 0},
        {Role::history, Way::calls, 1},
        {Role::history, Way::mapped, 2},
        {Role::history, Way::mapped, 3},
        {Role::plain, Way::mapped},
        {Role::plain, Way::mapped},
        {Role::plain_calls, Way::calls},
        {Role::plain_calls, Way::calls},
        {Role::churn, Way::mapped},
        {Role::churn, Way::mapped},
        {Role::exceed, Way::mapped},
        {Role::patient, Way::calls},
        // Behind the others, for which a seed means what it did. Every fourth one blocks signals.
        {Role::accounts, Way::typed},
        {Role::accounts_audit, Way::typed},
        {Role::list, Way::typed},
        {Role::list_audit, Way::typed},
        {Role::tree, Way::typed},
        {Role::tree_audit, Way::typed},
        {Role::accounts, Way::typed},
        {Role::locked, Way::typed},
        {Role::history, Way::typed, 4},
        {Role::history, Way::typed, 5},
        {Role::patient, Way::typed},
        {Role::accounts, Way::vectors},
        {Role::accounts_at_once, Way::vectors},
        {Role::locked, Way::vectors},
        {Role::list, Way::vectors},
        {Role::tree, Way::vectors},
        {Role::history, Way::vectors, 6},
    };
    static const std::vector<Part> chosen = [] {
        std::vector<Part> some;
        for (const Part& part : all)
            if (only().empty() || only() == to_string(part.way))
                some.push_back(part);
        return some;
    }();
    return chosen;
}

const char* to_string(Role role) {
    switch (role) {
    case Role::accounts:
        return "accounts";
    case Role::accounts_audit:
        return "audit of the accounts";
    case Role::accounts_at_once:
        return "audit by one read call";
    case Role::locked:
        return "accounts, mutex region";
    case Role::locked_audit:
        return "audit of these";
    case Role::list:
        return "list";
    case Role::list_audit:
        return "audit of the list";
    case Role::tree:
        return "tree";
    case Role::tree_audit:
        return "audit of the tree";
    case Role::history:
        return "recorded history";
    case Role::plain:
        return "atomics and a robust mutex";
    case Role::plain_calls:
        return "whole read and write calls";
    case Role::churn:
        return "regions made and destroyed";
    case Role::exceed:
        return "more memory than allowed";
    case Role::patient:
        return "long audit of the accounts";
    }
    return "";
}

std::string prefix() {
    const char* text = std::getenv("STM_STORM_PREFIX");
    return text == nullptr ? "storm:" : text;
}
void set_prefix(const std::string& prefix) {
    ::setenv("STM_STORM_PREFIX", prefix.c_str(), 1);
}
std::string planted() {
    const char* text = std::getenv("STM_STORM_PLANTED");
    return text == nullptr ? "" : text;
}
void set_planted(const std::string& what) {
    ::setenv("STM_STORM_PLANTED", what.c_str(), 1);
}
std::string only() {
    const char* text = std::getenv("STM_STORM_ONLY");
    return text == nullptr ? "" : text;
}
void set_only(const std::string& way) {
    ::setenv("STM_STORM_ONLY", way.c_str(), 1);
}
std::string registers_name(unsigned era) {
    return prefix() + "registers:" + std::to_string(era);
}

namespace {

constexpr unsigned kWithSignalsBlocked = 4;        // every fourth process
constexpr useconds_t kRestUs = 1'000'000;          // the others are to come to something as well
constexpr useconds_t kPatientUs = 2500 * kLeaseMs; // two and a half leases

class Life {
public:
    Life(Board& board, unsigned index)
        : board_(board), part_(cast()[index]), planted_(planted()),
          random_(board.seed + 0x9e3779b97f4a7c15U * (index + 1) +
                  board.slots[index].lives.fetch_add(1)),
          self_{&board, &board.slots[index], index, &random_} {
        self_.slot->busy.store(false);
        self_.slot->order.store(Order::none);
    }

    void run() {
        switch (part_.role) {
        case Role::accounts:
            return change(Accounts(), "accounts", "accounts");
        case Role::accounts_audit:
            return audit(Accounts(), "accounts");
        case Role::accounts_at_once:
            return audit_at_once();
        case Role::locked:
            return change(Accounts(), "locked", "locked");
        case Role::locked_audit:
            return audit(Accounts(), "locked");
        case Role::list:
            return change(List(), "list", "list");
        case Role::list_audit:
            return audit(List(), "list");
        case Role::tree:
            return change(Tree(), "tree", "tree");
        case Role::tree_audit:
            return audit(Tree(), "tree");
        case Role::history:
            return history();
        case Role::plain:
            return plain();
        case Role::plain_calls:
            return plain_calls();
        case Role::churn:
            while (goes_on())
                churn(self_, prefix());
            return;
        case Role::exceed:
            return exceed(self_, prefix());
        case Role::patient:
            return audit_long(Accounts());
        }
    }

private:
    [[nodiscard]] bool goes_on() const { return !board_.stop.load(std::memory_order_relaxed); }

    void change(const Structure& structure, const char* name, const char* plant) {
        Access access(self_, prefix() + name, structure.size(), part_.way);
        access.audit = [&](Access& through) { structure.audit(through); };
        while (goes_on())
            structure.change(access, random_, planted_ == plant);
    }
    void audit(const Structure& structure, const char* name) {
        Access access(self_, prefix() + name, structure.size(), part_.way);
        access.audit = [&](Access& through) { structure.audit(through); };
        while (goes_on())
            structure.audit(access);
    }
    // What it finds is one state, however long it looks, and it comes to an end beside all who
    // write.
    void audit_long(const Accounts& accounts) {
        Access access(self_, prefix() + "accounts", accounts.size(), part_.way);
        access.audit = [&](Access& through) { accounts.audit(through); };
        while (goes_on()) {
            accounts.audit_slowly(access, kPatientUs);
            self_.slot->patient.fetch_add(1);
            ::usleep(kRestUs);
        }
    }
    void audit_at_once() {
        Access access(self_, prefix() + "accounts", Accounts().size(), part_.way);
        while (goes_on()) {
            access.cross();
            Accounts().audit_at_once(access);
        }
    }
    void history() {
        const unsigned era = board_.era.load();
        Access access(self_, registers_name(era), Registers::kSize, part_.way);
        Registers registers(self_, part_.historian, era);
        while (goes_on() && !registers.is_full())
            registers.change(access, random_, planted_ == "history");
        while (goes_on())
            ::usleep(20000); // the era ends soon, and with it this process
    }
    void plain() {
        Access access(self_, prefix() + "plain", Plain::kSize, part_.way);
        for (unsigned turn = 1; goes_on(); ++turn) {
            count_and_lock(access, random_, planted_ == "plain");
            // These are cheap: the processors are for the others, too.
            if (turn % 100 == 0)
                ::usleep(5000);
        }
    }
    void plain_calls() {
        Access access(self_, prefix() + "plain", Plain::kSize, part_.way);
        while (goes_on()) {
            write_block(access, random_, planted_ == "calls");
            read_block(access);
        }
    }

    Board& board_;
    const Part part_;
    const std::string planted_;
    Random random_;
    const Self self_;
};

} // namespace

void live(Board& board, unsigned slot) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "storm-process");
    // The supervisor and the checker of histories must come to their work.
    ::setpriority(PRIO_PROCESS, 0, 5);
    struct rlimit none {};
    ::setrlimit(RLIMIT_CORE, &none);
    ::signal(SIGCHLD, SIG_IGN); // heirs
    // As programs do that leave signals to a thread of their own.
    if (slot % kWithSignalsBlocked == 1) {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    }
    ::close_range(3, kBoardDescriptor - 1, 0);
    ::close_range(kBoardDescriptor + 1, ~0U, 0);
    while (!board.go.load())
        ::usleep(1000);
    Life(board, slot).run();
    ::_exit(0);
}

} // namespace stm::storm
