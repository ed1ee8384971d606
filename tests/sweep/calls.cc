// SPDX-License-Identifier: GPL-2.0
// Sites: read and write calls in all their forms, alone and inside of a transaction.
#include "requests.hpp"
#include "site.hpp"
#include "transaction.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/uio.h>

namespace stm::sweep {
namespace {

using test::kPage;

// EAGAIN: io_uring and Linux AIO have no memory for the request itself.
const std::set<int> kErrors{ENOMEM, EFAULT};
const std::set<int> kRequestErrors{ENOMEM, EFAULT, EAGAIN};
constexpr std::size_t kSmall = 64;
// Several pieces of what the module copies at a time, and pages that nobody has touched yet.
constexpr std::size_t kLarge = 40 * kPage;
constexpr off_t kWhere = 1000;

// Three parts of it.
std::vector<iovec> parts(char* memory, std::size_t bytes) {
    const std::size_t third = bytes / 3;
    return {{memory, third}, {memory + third, third}, {memory + 2 * third, bytes - 2 * third}};
}

// Requests, by the same ring and context for all sites: what these need is Linux's own matter.
test::Ring& ring() {
    static test::Ring one;
    return one;
}
test::Aio& aio() {
    static test::Aio one;
    return one;
}

// A result as Linux gives it, as a call does.
ssize_t as_call(long result) {
    if (result >= 0)
        return result;
    errno = static_cast<int>(-result);
    return -1;
}

struct Form {
    const char* name;
    ssize_t (*call)(int fd, char* memory, std::size_t bytes, off_t at);
    const std::set<int>* errors = &kErrors;
};
const Form kReads[] = {
    {"read",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         ::lseek(fd, at, SEEK_SET);
         return ::read(fd, memory, bytes);
     }},
    {"pread", [](int fd, char* memory, std::size_t bytes,
                 off_t at) { return ::pread(fd, memory, bytes, at); }},
    {"readv",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         ::lseek(fd, at, SEEK_SET);
         return ::readv(fd, parts(memory, bytes).data(), 3);
     }},
    {"preadv2", [](int fd, char* memory, std::size_t bytes,
                   off_t at) { return ::preadv2(fd, parts(memory, bytes).data(), 3, at, 0); }},
    {"io_uring",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         return as_call(ring().read(fd, memory, bytes, at));
     },
     &kRequestErrors},
    {"aio",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         return as_call(aio().read(fd, memory, bytes, at));
     },
     &kRequestErrors}};
const Form kWrites[] = {
    {"write",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         ::lseek(fd, at, SEEK_SET);
         return ::write(fd, memory, bytes);
     }},
    {"pwrite", [](int fd, char* memory, std::size_t bytes,
                  off_t at) { return ::pwrite(fd, memory, bytes, at); }},
    {"writev",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         ::lseek(fd, at, SEEK_SET);
         return ::writev(fd, parts(memory, bytes).data(), 3);
     }},
    {"pwritev2", [](int fd, char* memory, std::size_t bytes,
                    off_t at) { return ::pwritev2(fd, parts(memory, bytes).data(), 3, at, 0); }},
    {"io_uring",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         return as_call(ring().write(fd, memory, bytes, at));
     },
     &kRequestErrors},
    {"aio",
     [](int fd, char* memory, std::size_t bytes, off_t at) {
         return as_call(aio().write(fd, memory, bytes, at));
     },
     &kRequestErrors}};
const Form& kPread = kReads[1];
const Form& kPwrite = kWrites[1];

// How far the last one of them came before it failed.
std::size_t part_done = 0;

// Goes on after a short count, as programs do. 0 or errno.
int all_of(const Form& form, int fd, char* memory, std::size_t bytes, off_t at) {
    for (std::size_t done = 0; done < bytes;) {
        part_done = done;
        const ssize_t part =
            form.call(fd, memory + done, bytes - done, at + static_cast<off_t>(done));
        if (part < 0)
            return errno;
        if (part == 0)
            return ENODATA;
        done += static_cast<std::size_t>(part);
    }
    return 0;
}
int by_pread(int fd, char* memory, std::size_t bytes, off_t at) {
    return all_of(kPread, fd, memory, bytes, at);
}
int by_pwrite(int fd, char* memory, std::size_t bytes, off_t at) {
    return all_of(kPwrite, fd, memory, bytes, at);
}

