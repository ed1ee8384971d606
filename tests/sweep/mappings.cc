// SPDX-License-Identifier: GPL-2.0
// Sites: mmap and what Linux does with a mapping, and every kind of fault in one.
#include "memory_limit.hpp"
#include "transaction.hpp"

#include <fcntl.h>
#include <sys/uio.h>

namespace stm::sweep {
namespace {

using test::kPage;

constexpr Kind kExec{"executable", STM_PLAIN | STM_EXEC};
constexpr std::size_t kFresh = 30 * kPage; // of a page that nobody has touched
const std::set<int> kErrors{ENOMEM};
const std::set<int> kCopyErrors{ENOMEM, EFAULT};

void expect_mapped(Try& attempt, unsigned mappings) {
    const unsigned now = test::info_of(attempt.observer.get()).mappings;
    attempt.expect(now == mappings,
                   std::to_string(now) + " mappings, not " + std::to_string(mappings));
}

void add_mmap() {
    for (const Kind& kind : {kPlain, kTransactional, kMutex, kExec}) {
        const int protection =
            (kind.flags & STM_EXEC) != 0 ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE;
        add({.entry = "file:mmap",
             .region = kind.name,
             .way = "mmap",
             .flags = kind.flags,
             .errors = kErrors,
             .act =
                 [=](Try& attempt) {
                     attempt.map =
                         std::make_unique<test::Mapping>(attempt.fd.get(), kBytes, protection);
                     return attempt.map->ok() ? 0 : errno;
                 },
             .done =
                 [](Try& attempt) {
                     expect_mapped(attempt, 1);
                     attempt.expect(*attempt.at(0) == 'a', "not the region's bytes");
                 }});
        // Only half of it: Linux splits the mapping.
        add({.entry = "memory:munmap",
             .region = kind.name,
             .way = "the-middle",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare =
                 [=](Try& attempt) {
                     attempt.map_all(protection);
                     attempt.expect(*attempt.at(0) == 'a', "not the region's bytes");
                 },
             .act =
                 [](Try& attempt) { return error_of(::munmap(attempt.at(8 * kPage), 8 * kPage)); },
             .done =
                 [](Try& attempt) {
                     expect_mapped(attempt, 2);
                     attempt.expect(*attempt.at(0) == 'a', "not the region's bytes");
                 },
             .leaves_traces_in_mappings = true});
        add({.entry = "memory:mprotect",
             .region = kind.name,
             .way = "the-middle",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = [=](Try& attempt) { attempt.map_all(protection); },
             .act =
                 [](Try& attempt) {
                     return error_of(::mprotect(attempt.at(8 * kPage), 8 * kPage, PROT_NONE));
                 },
             .done = [](Try& attempt) { expect_mapped(attempt, 3); },
             .leaves_traces_in_mappings = true});
        add({.entry = "memory:mremap",
             .region = kind.name,
             .way = "move",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare =
                 [=](Try& attempt) {
                     attempt.map_all(protection);
                     attempt.expect(*attempt.at(0) == 'a', "not the region's bytes");
                     // Room to move to, with nothing in it.
                     void* const room = ::mmap(nullptr, kBytes, PROT_NONE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
                     attempt.number = reinterpret_cast<unsigned long>(room);
                     ::munmap(room, kBytes);
                 },
             .act =
                 [](Try& attempt) {
                     void* const moved = ::mremap(attempt.map->data(), kBytes, kBytes,
                                                  MREMAP_MAYMOVE | MREMAP_FIXED,
                                                  reinterpret_cast<void*>(attempt.number));
                     return moved == MAP_FAILED ? errno : 0;
                 },
             .done =
                 [](Try& attempt) {
                     const auto* moved = reinterpret_cast<volatile char*>(attempt.number);
                     attempt.expect(*moved == 'a', "not the region's bytes");
                     expect_mapped(attempt, 1);
                     attempt.map->release();
                     ::munmap(reinterpret_cast<void*>(attempt.number), kBytes);
                 }});
        add({.entry = "memory:madvise",
             .region = kind.name,
             .way = "dontneed",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = [=](Try& attempt) { attempt.map_all(protection); },
             .act =
                 [](Try& attempt) {
                     return error_of(::madvise(attempt.at(0), kBytes, MADV_DONTNEED));
                 },
             .done =
                 [](Try& attempt) {
                     attempt.expect(*attempt.at(0) == 'a', "the bytes are gone");
                 }});
    }
}

// A child looks at its mapping: 0 when the first byte is what it should be.
int fork_and_look(Try& attempt, char expected) {
    attempt.child = fork_under_limit();
    if (attempt.child < 0)
        return errno;
    if (attempt.child == 0)
        ::_exit(*static_cast<volatile char*>(attempt.at(100)) == expected ? 0 : 1);
    return 0;
}

void expect_child_well(Try& attempt) {
    int status = -1;
    while (::waitpid(attempt.child, &status, 0) < 0 && errno == EINTR) {
    }
    attempt.expect(status == 0, "the child does not see what was committed");
}

void add_fork() {
    for (const Kind& kind : kKinds) {
        for (const bool inside : {false, true}) {
            if (inside && (kind.flags & STM_PLAIN) != 0)
                continue;
            add({.entry = "memory:fork",
                 .region = kind.name,
                 .way = inside ? "in-transaction" : "mapped",
                 .flags = kind.flags,
                 .errors = {ENOMEM, EAGAIN},
                 .prepare =
                     [=](Try& attempt) {
                         attempt.map_all();
                         if (inside) {
                             start(attempt);
                             *attempt.at(100) = 'b';
                         } else {
                             attempt.expect(*attempt.at(100) == 'a', "not the region's bytes");
                         }
                     },
                 .act = [](Try& attempt) { return fork_and_look(attempt, 'a'); },
                 .done =
                     [=](Try& attempt) {
                         expect_child_well(attempt);
                         if (inside)
                             commit(attempt);
                         attempt.expect_byte(100, inside ? 'b' : 'a', "the parent's byte");
                     }});
        }
    }
}

// A fault of the program itself: SIGBUS when there was no memory. In a transaction it is tried
// again first, so one failure is none.
void add_faults() {
    const auto fault = [](const char* entry, const Kind& kind, const char* way,
                          std::function<void(Try&)> prepare, std::function<void(Try&)> touch,
                          std::function<void(Try&)> done) {
        add({.entry = entry,
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = {kSignal + SIGBUS},
             .prepare = std::move(prepare),
             .act = [=](Try& attempt) { return guarded([&] { touch(attempt); }); },
             .done = std::move(done)});
    };
    const auto map = [](Try& attempt) { attempt.map_all(); };
    const auto load = [](std::size_t at, char expected) {
        return [=](Try& attempt) {
            attempt.expect(*static_cast<volatile char*>(attempt.at(at)) == expected,
                           "a load gives another byte");
        };
    };
    const auto store = [](std::size_t at) {
        return [=](Try& attempt) { *static_cast<volatile char*>(attempt.at(at)) = 'b'; };
    };
    const auto stored = [](std::size_t at) {
        return [=](Try& attempt) {
            if (!attempt.plain())
                commit(attempt);
            attempt.expect_byte(at, 'b', "the store is lost");
        };
    };
    const auto begin = [](Try& attempt) {
        attempt.map_all();
        start(attempt);
    };

    fault("vm:stm_plain_vm_operations.fault", kPlain, "load", map, load(0, 'a'), nullptr);
    fault("vm:stm_plain_vm_operations.fault", kPlain, "load-of-nothing", map, load(kFresh, 0),
          nullptr);
    // What Linux calls first where there is a page table.
    const auto map_and_touch = [](Try& attempt) {
        attempt.map_all();
        (void)*static_cast<volatile char*>(attempt.at(kPage));
    };
    fault("vm:stm_plain_vm_operations.map_pages", kPlain, "load-beside-another", map_and_touch,
          load(0, 'a'), nullptr);
    fault("vm:stm_plain_vm_operations.fault", kPlain, "store", map, store(kFresh), stored(kFresh));
    for (const Kind& kind : kTransactionKinds) {
        const char* const entry = "vm:stm_transactional_vm_operations.fault";
        fault(entry, kind, "load", map, load(0, 'a'), nullptr);
        fault(entry, kind, "load-of-nothing", map, load(kFresh, 0), nullptr);
        fault("vm:stm_transactional_vm_operations.map_pages", kind, "load-beside-another",
              map_and_touch, load(0, 'a'), nullptr);
        fault(entry, kind, "in-transaction,load", begin, load(0, 'a'), cancel);
        fault(entry, kind, "in-transaction,load-of-nothing", begin, load(kFresh, 0), cancel);
        fault(entry, kind, "in-transaction,store", begin, store(0), stored(0));
        fault(entry, kind, "in-transaction,store-to-nothing", begin, store(kFresh), stored(kFresh));
        fault(
            entry, kind, "in-transaction,load-of-written",
            [](Try& attempt) {
                attempt.map_all();
                start(attempt);
                attempt.expect(::pwrite(attempt.fd.get(), "b", 1, kFresh) == 1, "a write fails");
            },
            load(kFresh, 'b'), stored(kFresh));
        fault(
            "vm:stm_transactional_vm_operations.page_mkwrite", kind, "store-after-load",
            [=](Try& attempt) {
                begin(attempt);
                load(kFresh, 0)(attempt);
            },
            store(kFresh), stored(kFresh));
    }
}

// The kernel touches a mapping for a program: what fails there is told by an error.
void add_foreign() {
    for (const Kind& kind : kKinds) {
        const auto begin = [](Try& attempt) {
            attempt.map_all();
            if (!attempt.plain())
                start(attempt);
        };
        const auto end = [](Try& attempt) {
            if (!attempt.plain())
                commit(attempt);
            attempt.expect_byte(kFresh, 'b', "what was copied is lost");
        };
        const char* const entry = (kind.flags & STM_PLAIN) != 0
                                      ? "vm:stm_plain_vm_operations.fault"
                                      : "vm:stm_transactional_vm_operations.fault";
        add({.entry = entry,
             .region = kind.name,
             .way = "copy_to_user",
             .flags = kind.flags,
             .errors = kCopyErrors,
             .prepare =
                 [=](Try& attempt) {
                     begin(attempt);
                     int ends[2];
                     attempt.expect(::pipe2(ends, O_CLOEXEC) == 0, "no pipe");
                     attempt.more[0] = test::Fd(ends[0]);
                     attempt.more[1] = test::Fd(ends[1]);
                     attempt.expect(::write(ends[1], "bbbbbbbb", 8) == 8, "the pipe is not filled");
                 },
             .act =
                 [](Try& attempt) {
                     return error_of(::read(attempt.more[0].get(), attempt.at(kFresh), 4));
                 },
             .done = end,
             .leaves_traces_in_mappings = true});
        add({.entry = entry,
             .region = kind.name,
             .way = "process_vm_writev",
             .flags = kind.flags,
             .errors = kCopyErrors,
             .prepare = begin,
             .act =
                 [](Try& attempt) {
                     iovec from{attempt.buffer.data(), 100};
                     iovec to{attempt.at(kFresh), 100};
                     return error_of(::process_vm_writev(::getpid(), &from, 1, &to, 1, 0));
                 },
             .done = end,
             .leaves_traces_in_mappings = true});
    }
}

[[maybe_unused]] const int added = (add_mmap(), add_fork(), add_faults(), add_foreign(), 0);

} // namespace
} // namespace stm::sweep
