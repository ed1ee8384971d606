// SPDX-License-Identifier: GPL-2.0
// Calls by which a program, a checkpoint or a debugger watches memory: mincore(),
// /proc/self/pagemap, soft-dirty bits, userfaultfd.
#include "rows.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace stm::test {

namespace {

std::string resident(Subject& subject) {
    std::array<unsigned char, Subject::kPages> pages{};
    const long result = ::mincore(subject.page(), Subject::kBytes, pages.data());
    int there = 0;
    for (unsigned char page : pages)
        there += page & 1;
    return said(result) + ", " + std::to_string(there) + " pages";
}

// -- /proc/self/pagemap --

constexpr std::uint64_t kPresent = 1ULL << 63;
constexpr std::uint64_t kSoftDirty = 1ULL << 55;

int pages_with(const Subject& subject, std::uint64_t bit) {
    const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    int found = 0;
    for (std::size_t number = 0; number < Subject::kPages; ++number) {
        std::uint64_t entry = 0;
        const auto page = reinterpret_cast<std::uintptr_t>(subject.page(number)) / kPage;
        if (::pread(pagemap.get(), &entry, sizeof entry, static_cast<off_t>(page * sizeof entry)) ==
            sizeof entry)
            found += (entry & bit) != 0 ? 1 : 0;
    }
    return found;
}

std::string cleared(const char* what) {
    const Fd clear(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
    return ::write(clear.get(), what, 1) == 1 ? "0" : said(-1);
}

std::string soft_dirty(Subject& subject) {
    const std::string result = cleared("4");
    const int before = pages_with(subject, kSoftDirty);
    (void)store(subject.word(1), 0);
    return result + ", dirty pages: " + std::to_string(before) +
           ", after a store: " + std::to_string(pages_with(subject, kSoftDirty));
}

// Since Linux 6.7; the system's headers may be older.
struct Scan {
    std::uint64_t size = sizeof(Scan);
    std::uint64_t flags = 0;
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t walk_end = 0;
    std::uint64_t ranges = 0;
    std::uint64_t range_count = 0;
    std::uint64_t max_pages = 0;
    std::uint64_t category_inverted = 0;
    std::uint64_t category_mask = 0;
    std::uint64_t category_anyof_mask = 0;
    std::uint64_t return_mask = 0;
};
struct ScannedRange {
    std::uint64_t start, end, categories;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, Scan);

struct Category {
    std::uint64_t bit;
    const char* name;
};
constexpr Category kCategories[] = {
    {1 << 1, "written"}, {1 << 2, "file"}, {1 << 3, "present"}, {1 << 4, "swapped"}};

std::string scan(Subject& subject) {
    std::array<ScannedRange, Subject::kPages> ranges{};
    Scan argument;
    argument.start = reinterpret_cast<std::uintptr_t>(subject.page());
    argument.end = argument.start + Subject::kBytes;
    argument.ranges = reinterpret_cast<std::uintptr_t>(ranges.data());
    argument.range_count = ranges.size();
    for (const Category& category : kCategories)
        argument.return_mask |= category.bit;
    const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    const int found = ::ioctl(pagemap.get(), kPagemapScan, &argument);
    if (found < 0)
        return said(found);
    std::string text = "ok";
    for (int number = 0; number < found; ++number) {
        const ScannedRange& range = ranges[static_cast<std::size_t>(number)];
        text += ", " + std::to_string((range.end - range.start) / kPage) + " pages";
        for (const Category& category : kCategories)
            if ((range.categories & category.bit) != 0)
                text += std::string(" ") + category.name;
    }
    return text;
}

// -- userfaultfd --

constexpr std::uint64_t kUnpopulated = 1ULL << 13;
constexpr std::uint64_t kAsynchronous = 1ULL << 15;

struct Mode {
    const char* name;
    std::uint64_t mode;
    std::uint64_t features;
};
constexpr Mode kModes[] = {
    {"missing", UFFDIO_REGISTER_MODE_MISSING, 0},
    {"minor", UFFDIO_REGISTER_MODE_MINOR, UFFD_FEATURE_MINOR_SHMEM},
    {"write-protect", UFFDIO_REGISTER_MODE_WP, UFFD_FEATURE_PAGEFAULT_FLAG_WP},
    {"write-protect, asynchronous", UFFDIO_REGISTER_MODE_WP, kUnpopulated | kAsynchronous},
};

std::string registered(Subject& subject, const Mode& mode) {
    const Fd watcher(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    if (!watcher)
        return "userfaultfd: " + said(-1);
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = mode.features;
    if (::ioctl(watcher.get(), UFFDIO_API, &api) != 0)
        return "UFFDIO_API: " + said(-1);
    const uffdio_range range{reinterpret_cast<std::uintptr_t>(subject.page()), Subject::kBytes};
    uffdio_register request{};
    request.range = range;
    request.mode = mode.mode;
    const std::string result = said(::ioctl(watcher.get(), UFFDIO_REGISTER, &request));
    // Only the asynchronous way lets a store through that nobody answers.
    if (result != "0" || (mode.features & kAsynchronous) == 0)
        return result;
    uffdio_writeprotect protection{range, UFFDIO_WRITEPROTECT_MODE_WP};
    const std::string protect = said(::ioctl(watcher.get(), UFFDIO_WRITEPROTECT, &protection));
    return result + ", UFFDIO_WRITEPROTECT: " + protect +
           (store(subject.word(), 0) ? ", takes stores" : ", takes no store");
}

} // namespace

Rows watching_rows() {
    Rows rows{
        {"mincore", resident},
        {"/proc/self/pagemap",
         [](Subject& s) { return std::to_string(pages_with(s, kPresent)) + " pages present"; }},
        {"/proc/self/clear_refs, accessed bits", [](Subject&) { return cleared("1"); }},
        {"/proc/self/clear_refs, soft-dirty bits", soft_dirty},
        {"PAGEMAP_SCAN", scan},
    };
    for (const Mode& mode : kModes)
        rows.push_back({std::string("UFFDIO_REGISTER, ") + mode.name,
                        [mode](Subject& subject) { return registered(subject, mode); }});
    return rows;
}

} // namespace stm::test
