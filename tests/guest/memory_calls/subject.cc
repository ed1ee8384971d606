// SPDX-License-Identifier: GPL-2.0
#include "subject.hpp"

#include <algorithm>
#include <fcntl.h>

namespace stm::test {

const char* name_of(Kind kind) {
    constexpr std::array kNames{"memfd", "plain", "outside", "inside"};
    return kNames[static_cast<std::size_t>(kind)];
}

namespace {

constexpr long kFirstValue = 100; // what a page holds that nobody has changed
constexpr long kStored = 1000;    // what a transaction adds

Fd opened(Kind kind, const std::string& name) {
    if (kind == Kind::memfd) {
        Fd fd(::memfd_create("memory-calls", MFD_CLOEXEC));
        if (::ftruncate(fd.get(), Subject::kBytes) != 0)
            fd.reset();
        return fd;
    }
    const int flags = STM_CREATE | STM_EPHEMERAL | (kind == Kind::plain ? STM_PLAIN : 0);
    return Fd(stm_open(name.c_str(), Subject::kBytes, flags, 0600));
}

struct Pipe {
    Pipe() {
        int both[2];
        if (::pipe2(both, O_CLOEXEC) != 0)
            return;
        out = Fd(both[0]);
        in = Fd(both[1]);
    }
    Fd out, in;
};

} // namespace

Subject::Subject(Kind kind)
    : kind_(kind), name_(unique_name("memory-calls")), fd_(opened(kind, name_)) {
    void* const memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (memory == MAP_FAILED)
        std::abort();
    all_are_now_at(memory);
    for (std::size_t number = 0; number < kPages; ++number) {
        values_[number] = kFirstValue + static_cast<long>(number);
        if (::pwrite(fd(), &values_[number], sizeof(long), static_cast<off_t>(number * kPage)) !=
            static_cast<ssize_t>(sizeof(long)))
            std::abort();
        // The page is in the page table, as it would be in a program that uses it.
        if (load(page(number)) != values_[number])
            std::abort();
    }
}

Subject::~Subject() = default; // the process ends with it, and the mapping with that

Fd Subject::another() const {
    if (kind_ == Kind::memfd)
        return Fd(::open(("/proc/self/fd/" + std::to_string(fd())).c_str(), O_RDWR | O_CLOEXEC));
    return Fd(stm_open(name_.c_str(), 0, 0, 0));
}

void Subject::store_all() {
    for (std::size_t number = 0; number < kPages; ++number) {
        if (page(number) == nullptr)
            continue;
        values_[number] += kStored;
        *reinterpret_cast<volatile long*>(page(number)) = values_[number];
    }
}

void Subject::all_are_now_at(void* address) {
    for (std::size_t number = 0; number < kPages; ++number)
        is_now_at(number,
                  address == nullptr ? nullptr : static_cast<char*>(address) + number * kPage);
}

std::string Subject::changes() const {
    std::array<std::string, kPages> found;
    for (std::size_t number = 0; number < kPages; ++number) {
        if (page(number) == nullptr)
            continue;
        const std::optional<long> loaded = load(page(number));
        if (!loaded)
            found[number] = "gone";
        else if (*loaded != value(number))
            found[number] = "now " + std::to_string(*loaded);
        const bool stored = store(page(number) + kPage - sizeof(long), 1);
        if (loaded && stored != (kind_ != Kind::transactional))
            found[number] += stored ? "TAKES STORES" : "takes no store";
    }
    if (std::all_of(found.begin(), found.end(), [&](auto& what) { return what == found[0]; }))
        return found[0].empty() ? "" : ", each page: " + found[0];
    std::string all;
    for (std::size_t number = 0; number < kPages; ++number)
        if (!found[number].empty())
            all += ", page " + std::to_string(number) + ": " + found[number];
    return all;
}

std::string Subject::changes_for_others() const {
    const Fd other = another();
    for (std::size_t number = 0; number < kPages; ++number) {
        long found = 0;
        if (::pread(other.get(), &found, sizeof found, static_cast<off_t>(number * kPage)) !=
            static_cast<ssize_t>(sizeof found))
            return ", others read nothing";
        if (found != value(number))
            return ", others read " + std::to_string(found) + " in page " + std::to_string(number);
    }
    return "";
}

namespace {

// One pipe for all of a process, empty between two uses: each costs much in an emulated guest.
const Pipe& own_pipe() {
    static const Pipe pipe;
    return pipe;
}

} // namespace

std::optional<long> load(const void* from) {
    const Pipe& pipe = own_pipe();
    long value = 0;
    if (::write(pipe.in.get(), from, sizeof value) != static_cast<ssize_t>(sizeof value) ||
        ::read(pipe.out.get(), &value, sizeof value) != static_cast<ssize_t>(sizeof value))
        return std::nullopt;
    return value;
}

bool store(void* to, long value) {
    const Pipe& pipe = own_pipe();
    if (::write(pipe.in.get(), &value, sizeof value) != static_cast<ssize_t>(sizeof value))
        return false;
    if (::read(pipe.out.get(), to, sizeof value) == static_cast<ssize_t>(sizeof value))
        return true;
    (void)!::read(pipe.out.get(), &value, sizeof value);
    return false;
}

std::string said(long result) {
    return result < 0 ? ::strerrorname_np(errno) : std::to_string(result);
}

std::string in_child(const std::function<std::string()>& body) {
    Pipe pipe;
    const pid_t child = ::fork();
    if (child == 0) {
        const std::string words = body();
        ::_exit(::write(pipe.in.get(), words.data(), words.size()) < 0 ? 1 : 0);
    }
    pipe.in.reset();
    std::string words;
    std::array<char, 256> buffer{};
    for (ssize_t bytes = 0; (bytes = ::read(pipe.out.get(), buffer.data(), buffer.size())) > 0;)
        words.append(buffer.data(), static_cast<std::size_t>(bytes));
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        words += WTERMSIG(status) == SIGALRM
                     ? "does not return"
                     : std::string("SIG") + ::sigabbrev_np(WTERMSIG(status));
    return words;
}

} // namespace stm::test
