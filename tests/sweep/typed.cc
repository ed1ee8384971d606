// SPDX-License-Identifier: GPL-2.0
// Sites: transactions that a program runs by itself, and what it maps for them.
#include "transaction.hpp"
#include "windows.hpp"

namespace stm::sweep {
namespace {

using test::kPage;

const std::set<int> kErrors{ENOMEM, EFAULT};
constexpr std::size_t kWrites = 4;
constexpr std::size_t kPlaces[kWrites] = {0, 9 * kPage, 17 * kPage, 40 * kPage};

// What the site's requests point at.
struct Sets {
    std::vector<std::uint64_t> reads{STM_READ_RUN(0, 1), STM_READ_RUN(30 * kPage / 64, 64)};
    std::vector<struct stm_stripe_write> writes;
    struct stm_sets in_second {};
    struct stm_commit_sets commit = test::make<struct stm_commit_sets>();
    struct stm_wait_sets wait = test::make<struct stm_wait_sets>();
};
Sets sets;

void add_write(std::size_t offset) {
    struct stm_stripe_write write {};
    write.stripe = offset / 64;
    write.mask = ~std::uint64_t{0};
    std::memset(write.bytes, 'b', sizeof write.bytes);
    sets.writes.push_back(write);
}

void prepare_some() {
    sets = Sets();
    for (const std::size_t place : kPlaces)
        add_write(place);
}
// So much that it needs memory for the sets, and the serial token.
void prepare_many() {
    sets = Sets();
    for (std::size_t offset = 0; offset < kBytes; offset += 64)
        add_write(offset);
    sets.reads.assign(300, STM_READ_RUN(0, 1));
}

std::uint64_t clock_of(Try& attempt, int fd) {
    const test::Mapping clock(fd, kPage, PROT_READ, static_cast<off_t>(STM_OFFSET_CLOCK));
    attempt.expect(clock.ok(), "the clock cannot be mapped");
    return clock.ok() ? clock.at<struct stm_clock>()->now : 0;
}

struct stm_sets of(Try& attempt, int fd, int named) {
    struct stm_sets result {};
    result.handle = named;
    result.snapshot = clock_of(attempt, fd);
    result.reads = reinterpret_cast<std::uintptr_t>(sets.reads.data());
    result.read_count = static_cast<std::uint32_t>(sets.reads.size());
    result.writes = reinterpret_cast<std::uintptr_t>(sets.writes.data());
    result.write_count = static_cast<std::uint32_t>(sets.writes.size());
    return result;
}

// Another region, which is gone when its handle is closed.
void open_second(Try& attempt) {
    attempt.more[0] =
        test::Fd(stm_open((attempt.name + "-second").c_str(), kBytes, STM_CREATE | STM_EXCL, 0600));
    auto destroy = test::make<struct stm_destroy>(STM_BY_HANDLE | STM_DESTROY_DEFERRED);
    attempt.expect(test::request(attempt.more[0].get(), STM_IOC_DESTROY, &destroy) == 0,
                   "no second region");
}

int commit_sets(Try& attempt) {
    return test::request(attempt.fd.get(), STM_IOC_COMMIT_SETS, &sets.commit);
}

void expect_written(Try& attempt) {
    for (const std::size_t place : kPlaces)
        attempt.expect_byte(place + 63, 'b', "a committed write is lost");
}

void add_commits(const Kind& kind) {
    const auto commits = [&](const char* way, std::function<void(Try&)> prepare,
                             std::function<void(Try&)> done) {
        add({.entry = "ioctl:STM_IOC_COMMIT_SETS",
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = std::move(prepare),
             .act = commit_sets,
             .done = std::move(done)});
    };
    const auto some = [](Try& attempt) {
        prepare_some();
        sets.commit.sets = of(attempt, attempt.fd.get(), -1);
    };
    commits("writes", some, expect_written);
    commits(
        "read-only",
        [=](Try& attempt) {
            some(attempt);
            sets.commit.sets.write_count = 0;
        },
        nullptr);
    commits(
        "large",
        [](Try& attempt) {
            prepare_many();
            sets.commit.sets = of(attempt, attempt.fd.get(), -1);
        },
        expect_written);
    commits(
        "two-regions",
        [=](Try& attempt) {
            open_second(attempt);
            some(attempt);
            sets.in_second = of(attempt, attempt.more[0].get(), attempt.more[0].get());
            sets.commit.others = reinterpret_cast<std::uintptr_t>(&sets.in_second);
            sets.commit.other_count = 1;
        },
        expect_written);
    commits(
        "serial",
        [=](Try& attempt) {
            start(attempt, STM_START_SERIAL);
            some(attempt);
            sets.commit.flags = STM_COMMIT_SERIAL;
        },
        [](Try& attempt) {
            attempt.expect(depth_of(attempt.fd) == 0, "a transaction is left");
            expect_written(attempt);
        });
}

void add_waits(const Kind& kind) {
    add({.entry = "ioctl:STM_IOC_WAIT_SETS",
         .region = kind.name,
         .way = "time-out",
         .flags = kind.flags,
         .errors = kErrors,
         .prepare =
             [](Try& attempt) {
                 prepare_many();
                 sets.wait.sets = of(attempt, attempt.fd.get(), -1);
                 sets.wait.sets.write_count = 0;
             },
         .act =
             [](Try& attempt) {
                 const int error = test::request(attempt.fd.get(), STM_IOC_WAIT_SETS, &sets.wait);
                 return error == ETIMEDOUT ? 0 : error;
             }});
}

void add_windows(const Kind& kind) {
    for (const Window& window : kWindows) {
        const auto map = [=](Try& attempt) {
            attempt.map = std::make_unique<test::Mapping>(attempt.fd.get(), window.bytes, PROT_READ,
                                                          static_cast<off_t>(window.offset));
            attempt.expect(attempt.map->ok(), "it cannot be mapped");
        };
        const auto load = [](std::size_t at) {
            return [=](Try& attempt) {
                return guarded([&] { static_cast<void>(*attempt.map->at<volatile char>(at)); });
            };
        };
        const std::string way = window.name;
        add({.entry = "vm:stm_window_vm_operations.fault",
             .region = kind.name,
             .way = way + ",load",
             .flags = kind.flags,
             .errors = {kSignal + SIGBUS},
             .prepare = map,
             .act = load(0)});
        if (window.bytes <= kPage)
            continue;
        add({.entry = "vm:stm_window_vm_operations.fault",
             .region = kind.name,
             .way = way + ",load-of-nothing",
             .flags = kind.flags,
             .errors = {kSignal + SIGBUS},
             .prepare = map,
             .act = load(window.bytes - 1)});
        add({.entry = "vm:stm_window_vm_operations.map_pages",
             .region = kind.name,
             .way = way + ",load-beside-another",
             .flags = kind.flags,
             .errors = {kSignal + SIGBUS},
             .prepare =
                 [=](Try& attempt) {
                     map(attempt);
                     static_cast<void>(*attempt.map->at<volatile char>(kPage));
                 },
             .act = load(0)});
    }
}

[[maybe_unused]] const int added = [] {
    for (const Kind& kind : kTransactionKinds) {
        add_commits(kind);
        add_waits(kind);
        add_windows(kind);
    }
    return 0;
}();

} // namespace
} // namespace stm::sweep
