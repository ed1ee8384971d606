// SPDX-License-Identifier: GPL-2.0
// Sites: what can be done with a handle as with any file, device nodes, and the first use of a
// region that has no size yet.
#include "transaction.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace stm::sweep {
namespace {

using test::kPage;

const std::set<int> kErrors{ENOMEM, EFAULT};
constexpr unsigned kMinor = 3000; // of which nobody else makes a node

std::string name_of_minor() {
    return "minor:" + std::to_string(kMinor);
}

void make_node(Try& attempt) {
    auto version = test::make<struct stm_version>();
    test::request(STM_IOC_VERSION, &version);
    attempt.path = test::unique_path("node");
    attempt.expect(
        ::mknod(attempt.path.c_str(), S_IFCHR | 0600, ::makedev(version.device_major, kMinor)) == 0,
        "no node");
}

// A handle of a region without a size, as the first of `more`.
void open_unsized(Try& attempt) {
    make_node(attempt);
    attempt.more[0] = test::Fd(::open(attempt.path.c_str(), O_RDWR | O_CLOEXEC));
    attempt.expect(static_cast<bool>(attempt.more[0]), "the node cannot be opened");
    // Its name goes now, its memory with the handle.
    attempt.expect(stm_unlink_deferred(name_of_minor().c_str()) == 0, "not unlinked");
}

void expect_unsized(Try& attempt) {
    attempt.expect(test::info_of(attempt.more[0].get()).region_size == 0,
                   "the region has a size after a call that failed");
}

int open_node(Try& attempt) {
    const int fd = ::open(attempt.path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno;
    attempt.more[1] = test::Fd(fd);
    return 0;
}

void add_control_open() {
    add({.entry = "file:open",
         .region = "default",
         .way = "control",
         .flags = 0,
         .errors = kErrors,
         .prepare = [](Try& attempt) { attempt.path.clear(); },
         .act =
             [](Try& attempt) {
                 attempt.more[0] = test::Fd(::open("/dev/stm", O_RDWR | O_CLOEXEC));
                 return attempt.more[0] ? 0 : errno;
             }});
}

void add_node_opens() {
    add({.entry = "file:open",
         .region = "node",
         .way = "new-region",
         .flags = 0,
         .errors = kErrors,
         .prepare = make_node,
         .act = open_node,
         .done =
             [](Try& attempt) {
                 attempt.expect(stm_unlink_deferred(name_of_minor().c_str()) == 0, "no region");
             },
         .undone =
             [](Try& attempt) {
                 attempt.expect(!test::exists(name_of_minor()), "a region is left");
             }});
    add({.entry = "file:open",
         .region = "node",
         .way = "existing-region",
         .flags = 0,
         .errors = kErrors,
         .prepare =
             [](Try& attempt) {
                 make_node(attempt);
                 attempt.more[0] = test::Fd(::open(attempt.path.c_str(), O_RDWR | O_CLOEXEC));
             },
         .act = open_node,
         .done =
             [](Try& attempt) {
                 attempt.expect(stm_unlink_deferred(name_of_minor().c_str()) == 0, "no region");
             }});
}

enum class AfterFailure { unsized, sized };

void first_use(const char* entry, const char* way, std::function<int(Try&)> act,
               AfterFailure after = AfterFailure::unsized) {
    add({.entry = entry,
         .region = "without-size",
         .way = way,
         .flags = 0,
         .errors = kErrors,
         .prepare = open_unsized,
         .act = std::move(act),
         .done =
             [](Try& attempt) {
                 attempt.expect(test::info_of(attempt.more[0].get()).region_size != 0,
                                "still no size");
             },
         .undone =
             after == AfterFailure::sized ? nullptr : std::function<void(Try&)>(expect_unsized)});
}

void add_first_uses() {
    first_use("ioctl:STM_IOC_SET_SIZE", "ioctl", [](Try& attempt) {
        auto argument = test::make<struct stm_set_size>();
        argument.region_size = 10 * kPage;
        return test::request(attempt.more[0].get(), STM_IOC_SET_SIZE, &argument);
    });
    first_use(
        "file:read_iter", "first-use",
        [](Try& attempt) {
            return error_of(::pread(attempt.more[0].get(), attempt.buffer.data(), 10, 0));
        },
        AfterFailure::sized);
    first_use("file:llseek", "first-use",
              [](Try& attempt) { return error_of(::lseek(attempt.more[0].get(), 0, SEEK_END)); });
    first_use("file:mmap", "first-use", [](Try& attempt) {
        void* const mapped =
            ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, attempt.more[0].get(), 0);
        if (mapped == MAP_FAILED)
            return errno;
        ::munmap(mapped, kPage);
        return 0;
    });
}

void add_positions(const Kind& kind) {
    add({.entry = "file:llseek",
         .region = kind.name,
         .way = "end",
         .flags = kind.flags,
         .errors = kErrors,
         .act = [](Try& attempt) { return error_of(::lseek(attempt.fd.get(), 0, SEEK_END)); }});
    add({.entry = "file:fsync",
         .region = kind.name,
         .way = "fsync",
         .flags = kind.flags,
         .errors = kErrors,
         .act = [](Try& attempt) { return error_of(::fsync(attempt.fd.get())); }});
}

void add_poll(const Kind& kind) {
    add({.entry = "file:poll",
         .region = kind.name,
         .way = "poll",
         .flags = kind.flags,
         .errors = kErrors,
         .act = [](Try& attempt) {
             pollfd asked{attempt.fd.get(), POLLIN, 0};
             const int ready = ::poll(&asked, 1, 0);
             attempt.expect(ready < 0 || (asked.revents & POLLIN) != 0, "a change is not seen");
             return error_of(ready);
         }});
}

void add_epoll(const Kind& kind) {
    add({.entry = "file:poll",
         .region = kind.name,
         .way = "epoll",
         .flags = kind.flags,
         .errors = kErrors,
         .prepare =
             [](Try& attempt) { attempt.more[0] = test::Fd(::epoll_create1(EPOLL_CLOEXEC)); },
         .act =
             [](Try& attempt) {
                 epoll_event wanted{.events = EPOLLIN, .data = {.fd = attempt.fd.get()}};
                 return error_of(
                     ::epoll_ctl(attempt.more[0].get(), EPOLL_CTL_ADD, attempt.fd.get(), &wanted));
             },
         .done =
             [](Try& attempt) {
                 epoll_event got{};
                 attempt.expect(::epoll_wait(attempt.more[0].get(), &got, 1, 0) == 1,
                                "a change is not seen");
             }});
}

void add_fdinfo(const Kind& kind) {
    add({.entry = "file:show_fdinfo",
         .region = kind.name,
         .way = "read",
         .flags = kind.flags,
         .errors = kErrors,
         .prepare =
             [](Try& attempt) {
                 const std::string path = "/proc/self/fdinfo/" + std::to_string(attempt.fd.get());
                 attempt.more[0] = test::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
             },
         .act =
             [](Try& attempt) {
                 const ssize_t got = ::pread(attempt.more[0].get(), attempt.buffer.data(),
                                             attempt.buffer.size(), 0);
                 attempt.result = static_cast<int>(got);
                 return error_of(got);
             },
         .done =
             [](Try& attempt) {
                 const std::string text(attempt.buffer.data(),
                                        static_cast<std::size_t>(attempt.result));
                 attempt.expect(text.find(attempt.name) != std::string::npos,
                                "the region is not told");
             }});
}

void make_pipe(Try& attempt) {
    int ends[2] = {-1, -1};
    attempt.expect(::pipe2(ends, O_CLOEXEC) == 0, "no pipe");
    attempt.more[0] = test::Fd(ends[0]);
    attempt.more[1] = test::Fd(ends[1]);
}

void add_splice_from(const Kind& kind) {
    add({.entry = "file:splice_read",
         .region = kind.name,
         .way = "splice",
         .flags = kind.flags,
         .errors = kErrors,
         .prepare = make_pipe,
         .act =
             [](Try& attempt) {
                 // The file's own position: the call's last step is to store another one.
                 ::lseek(attempt.fd.get(), 0, SEEK_SET);
                 return error_of(::splice(attempt.fd.get(), nullptr, attempt.more[1].get(), nullptr,
                                          2 * kPage, SPLICE_F_NONBLOCK));
             },
         .done =
             [](Try& attempt) {
                 attempt.expect(::read(attempt.more[0].get(), attempt.buffer.data(), kPage) > 0 &&
                                    attempt.buffer[0] == 'a',
                                "not the region's bytes");
             }});
}

void add_splice_to(const Kind& kind) {
    add({.entry = "file:splice_write",
         .region = kind.name,
         .way = "splice",
         .flags = kind.flags,
         .errors = kErrors,
         .prepare =
             [](Try& attempt) {
                 make_pipe(attempt);
                 attempt.expect(::write(attempt.more[1].get(), attempt.buffer.data(), kPage) ==
                                    static_cast<ssize_t>(kPage),
                                "the pipe is not filled");
             },
         .act =
             [](Try& attempt) {
                 ::lseek(attempt.fd.get(), 30 * kPage, SEEK_SET);
                 return error_of(::splice(attempt.more[0].get(), nullptr, attempt.fd.get(), nullptr,
                                          kPage, SPLICE_F_NONBLOCK));
             },
         .done =
             [](Try& attempt) {
                 attempt.expect_byte(30 * kPage, 'b', "what was written is lost");
             }});
}

void add_file_calls() {
    for (const Kind& kind : kKinds) {
        add_positions(kind);
        add_poll(kind);
        add_epoll(kind);
        add_fdinfo(kind);
        add_splice_from(kind);
        add_splice_to(kind);
    }
}

// Stores, within a transaction where there is one.
void be_busy(Try& attempt) {
    attempt.map_all();
    if (!attempt.plain())
        start(attempt);
    *attempt.at(100) = 'b';
    *attempt.at(30 * kPage) = 'b';
}

void add_last_close(const Kind& kind) {
    add({.entry = "file:release",
         .region = kind.name,
         .way = "close",
         .flags = kind.flags,
         .errors = {},
         .prepare =
             [](Try& attempt) {
                 be_busy(attempt);
                 attempt.map.reset();
             },
         .act =
             [](Try& attempt) {
                 attempt.fd.reset();
                 return 0;
             },
         .done =
             [](Try& attempt) {
                 attempt.expect(test::info_of(attempt.observer.get()).handles == 1,
                                "a handle is left");
                 attempt.expect(::pwrite(attempt.observer.get(), "c", 1, 0) == 1,
                                "the region cannot be used");
             }});
}

void add_close_of_a_duplicate(const Kind& kind) {
    add({.entry = "file:flush",
         .region = kind.name,
         .way = "close-a-duplicate",
         .flags = kind.flags,
         .errors = {},
         .prepare =
             [](Try& attempt) {
                 be_busy(attempt);
                 attempt.more[0] = test::Fd(::fcntl(attempt.fd.get(), F_DUPFD_CLOEXEC, 0));
             },
         .act =
             [](Try& attempt) {
                 attempt.more[0].reset();
                 return 0;
             },
         .done =
             [](Try& attempt) {
                 if (!attempt.plain()) {
                     attempt.expect(depth_of(attempt.fd) == 1, "the transaction is gone");
                     attempt.expect_byte(100, 'a', "a store that is not committed");
                     commit(attempt);
                 }
                 attempt.expect_byte(100, 'b', "the byte");
             }});
}

// A close never fails; nothing of the handle is left, whatever it was doing.
void add_closes() {
    for (const Kind& kind : kKinds) {
        add_last_close(kind);
        add_close_of_a_duplicate(kind);
    }
}

#ifdef __x86_64__
// A request as a 32-bit program makes it: its numbers of system calls, addresses below 4 GiB.
int request32(int fd, unsigned long number, void* argument) {
    long result = 0;
    asm volatile("int $0x80"
                 : "=a"(result)
                 : "a"(54L), "b"(static_cast<long>(fd)), "c"(number), "d"(argument)
                 : "memory", "r8", "r9", "r10", "r11");
    return result < 0 ? static_cast<int>(-result) : 0;
}

void add_compat() {
    add({.entry = "file:compat_ioctl",
         .region = "any",
         .way = "STM_IOC_INFO",
         .flags = 0,
         .errors = kErrors,
         .prepare =
             [](Try& attempt) {
                 attempt.map = std::make_unique<test::Mapping>(-1, kPage, PROT_READ | PROT_WRITE, 0,
                                                               MAP_PRIVATE | MAP_ANONYMOUS |
                                                                   MAP_32BIT | MAP_POPULATE);
             },
         .act =
             [](Try& attempt) {
                 auto* info = attempt.map->at<struct stm_info>();
                 *info = test::make<struct stm_info>(STM_BY_HANDLE);
                 return request32(attempt.fd.get(), STM_IOC_INFO, info);
             },
         .done =
             [](Try& attempt) {
                 attempt.expect(attempt.map->at<struct stm_info>()->region_size == kBytes,
                                "not what is asked for");
             }});
}
#endif

[[maybe_unused]] const int added = [] {
    add_control_open();
    add_node_opens();
    add_first_uses();
    add_file_calls();
    add_closes();
#ifdef __x86_64__
    add_compat();
#endif
    return 0;
}();

} // namespace
} // namespace stm::sweep