void expect_region(Try& attempt, std::size_t bytes, off_t at, char value) {
    const std::vector<char> all = attempt.contents();
    const auto first = all.begin() + at;
    attempt.expect(all.size() == kBytes && std::count(first, first + static_cast<off_t>(bytes),
                                                      value) == static_cast<off_t>(bytes),
                   "what was written is not there");
}

void expect_buffer(Try& attempt, const char* memory, std::size_t bytes, off_t at) {
    const std::vector<char> all = attempt.contents();
    attempt.expect(all.size() == kBytes && std::equal(memory, memory + bytes, all.begin() + at),
                   "what was read is not what is there");
}

struct Size {
    const char* name;
    std::size_t bytes;
    off_t at = kWhere;
};
constexpr Size kSizes[] = {{"small", kSmall}, {"large", kLarge}};
// Whole stripes, which are committed without a log; from a page that is there to some that are not.
constexpr Size kSizesAlone[] = {kSizes[0], kSizes[1], {"block", 4 * kPage, kPage + 128}};
// Every form alone, in all sizes.
void add_alone() {
    (void)ring(); // from the start, and not in the middle of a try
    (void)aio();
    for (const Kind& kind : kKinds) {
        for (const Size& size : kSizesAlone) {
            const std::size_t bytes = size.bytes;
            const off_t where = size.at;
            for (const Form& form : kReads)
                add({.entry = "file:read_iter",
                     .region = kind.name,
                     .way = std::string(form.name) + "," + size.name,
                     .flags = kind.flags,
                     .errors = *form.errors,
                     .act =
                         [=](Try& attempt) {
                             return all_of(form, attempt.fd.get(), attempt.buffer.data(), bytes,
                                           where);
                         },
                     .done =
                         [=](Try& attempt) {
                             expect_buffer(attempt, attempt.buffer.data(), bytes, where);
                         }});
            for (const Form& form : kWrites)
                add({.entry = "file:write_iter",
                     .region = kind.name,
                     .way = std::string(form.name) + "," + size.name,
                     .flags = kind.flags,
                     .errors = *form.errors,
                     .act =
                         [=](Try& attempt) {
                             return all_of(form, attempt.fd.get(), attempt.buffer.data(), bytes,
                                           where);
                         },
                     .done = [=](Try& attempt) { expect_region(attempt, bytes, where, 'b'); }});
        }
    }
}

// Also tells a check of Site::part how far it came.
int noted(Try& attempt, int error) {
    attempt.part = error != 0 ? part_done : 0;
    return error;
}

// Of the transaction: a call wrote so many bytes 'b' from there on, and those after it failed.
void expect_part(Try& attempt, off_t at) {
    std::vector<char> seen(kBytes);
    by_pread(attempt.fd.get(), seen.data(), seen.size(), 0);
    const auto part = static_cast<off_t>(attempt.part);
    attempt.expect(std::count(seen.begin(), seen.end(), 'b') == part &&
                       std::count(seen.begin() + at, seen.begin() + at + part, 'b') == part,
                   "not the part that was told is in the transaction");
}

