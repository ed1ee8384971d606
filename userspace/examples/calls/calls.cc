// SPDX-License-Identifier: LGPL-2.1-or-later
// Function calls between processes: "calls serve" is one of any number of servers, and "calls
// NAME A B" calls a function of theirs: add, multiply, or account, which adds to a number that the
// servers keep. Both sides sleep while they wait.
//
// A server may be killed at any instruction: taking a call, what the function does to the region,
// and the answer are one transaction, so another server executes the call as if for the first time.
// A client may be killed, too: the next client that needs its box takes it.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <stm/stm.hpp>
#include <string>
#include <unistd.h>

enum class function : std::uint32_t { add, multiply, account };

// A call on its way. What the client waits for has a stripe of its own.
struct alignas(64) box {
    stm::var<pid_t> owner; // 0: free
    stm::var<std::uint64_t> ticket;
    stm::var<function> called;
    stm::var<long> a, b;
    stm::var<bool> answered;
    stm::var<long> answer;
};

struct request {
    std::uint64_t ticket;
    std::uint32_t box;
};

struct switchboard {
    stm::queue<request> waiting;
    stm::var<std::uint64_t> tickets;
    stm::var<long> account;
    box boxes[64];
};

static bool is_alive(pid_t process) {
    return kill(process, 0) == 0 || errno != ESRCH;
}

static std::uint32_t free_box(const stm::transaction& tx, switchboard& s) {
    for (std::uint32_t index = 0; index < std::size(s.boxes); ++index) {
        const pid_t owner = tx[s.boxes[index].owner];
        if (owner == 0 || !is_alive(owner))
            return index;
    }
    tx.retry(); // until one becomes free
}

static box& ask(const stm::region& region, switchboard& s, function f, long a, long b) {
    return stm::atomically(region, [&](stm::transaction& tx) -> box& {
        const std::uint32_t index = free_box(tx, s);
        box& mine = s.boxes[index];
        tx[mine.owner] = getpid();
        tx[mine.ticket] = ++tx[s.tickets];
        tx[mine.called] = f;
        tx[mine.a] = a;
        tx[mine.b] = b;
        tx[mine.answered] = false;
        s.waiting.push(tx, request{tx[mine.ticket], index});
        return mine;
    });
}

static long wait_for(const stm::region& region, box& mine, std::chrono::seconds time) {
    return stm::atomically(
        region,
        [&](stm::transaction& tx) {
            if (!tx[mine.answered])
                tx.retry();
            tx[mine.owner] = 0;
            return tx[mine.answer].get();
        },
        stm::within(time));
}

static long call(const stm::region& region, switchboard& s, function f, long a, long b) {
    box& mine = ask(region, s, f, a, b);
    try {
        return wait_for(region, mine, std::chrono::seconds(10));
    } catch (const stm::timed_out&) {
        // With another ticket, no server answers it any more.
        stm::atomically(region, [&](stm::transaction& tx) {
            tx[mine.owner] = 0;
            tx[mine.ticket] = 0;
        });
        throw std::runtime_error("no server has answered within ten seconds");
    }
}

static long execute(const stm::transaction& tx, switchboard& s, const box& asked) {
    const long a = tx.load(asked.a);
    const long b = tx.load(asked.b);
    switch (tx.load(asked.called)) {
    case function::add:
        return a + b;
    case function::multiply:
        return a * b;
    case function::account:
        tx[s.account] += a + b;
        return tx[s.account];
    }
    return 0;
}

static void serve_one(const stm::region& region, switchboard& s) {
    stm::atomically(region, [&](stm::transaction& tx) {
        const request next = s.waiting.pop(tx); // sleeps here
        box& asked = s.boxes[next.box];
        if (tx[asked.ticket] != next.ticket)
            return; // the client is gone
        tx[asked.answer] = execute(tx, s, asked);
        tx[asked.answered] = true;
    });
}

static std::optional<function> named(const std::string& name) {
    if (name == "add")
        return function::add;
    if (name == "multiply")
        return function::multiply;
    if (name == "account")
        return function::account;
    return std::nullopt;
}

int main(int argc, char** argv) try {
    auto region = stm::region::create("calls", 1 << 20);
    auto& s = region.root<switchboard>();
    const std::string what = argc > 1 ? argv[1] : "";
    while (what == "serve")
        serve_one(region, s);
    const auto f = named(what);
    if (!f || argc != 4) {
        std::fprintf(stderr, "usage: calls serve|add A B|multiply A B|account A B\n");
        return 2;
    }
    std::printf("%ld\n", call(region, s, *f, std::atol(argv[2]), std::atol(argv[3])));
} catch (const std::exception& error) {
    std::fprintf(stderr, "calls: %s\n", error.what());
    return 1;
}
