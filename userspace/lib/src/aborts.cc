// SPDX-License-Identifier: LGPL-2.1-or-later
#include "aborts.hpp"

#include "runtime/protocol/abort_reason.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace stm::library {

constinit unsigned aborts_to_report = 0;

namespace {

constinit char report_file[PATH_MAX] = "";

/** The most frequent values, nearly: a rare one gives way to a new one. */
class Ranking {
public:
    struct Entry {
        std::uint64_t value;
        unsigned count;
    };

    void clear() { *this = Ranking(); }
    void add(std::uint64_t value) {
        ++total_;
        Entry* rarest = &entries_[0];
        for (Entry& entry : entries_) {
            if (entry.count != 0 && entry.value == value) {
                ++entry.count;
                return;
            }
            if (entry.count < rarest->count)
                rarest = &entry;
        }
        *rarest = {value, 1};
    }
    [[nodiscard]] unsigned total() const { return total_; }
    /** Calls function(entry) for each, the most frequent first. */
    template <typename Function>
    void for_each(Function function) const {
        bool done[kEntries] = {};
        for (unsigned round = 0; round < kEntries; ++round) {
            unsigned best = kEntries;
            for (unsigned i = 0; i < kEntries; ++i)
                if (!done[i] && entries_[i].count != 0 &&
                    (best == kEntries || entries_[i].count > entries_[best].count))
                    best = i;
            if (best == kEntries)
                return;
            done[best] = true;
            function(entries_[best]);
        }
    }

private:
    static constexpr unsigned kEntries = 8;
    Entry entries_[kEntries] = {};
    unsigned total_ = 0;
};

/** A report while it is written. What does not fit is left out. */
class Text {
public:
    void clear() { length_ = 0; }
    [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
        std::va_list arguments;
        va_start(arguments, format);
        const int added =
            std::vsnprintf(bytes_ + length_, sizeof bytes_ - length_, format, arguments);
        va_end(arguments);
        if (added > 0)
            length_ = std::min(length_ + static_cast<std::size_t>(added), sizeof bytes_ - 1);
    }
    /** In one call, so that reports of several processes do not mix. */
    void write_to(int fd) const {
        [[maybe_unused]] const ssize_t written = ::write(fd, bytes_, length_);
    }

private:
    char bytes_[6144];
    std::size_t length_ = 0;
};

/** The conflicts of the thread's transaction since its last commit. */
struct History {
    int fd;
    unsigned count;
    unsigned next_report;
    Ranking reasons;
    Ranking places;
    Ranking committers;
    Text text;
    struct stm_places names;
    struct stm_place name[STM_MAX_PLACES];
};

[[gnu::tls_model("initial-exec")]] constinit thread_local History* this_thread = nullptr;

History* current_or_new() {
    if (this_thread == nullptr) {
        void* const memory = ::mmap(nullptr, sizeof(History), PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        this_thread = memory == MAP_FAILED ? nullptr : static_cast<History*>(memory);
    }
    return this_thread;
}

// ---- words -------------------------------------------------------------------------------------

// Without the end of its line. Empty: there is none.
template <std::size_t kSize>
void read_line(const char* path, char (&line)[kSize]) {
    line[0] = '\0';
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    const ssize_t length = ::read(fd, line, kSize - 1);
    ::close(fd);
    line[std::max<ssize_t>(length, 0)] = '\0';
    line[std::strcspn(line, "\n")] = '\0';
}

void add_thread(Text& text, std::uint64_t id) {
    if (id == 0) {
        text.add("one that is not known");
        return;
    }
    char path[64];
    char name[32];
    std::snprintf(path, sizeof path, "/proc/%u/comm", static_cast<unsigned>(id));
    read_line(path, name);
    text.add("%u", static_cast<unsigned>(id));
    if (id == static_cast<std::uint64_t>(::gettid()))
        text.add(" (this thread)");
    else if (name[0] != '\0')
        text.add(" (%s)", name);
}

void read_names(History& history, int fd) {
    history.names = {};
    history.names.size = sizeof history.names;
    history.names.flags = STM_BY_HANDLE;
    history.names.buffer = reinterpret_cast<std::uintptr_t>(history.name);
    history.names.capacity = STM_MAX_PLACES;
    if (::ioctl(fd, STM_IOC_PLACES, &history.names) < 0)
        history.names.count = 0;
}

// As the shortest part is called that it lies in.
void add_place(History& history, std::uint64_t place) {
    const struct stm_place* best = nullptr;
    for (unsigned i = 0; i < std::min<unsigned>(history.names.count, STM_MAX_PLACES); ++i) {
        const struct stm_place& one = history.name[i];
        // A place is a whole stripe.
        const bool holds = one.offset < place + 64 && place < one.offset + one.length;
        if (holds && (best == nullptr || one.length < best->length))
            best = &one;
    }
    if (best == nullptr)
        history.text.add("byte %llu", static_cast<unsigned long long>(place));
    else if (best->offset >= place)
        history.text.add("%s", best->name);
    else
        history.text.add("%s+%llu", best->name,
                         static_cast<unsigned long long>(place - best->offset));
}

void add_region(Text& text, int fd) {
    struct stm_info info {};
    info.size = sizeof info;
    info.flags = STM_BY_HANDLE;
    if (::ioctl(fd, STM_IOC_INFO, &info) == 0)
        text.add("'%s'", info.name);
    else
        text.add("of descriptor %d", fd);
}

template <typename Add>
void add_ranking(Text& text, const char* title, const Ranking& ranking, Add add) {
    if (ranking.total() == 0)
        return;
    text.add("stm:   %s", title);
    const char* between = "";
    ranking.for_each([&](const Ranking::Entry& entry) {
        text.add("%s%u at ", between, entry.count);
        add(entry.value);
        between = ", ";
    });
    text.add("\n");
}

// ---- where in the program ----------------------------------------------------------------------

// The object that an address of code lies in, or null. Signal handlers may call it, unlike
// dladdr().
const struct link_map* object_of(std::uint64_t address) {
    struct dl_find_object object {};
    const bool found = _dl_find_object(reinterpret_cast<void*>(address), &object) == 0;
    return found ? object.dlfo_link_map : nullptr;
}

const char* file_of(const struct link_map& object, char (&program)[PATH_MAX]) {
    if (object.l_name != nullptr && object.l_name[0] != '\0')
        return object.l_name;
    const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program - 1);
    program[std::max<ssize_t>(length, 0)] = '\0';
    return program;
}

// The calls that led here, from the first one that is not the library's on, as the command that
// makes lines of them: one for each file.
void add_lines(Text& text, std::uint64_t site) {
    constexpr int kFrames = 24;
    constexpr int kShown = 8;
    void* frames[kFrames];
    int count = 1;
    if (site != 0)
        frames[0] = reinterpret_cast<void*>(site);
    else
        count = ::backtrace(frames, kFrames);

    // A program that is linked to the static library shows the library's functions, too.
    const struct link_map* own = object_of(reinterpret_cast<std::uintptr_t>(&note_conflict));
    if (own != nullptr && (own->l_name == nullptr || own->l_name[0] == '\0'))
        own = nullptr;
    const struct link_map* before = nullptr;
    char program[PATH_MAX];
    for (int i = 0, shown = 0; i < count && shown < kShown; ++i) {
        // The call itself, which lies before where it returns to.
        const std::uint64_t address = reinterpret_cast<std::uintptr_t>(frames[i]) - 1;
        const struct link_map* const object = object_of(address);
        if (object == nullptr || object == own)
            continue;
        if (object != before)
            text.add("%sstm:   lines: addr2line -ifpCe '%s'", before == nullptr ? "" : "\n",
                     file_of(*object, program));
        before = object;
        text.add(" %#llx", static_cast<unsigned long long>(address - object->l_addr));
        ++shown;
    }
    if (before != nullptr)
        text.add("\n");
}

// ---- the report --------------------------------------------------------------------------------

void report(History& history, const Conflict& conflict) {
    Text& text = history.text;
    char name[32];
    read_line("/proc/self/comm", name);
    text.clear();
    text.add("stm: %d (%s), thread %d: a transaction has been aborted %u times in a row\n",
             ::getpid(), name, ::gettid(), history.count);
    text.add("stm:   region: ");
    add_region(text, conflict.fd);
    text.add("\n");
    text.add("stm:   why: ");
    const char* between = "";
    history.reasons.for_each([&](const Ranking::Entry& entry) {
        text.add("%s%u times: %s", between, entry.count,
                 stm_reason_text(static_cast<int>(entry.value)));
        between = "; ";
    });
    text.add("\n");
    read_names(history, conflict.fd);
    add_ranking(text, "where: ", history.places,
                [&](std::uint64_t place) { add_place(history, place); });
    if (history.committers.total() != 0) {
        text.add("stm:   the last commit before was by: ");
        between = "";
        history.committers.for_each([&](const Ranking::Entry& entry) {
            text.add("%s%u times ", between, entry.count);
            add_thread(text, entry.value);
            between = ", ";
        });
        text.add("\n");
    }
    add_lines(text, conflict.site);
    if (report_file[0] == '\0') {
        text.write_to(STDERR_FILENO);
        return;
    }
    const int fd = ::open(report_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    text.write_to(fd);
    ::close(fd);
}

std::uint64_t last_committer(int fd) {
    struct stm_statistics statistics {};
    statistics.size = sizeof statistics;
    statistics.flags = STM_BY_HANDLE;
    if (::ioctl(fd, STM_IOC_STATISTICS, &statistics) < 0)
        return 0;
    return static_cast<std::uint64_t>(statistics.last_committer_pid);
}

[[gnu::constructor]] void look_at_environment() {
    const char* const wanted = ::secure_getenv("STM_REPORT_ABORTS");
    if (wanted == nullptr)
        return;
    const unsigned long number = std::strtoul(wanted, nullptr, 10);
    const char* const file = ::secure_getenv("STM_REPORT_FILE");
    if (file != nullptr && std::strlen(file) < sizeof report_file)
        std::strcpy(report_file, file);
    // Its first call loads a library, which it must not do in the middle of something.
    void* frame = nullptr;
    ::backtrace(&frame, 1);
    aborts_to_report = static_cast<unsigned>(std::min(number, 1'000'000'000UL));
}

} // namespace

void note_conflict(const Conflict& conflict) {
    const int error = errno;
    History* const history = current_or_new();
    if (history != nullptr) {
        if (conflict.row <= 1 || history->fd != conflict.fd || history->count == 0) {
            history->fd = conflict.fd;
            history->count = 0;
            history->next_report = aborts_to_report;
            history->reasons.clear();
            history->places.clear();
            history->committers.clear();
        }
        ++history->count;
        history->reasons.add(static_cast<std::uint64_t>(conflict.reason));
        if (conflict.has_place)
            history->places.add(conflict.place);
        history->committers.add(last_committer(conflict.fd));
        // Again when it has become twice as many: the log stays short.
        if (history->count >= history->next_report) {
            history->next_report = 2 * history->count;
            report(*history, conflict);
        }
    }
    errno = error;
}

void note_abort(int fd, unsigned row, std::uint64_t site) {
    const int error = errno;
    struct stm_transaction now {};
    now.size = sizeof now;
    if (::ioctl(fd, STM_IOC_TRANSACTION, &now) == 0) {
        const unsigned reason = now.depth != 0 ? now.doom : now.last_reason;
        if (protocol::is_conflict(static_cast<protocol::AbortReason>(reason)))
            note_conflict({fd, static_cast<int>(reason), now.has_place != 0, now.place, row, site});
    }
    errno = error;
}

void forget_conflicts() {
    if (this_thread != nullptr)
        ::munmap(this_thread, sizeof(History));
    this_thread = nullptr;
}

} // namespace stm::library