// The same within a transaction; what was mapped and stored there belongs to it.
void add_inside() {
    for (const Kind& kind : kTransactionKinds) {
        for (const bool mapped : {false, true}) {
            const std::string where = mapped ? "in-transaction,mapped," : "in-transaction,";
            const auto begin = [=](Try& attempt) {
                if (mapped)
                    attempt.map_all();
                start(attempt);
                if (mapped) {
                    // Pages 0 and 20 are the transaction's own now.
                    *attempt.at(100) = 'm';
                    *attempt.at(20 * kPage + 100) = 'm';
                }
            };
            for (const Size& size : kSizes) {
                const std::size_t bytes = size.bytes;
                add({.entry = "file:read_iter",
                     .region = kind.name,
                     .way = where + size.name,
                     .flags = kind.flags,
                     .errors = kErrors,
                     .prepare = begin,
                     .act =
                         [=](Try& attempt) {
                             return noted(attempt, by_pread(attempt.fd.get(), attempt.buffer.data(),
                                                            bytes, 0));
                         },
                     .done =
                         [=](Try& attempt) {
                             attempt.expect(attempt.buffer[100] == (mapped && bytes > 100 ? 'm'
                                                                    : bytes > 100         ? 'a'
                                                                                          : 'b'),
                                            "not the transaction's bytes");
                             commit(attempt);
                         },
                     .part =
                         [=](Try& attempt) {
                             std::vector<char> seen(attempt.part);
                             by_pread(attempt.fd.get(), seen.data(), seen.size(), 0);
                             attempt.expect(
                                 std::equal(seen.begin(), seen.end(), attempt.buffer.begin()),
                                 "not the transaction's bytes");
                         }});
                add({.entry = "file:write_iter",
                     .region = kind.name,
                     .way = where + size.name,
                     .flags = kind.flags,
                     .errors = kErrors,
                     .prepare = begin,
                     .act =
                         [=](Try& attempt) {
                             return noted(attempt, by_pwrite(attempt.fd.get(),
                                                             attempt.buffer.data(), bytes, kWhere));
                         },
                     .done =
                         [=](Try& attempt) {
                             commit(attempt);
                             expect_region(attempt, bytes, kWhere, 'b');
                         },
                     .undone =
                         [=](Try& attempt) {
                             // Nothing of the call that failed may be committed with the rest.
                             std::vector<char> seen(kBytes);
                             by_pread(attempt.fd.get(), seen.data(), seen.size(), 0);
                             attempt.expect(std::count(seen.begin(), seen.end(), 'b') == 0,
                                            "a part of a call that failed is in the transaction");
                         },
                     .part = [](Try& attempt) { expect_part(attempt, kWhere); }});
            }
        }
    }
}

// User memory that is itself a mapping of the region.
void add_own_mapping() {
    for (const Kind& kind : kKinds) {
        const auto begin = [=](Try& attempt) {
            attempt.map_all();
            if (!attempt.plain())
                start(attempt);
        };
        const auto end = [=](Try& attempt) {
            if (!attempt.plain())
                commit(attempt);
        };
        const auto copied = [](Try& attempt) {
            std::vector<char> seen(2 * kPage);
            by_pread(attempt.fd.get(), seen.data(), seen.size(), 30 * kPage);
            attempt.expect(static_cast<std::size_t>(std::count(seen.begin(), seen.end(), 'a')) ==
                               attempt.part,
                           "not the part that was told was copied");
            std::vector<char> zeros(attempt.plain() ? attempt.part : 0);
            by_pwrite(attempt.fd.get(), zeros.data(), zeros.size(), 30 * kPage);
        };
        add({.entry = "file:read_iter",
             .region = kind.name,
             .way = "into-own-mapping",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = begin,
             .act =
                 [](Try& attempt) {
                     return noted(attempt,
                                  by_pread(attempt.fd.get(), attempt.at(30 * kPage), 2 * kPage, 0));
                 },
             .done =
                 [=](Try& attempt) {
                     end(attempt);
                     expect_region(attempt, 2 * kPage, 30 * kPage, 'a');
                 },
             .part = copied,
             .leaves_traces_in_mappings = true});
        add({.entry = "file:write_iter",
             .region = kind.name,
             .way = "from-own-mapping",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = begin,
             .act =
                 [](Try& attempt) {
                     return noted(attempt, by_pwrite(attempt.fd.get(), attempt.at(0), 2 * kPage,
                                                     30 * kPage));
                 },
             .done =
                 [=](Try& attempt) {
                     end(attempt);
                     expect_region(attempt, 2 * kPage, 30 * kPage, 'a');
                 },
             .part = copied,
             .leaves_traces_in_mappings = true});
    }
}

[[maybe_unused]] const int added = (add_alone(), add_inside(), add_own_mapping(), 0);

} // namespace
} // namespace stm::sweep
