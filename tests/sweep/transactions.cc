// SPDX-License-Identifier: GPL-2.0
// Sites: the requests of transactions.
#include "transaction.hpp"

namespace stm::sweep {
namespace {

using test::kPage;

const std::set<int> kErrors{ENOMEM, EFAULT};

int request(Try& attempt, unsigned long number, unsigned long argument = 0) {
    const int result = ::ioctl(attempt.fd.get(), number, argument);
    return result < 0 ? errno : 0;
}

// Another process that shares the handle is the first to map it, and to load from it.
void map_elsewhere(Try& attempt) {
    const int status = test::Child([&] {
                           const test::Mapping map(attempt.fd.get(), kPage, PROT_READ);
                           return map.ok() && *map.at<volatile char>() == 'a' ? 0 : 1;
                       }).wait();
    attempt.expect(status == 0, "another process cannot map it");
}

// Bytes by calls, into pages and orec pages that are not there yet.
void write_some(Try& attempt) {
    for (const std::size_t page : {0, 9, 17, 40})
        attempt.expect(::pwrite(attempt.fd.get(), attempt.buffer.data(), 200,
                                static_cast<off_t>(page * kPage + 50)) == 200,
                       "a write fails");
}
void store_some(Try& attempt) {
    for (const std::size_t page : {0, 9, 17, 40})
        std::memset(attempt.at(page * kPage + 50), 'b', 200);
}
void expect_some(Try& attempt) {
    for (const std::size_t page : {0, 9, 17, 40})
        attempt.expect_byte(page * kPage + 249, 'b', "a committed write is lost");
}

void map_once(Try& attempt) {
    if (!attempt.map)
        attempt.map_all();
}

void add_starts(const Kind& kind) {
    const auto both = [&](const char* way, std::function<void(Try&)> prepare, unsigned long how,
                          unsigned depth) {
        add({.entry = "ioctl:STM_IOC_START",
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = std::move(prepare),
             .act = [=](Try& attempt) { return request(attempt, STM_IOC_START, how); },
             .done =
                 [=](Try& attempt) {
                     attempt.expect(depth_of(attempt.fd) == depth, "not the depth expected");
                     cancel(attempt);
                 }});
    };
    both("first", nullptr, 0, 1);
    both("with-signal", nullptr, STM_START_SIGNAL(SIGURG), 1);
    both(
        "again",
        [](Try& attempt) {
            start(attempt);
            cancel(attempt);
        },
        0, 1);
    both(
        "restart", [](Try& attempt) { start(attempt); }, STM_START_RESTART, 1);
    both(
        "nested",
        [](Try& attempt) {
            start(attempt);
            write_some(attempt);
        },
        0, 2);
    both("mapped", map_once, 0, 1);
    both(
        "mapped,loaded-before",
        [](Try& attempt) {
            map_once(attempt);
            attempt.expect(*static_cast<volatile char*>(attempt.at(0)) == 'a', "not the bytes");
        },
        0, 1);
    both(
        "mapped,first-by-another-process",
        [](Try& attempt) {
            if (!attempt.map)
                map_elsewhere(attempt);
            map_once(attempt);
        },
        0, 1);
    both(
        "mapped,restart",
        [](Try& attempt) {
            map_once(attempt);
            start(attempt);
            store_some(attempt);
        },
        STM_START_RESTART, 1);
    both(
        "mapped,nested",
        [](Try& attempt) {
            map_once(attempt);
            start(attempt);
            store_some(attempt);
        },
        0, 2);
}

// A thread's cell, known to the module after a transaction: see struct stm_start_cell.
alignas(sizeof(struct stm_start_cell)) struct stm_start_cell cell;

int attach(Try& attempt) {
    auto argument = test::make<struct stm_cell>();
    argument.address = reinterpret_cast<std::uintptr_t>(&cell);
    return test::request(attempt.fd.get(), STM_IOC_CELL, &argument);
}
// Afterwards a transaction runs of which the module has not heard.
void begin_by_offer(Try& attempt) {
    start(attempt);
    attempt.expect(attach(attempt) == 0, "no cell");
    commit(attempt);
    attempt.expect(cell.offer == STM_CELL_OFFER(0), "no offer");
    cell.begun = cell.offer;
}

void add_cells(const Kind& kind) {
    const auto attaches = [&](const char* way, std::function<void(Try&)> prepare) {
        add({.entry = "ioctl:STM_IOC_CELL",
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = std::move(prepare),
             .act = attach,
             .done = [](Try& attempt) {
                 attempt.expect(cell.offer == STM_CELL_ATTACHED, "the cell is not attached");
                 cancel(attempt);
             }});
    };
    attaches("first", [](Try& attempt) { start(attempt); });
    attaches("again", [](Try& attempt) {
        start(attempt);
        attempt.expect(attach(attempt) == 0, "no cell");
    });
    if ((kind.flags & STM_MUTEX) != 0)
        return; // where nothing is offered
    const auto ends = [&](const char* entry, unsigned long number) {
        add({.entry = entry,
             .region = kind.name,
             .way = "by-offer",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare =
                 [](Try& attempt) {
                     map_once(attempt);
                     begin_by_offer(attempt);
                     store_some(attempt);
                 },
             .act = [=](Try& attempt) { return request(attempt, number); },
             .done = nullptr,
             .ends_transaction = true});
    };
    ends("ioctl:STM_IOC_COMMIT", STM_IOC_COMMIT);
    ends("ioctl:STM_IOC_CANCEL", STM_IOC_CANCEL);
}

void add_ends(const Kind& kind) {
    const auto with = [&](const char* entry, unsigned long number, unsigned long argument,
                          const char* way, std::function<void(Try&)> prepare,
                          std::function<void(Try&)> done, bool ends) {
        add({.entry = entry,
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = std::move(prepare),
             .act = [=](Try& attempt) { return request(attempt, number, argument); },
             .done = std::move(done),
             .ends_transaction = ends});
    };
    const auto calls = [](Try& attempt) {
        start(attempt);
        write_some(attempt);
    };
    const auto mapped = [](Try& attempt) {
        map_once(attempt);
        start(attempt);
        store_some(attempt);
    };
    const auto mixed = [](Try& attempt) {
        map_once(attempt);
        start(attempt);
        write_some(attempt);
        for (const std::size_t page : {9, 30})
            *attempt.at(page * kPage) = 'b';
    };
    const auto reads = [](Try& attempt) {
        start(attempt);
        char byte = 0;
        attempt.expect(::pread(attempt.fd.get(), &byte, 1, 0) == 1 && byte == 'a', "not the bytes");
    };
    const auto nested = [](Try& attempt) {
        map_once(attempt);
        start(attempt);
        write_some(attempt);
        start(attempt);
        store_some(attempt);
    };
    const auto then_commit = [](Try& attempt) {
        commit(attempt);
        expect_some(attempt);
    };

    const auto commits = [&](const char* way, std::function<void(Try&)> prepare,
                             std::function<void(Try&)> done, bool ends = true) {
        with("ioctl:STM_IOC_COMMIT", STM_IOC_COMMIT, 0, way, std::move(prepare), std::move(done),
             ends);
    };
    commits("writes", calls, expect_some);
    commits("mapped", mapped, expect_some);
    commits("mapped-and-writes", mixed, [](Try& attempt) {
        expect_some(attempt);
        attempt.expect_byte(30 * kPage, 'b', "a committed store is lost");
    });
    commits("read-only", reads, nullptr);
    commits(
        "empty", [](Try& attempt) { start(attempt); }, nullptr);
    commits("nested", nested, then_commit, false);
    // More than one commit may lock while it stays on its processor: by the serial token.
    commits(
        "large",
        [](Try& attempt) {
            start(attempt);
            attempt.expect(::pwrite(attempt.fd.get(), attempt.buffer.data(), kBytes, 0) ==
                               static_cast<ssize_t>(kBytes),
                           "a write fails");
        },
        expect_some);

    const auto nothing_left = [](Try& attempt) {
        attempt.expect(depth_of(attempt.fd) == 0, "a transaction is left");
        attempt.expect_byte(50, 'a', "a cancelled write");
    };
    const auto cancels = [&](const char* way, std::function<void(Try&)> prepare,
                             std::function<void(Try&)> done, bool ends = true) {
        with("ioctl:STM_IOC_CANCEL", STM_IOC_CANCEL, 0, way, std::move(prepare), std::move(done),
             ends);
    };
    cancels("writes", calls, nothing_left);
    cancels("mapped", mapped, nothing_left);
    cancels("nested", nested, then_commit, false);

    with("ioctl:STM_IOC_VALIDATE", STM_IOC_VALIDATE, 0, "valid", reads, cancel, false);

    for (const bool with_mapping : {false, true})
        add({.entry = "ioctl:STM_IOC_WAIT",
             .region = kind.name,
             .way = with_mapping ? "mapped" : "calls",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare =
                 [=](Try& attempt) {
                     if (with_mapping)
                         mapped(attempt);
                     else
                         reads(attempt);
                 },
             .act =
                 [](Try& attempt) {
                     auto wait = test::make<struct stm_wait>();
                     wait.timeout_ns = 0;
                     const int error = test::request(attempt.fd.get(), STM_IOC_WAIT, &wait);
                     return error == ETIMEDOUT ? 0 : error;
                 },
             .done =
                 [](Try& attempt) {
                     attempt.expect(depth_of(attempt.fd) == 0, "a transaction is left");
                 }});
}

void add_told(const Kind& kind) {
    add({.entry = "ioctl:STM_IOC_TRANSACTION",
         .region = kind.name,
         .way = "running",
         .flags = kind.flags,
         .errors = kErrors,
         .prepare = [](Try& attempt) { start(attempt); },
         .act =
             [](Try& attempt) {
                 auto now = test::make<struct stm_transaction>();
                 return test::request(attempt.fd.get(), STM_IOC_TRANSACTION, &now);
             },
         .done = cancel});
    for (const unsigned flags : {STM_BY_HANDLE, STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE})
        add({.entry = "ioctl:STM_IOC_STATISTICS",
             .region = kind.name,
             .way = flags == STM_BY_HANDLE ? "of-region" : "of-handle",
             .flags = kind.flags,
             .errors = kErrors,
             .act = [=](Try& attempt) {
                 auto all = test::make<struct stm_statistics>(flags);
                 return test::request(attempt.fd.get(), STM_IOC_STATISTICS, &all);
             }});
}

[[maybe_unused]] const int added = [] {
    for (const Kind& kind : kTransactionKinds) {
        add_starts(kind);
        add_cells(kind);
        add_ends(kind);
        add_told(kind);
    }
    return 0;
}();

} // namespace
} // namespace stm::sweep
