// SPDX-License-Identifier: GPL-2.0
// Sites: the requests that make, describe and end regions.
#include "site.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>

namespace stm::sweep {
namespace {

using test::kPage;

const std::set<int> kErrors{ENOMEM, EFAULT};

std::string second(const Try& attempt) {
    return attempt.name + ":second";
}

int open_by(Try& attempt, struct stm_open& argument) {
    const int result = ::ioctl(attempt.fd.get(), STM_IOC_OPEN, &argument);
    if (result < 0)
        return errno;
    attempt.more[0] = test::Fd(result);
    return 0;
}

void add_opens() {
    struct New {
        const char* name;
        unsigned flags;
    };
    for (const New& kind : {New{"plain", STM_REGION_PLAIN}, New{"transactional", 0},
                            New{"mutex", STM_REGION_MUTEX}, New{"ephemeral", STM_REGION_EPHEMERAL},
                            New{"executable", STM_REGION_PLAIN | STM_REGION_EXEC}}) {
        add({.entry = "ioctl:STM_IOC_OPEN",
             .region = kind.name,
             .way = "create",
             .flags = 0,
             .errors = kErrors,
             .act =
                 [=](Try& attempt) {
                     auto argument = test::make_named<struct stm_open>(
                         second(attempt), STM_OPEN_CREATE | STM_OPEN_EXCL | STM_OPEN_READ |
                                              STM_OPEN_WRITE | STM_OPEN_CLOEXEC);
                     argument.region_size = 100 * kPage;
                     argument.region_flags = kind.flags;
                     argument.mode = 0600;
                     return open_by(attempt, argument);
                 },
             .done =
                 [=](Try& attempt) {
                     attempt.expect(test::exists(second(attempt)), "no region");
                     attempt.expect(::pwrite(attempt.more[0].get(), "x", 1, 5000) == 1,
                                    "the new region cannot be written");
                     attempt.more[0].reset();
                     stm_unlink(second(attempt).c_str());
                 },
             .undone =
                 [](Try& attempt) {
                     attempt.expect(!test::exists(second(attempt)), "a region is left");
                 }});
    }
    for (const Kind& kind : kKinds) {
        const auto works = [](Try& attempt) {
            char byte = 0;
            attempt.expect(::pread(attempt.more[0].get(), &byte, 1, 0) == 1 && byte == 'a',
                           "the handle does not work");
        };
        add({.entry = "ioctl:STM_IOC_OPEN",
             .region = kind.name,
             .way = "by-name",
             .flags = kind.flags,
             .errors = kErrors,
             .act =
                 [](Try& attempt) {
                     auto argument = test::make_named<struct stm_open>(
                         attempt.name, STM_OPEN_READ | STM_OPEN_WRITE);
                     return open_by(attempt, argument);
                 },
             .done = works});
        add({.entry = "ioctl:STM_IOC_OPEN",
             .region = kind.name,
             .way = "by-id",
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = [](Try& attempt) { attempt.number = test::info_of(attempt.fd.get()).id; },
             .act =
                 [](Try& attempt) {
                     auto argument = test::make<struct stm_open>(STM_OPEN_READ | STM_OPEN_BY_ID);
                     argument.id = attempt.number;
                     return open_by(attempt, argument);
                 },
             .done = works});
    }
}

void add_descriptions() {
    add({.entry = "ioctl:STM_IOC_VERSION",
         .region = "any",
         .way = "ioctl",
         .flags = 0,
         .errors = kErrors,
         .act = [](Try& attempt) {
             auto version = test::make<struct stm_version>();
             return test::request(attempt.fd.get(), STM_IOC_VERSION, &version);
         }});
    struct By {
        const char* name;
        unsigned flags;
    };
    for (const By& by :
         {By{"by-handle", STM_BY_HANDLE}, By{"by-name", STM_BY_NAME}, By{"by-id", STM_BY_ID},
          By{"by-next", STM_BY_NEXT}, By{"by-next-id", STM_BY_NEXT_ID}}) {
        const auto number = [](Try& attempt) {
            attempt.number = test::info_of(attempt.fd.get()).id;
        };
        add({.entry = "ioctl:STM_IOC_INFO",
             .region = "any",
             .way = by.name,
             .flags = 0,
             .errors = kErrors,
             .prepare = number,
             .act = [=](Try& attempt) {
                 auto info = test::make_named<struct stm_info>(attempt.name, by.flags);
                 info.id = attempt.number;
                 return test::request(attempt.fd.get(), STM_IOC_INFO, &info);
             }});
        if (by.flags == STM_BY_NEXT || by.flags == STM_BY_NEXT_ID)
            continue;
        for (const Kind& kind : {kPlain, kTransactional})
            add({.entry = "ioctl:STM_IOC_ATTACHMENTS",
                 .region = kind.name,
                 .way = by.name,
                 .flags = kind.flags,
                 .errors = kErrors,
                 .prepare =
                     [=](Try& attempt) {
                         number(attempt);
                         attempt.map_all();
                     },
                 .act =
                     [=](Try& attempt) {
                         auto list =
                             test::make_named<struct stm_attachments>(attempt.name, by.flags);
                         list.id = attempt.number;
                         list.buffer = reinterpret_cast<std::uintptr_t>(attempt.buffer.data());
                         list.capacity = 100;
                         const int error =
                             test::request(attempt.fd.get(), STM_IOC_ATTACHMENTS, &list);
                         attempt.result = static_cast<int>(list.count);
                         return error;
                     },
                 .done =
                     [](Try& attempt) {
                         attempt.expect(attempt.result == 3, "not two handles and a mapping");
                     }});
    }
    add({.entry = "ioctl:STM_IOC_NAME_PLACE",
         .region = "transactional",
         .way = "by-handle",
         .flags = 0,
         .errors = {ENOMEM, EFAULT},
         .act =
             [](Try& attempt) {
                 auto place = test::make<struct stm_place>(0);
                 place.length = 64;
                 std::strcpy(place.name, "head");
                 return test::request(attempt.fd.get(), STM_IOC_NAME_PLACE, &place);
             },
         .done = [](Try&) {}});
    add({.entry = "ioctl:STM_IOC_DUMP",
         .region = "transactional",
         .way = "by-handle",
         .flags = 0,
         .errors = {},
         .act =
             [](Try& attempt) {
                 return ::ioctl(attempt.fd.get(), STM_IOC_DUMP, 1) == 0 ? 0 : errno;
             },
         .done = [](Try&) {}});
    add({.entry = "ioctl:STM_IOC_PLACES",
         .region = "transactional",
         .way = "by-handle",
         .flags = 0,
         .errors = {ENOMEM, EFAULT},
         .prepare =
             [](Try& attempt) {
                 auto place = test::make<struct stm_place>(0);
                 place.length = 64;
                 std::strcpy(place.name, "head");
                 (void)test::request(attempt.fd.get(), STM_IOC_NAME_PLACE, &place);
             },
         .act =
             [](Try& attempt) {
                 auto list = test::make<struct stm_places>(STM_BY_HANDLE);
                 list.buffer = reinterpret_cast<std::uintptr_t>(attempt.buffer.data());
                 list.capacity = 4;
                 const int error = test::request(attempt.fd.get(), STM_IOC_PLACES, &list);
                 attempt.result = static_cast<int>(list.count);
                 return error;
             },
         .done = [](Try& attempt) { attempt.expect(attempt.result == 1, "not one name"); }});
}

void add_destroys() {
    struct How {
        const char* name;
        unsigned flags;
    };
    for (const How& how :
         {How{"by-name", STM_BY_NAME}, How{"deferred", STM_BY_NAME | STM_DESTROY_DEFERRED},
          How{"by-handle", STM_BY_HANDLE}})
        add({.entry = "ioctl:STM_IOC_DESTROY",
             .region = "any",
             .way = how.name,
             .flags = 0,
             .errors = kErrors,
             .prepare =
                 [=](Try& attempt) {
                     attempt.more[0] = test::Fd(
                         stm_open(second(attempt).c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
                     attempt.expect(::pwrite(attempt.more[0].get(), "x", 1, 0) == 1,
                                    "no second region");
                     if ((how.flags & STM_BY_HANDLE) == 0 &&
                         (how.flags & STM_DESTROY_DEFERRED) == 0)
                         attempt.more[0].reset();
                 },
             .act =
                 [=](Try& attempt) {
                     auto argument =
                         test::make_named<struct stm_destroy>(second(attempt), how.flags);
                     const test::Fd& handle = attempt.more[0] ? attempt.more[0] : attempt.fd;
                     return test::request(handle.get(), STM_IOC_DESTROY, &argument);
                 },
             .done =
                 [](Try& attempt) {
                     attempt.expect(!test::exists(second(attempt)), "the region is there");
                 },
             .undone =
                 [](Try& attempt) {
                     attempt.expect(test::exists(second(attempt)), "the region is gone");
                 }});
}

[[maybe_unused]] const int added = (add_opens(), add_descriptions(), add_destroys(), 0);

} // namespace
} // namespace stm::sweep
