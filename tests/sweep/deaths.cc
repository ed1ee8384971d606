// SPDX-License-Identifier: GPL-2.0
// A process dies at its first, second, third, … step through the module (kernel/glue/death.c), in
// each way to change a region, until it gets through. After each death the region is as it was or
// as it was to be, nothing of the dead is left, and others go on.
#include "guest.hpp"
#include "pages.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <sys/ioctl.h>
#include <sys/prctl.h>

namespace stm::sweep {
namespace {

using test::kPage;

constexpr std::size_t kNumbers = 300; // one a stripe: more than a commit locks without the token
constexpr std::size_t kStripe = 64;
constexpr std::size_t kBytes = kNumbers * kStripe / kPage * kPage + kPage;
constexpr unsigned kMostPoints = 20000;

void set_parameter(const char* name, long value) {
    std::ofstream(std::string("/sys/module/stm/parameters/") + name) << value << std::flush;
}

long parameter(const char* name) {
    long value = 0;
    std::ifstream(std::string("/sys/module/stm/parameters/") + name) >> value;
    return value;
}

bool start(int fd, unsigned long how = 0) {
    return ::ioctl(fd, STM_IOC_START, how) > 0;
}
bool commit(int fd) {
    return ::ioctl(fd, STM_IOC_COMMIT, 0) == 0;
}

// The numbers of a region are equal in every state that anybody may see; each change adds one to
// all. Few of them, far apart, or so many that the commit needs the serial token.
constexpr std::size_t kFew[] = {0, 1, 64, 299};
std::vector<std::size_t> all_numbers() {
    std::vector<std::size_t> all(kNumbers);
    for (std::size_t i = 0; i < kNumbers; ++i)
        all[i] = i;
    return all;
}

// One call writes so many of them, as whole stripes.
constexpr std::size_t kBlock = 256;

enum class How { calls, mapped, vectors, block };

class Walk {
public:
    Walk(const char* kind, int flags, const std::string& way, How how, bool large)
        : kind_(kind), way_(way), name_(test::unique_name("deaths")), how_(how),
          numbers_(large ? all_numbers() : std::vector<std::size_t>(kFew, kFew + 4)),
          observer_(stm_open(name_.c_str(), kBytes, flags | STM_CREATE | STM_EXCL, 0600)) {
        if (how_ == How::block)
            numbers_.resize(kBlock);
        // Its context and the first pages are there: what the dead leave is counted.
        (void)add_one(observer_.get());
        handles_ = test::info_of(observer_.get()).handles;
    }
    ~Walk() {
        observer_.reset();
        stm_unlink_deferred(name_.c_str());
    }
    Walk(const Walk&) = delete;
    Walk& operator=(const Walk&) = delete;

    // 0 when all was well.
    int run(unsigned stride) {
        unsigned n = 1;
        for (; n < kMostPoints && problems_.empty(); n += 1 + n * stride / 100) {
            if (!die_at(n))
                break;
            points_ = n;
        }
        if (points_ < 20)
            problems_.push_back("so few steps: is it a module with STM_TEST_HOOKS?");
        std::printf("%-6s %4u deaths  %s %s\n", problems_.empty() ? "ok" : "FAILED", points_, kind_,
                    way_.c_str());
        for (const std::string& problem : problems_)
            std::printf("         %s\n", problem.c_str());
        std::fflush(stdout);
        return problems_.empty() ? 0 : 1;
    }
    [[nodiscard]] unsigned points() const { return points_; }

private:
    static off_t place(std::size_t number) { return static_cast<off_t>(number * kStripe); }

    // One transaction by calls.
    bool add_one(int fd) const {
        if (!start(fd))
            return false;
        for (std::size_t i = 0; i < numbers_.size(); ++i) {
            long value = 0;
            // Half of it as a nested part.
            if (i == numbers_.size() / 2 && !start(fd))
                return false;
            if (::pread(fd, &value, sizeof value, place(numbers_[i])) != sizeof value)
                return false;
            ++value;
            if (::pwrite(fd, &value, sizeof value, place(numbers_[i])) != sizeof value)
                return false;
        }
        return commit(fd) && commit(fd);
    }

    // One transaction by calls of several pieces, half of it as a nested part.
    bool add_one_by_vectors(int fd) const {
        std::vector<long> values(numbers_.size());
        std::vector<struct stm_vector_piece> pieces;
        for (std::size_t i = 0; i < numbers_.size(); ++i)
            pieces.push_back({static_cast<std::uint64_t>(place(numbers_[i])),
                              reinterpret_cast<std::uintptr_t>(&values[i]), sizeof values[i], 0});
        const auto access = [&](std::size_t first, std::size_t count, unsigned flags) {
            auto vector = test::make<struct stm_vector>(flags);
            vector.pieces = reinterpret_cast<std::uintptr_t>(&pieces[first]);
            vector.count = static_cast<unsigned>(count);
            return ::ioctl(fd, STM_IOC_VECTOR, &vector) == 0;
        };
        if (!start(fd) || !access(0, pieces.size(), 0))
            return false;
        for (std::size_t i = 0; i < numbers_.size(); ++i) {
            ++values[i];
            pieces[i].flags = STM_PIECE_WRITE;
        }
        const std::size_t half = pieces.size() / 2;
        return start(fd) && access(0, half, STM_VECTOR_COMMIT) &&
               access(half, pieces.size() - half, STM_VECTOR_COMMIT);
    }

    bool add_one_mapped(int fd) const {
        test::Mapping map(fd, kBytes);
        if (!map.ok())
            return false;
        // The first load is outside: the start has to take the page out.
        (void)*map.at<volatile long>(static_cast<std::size_t>(place(numbers_[0])));
        if (!start(fd))
            return false;
        for (const std::size_t number : numbers_) {
            auto* at = map.at<volatile long>(static_cast<std::size_t>(place(number)));
            *at = *at + 1;
        }
        return commit(fd);
    }

    // One write call. Nobody else changes them meanwhile.
    bool add_one_by_block(int fd) const {
        std::vector<char> bytes(kBlock * kStripe);
        if (::pread(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
            return false;
        for (std::size_t i = 0; i < kBlock; ++i) {
            long value = 0;
            std::memcpy(&value, &bytes[i * kStripe], sizeof value);
            ++value;
            std::memcpy(&bytes[i * kStripe], &value, sizeof value);
        }
        return ::pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
    }

    [[noreturn]] void victim(unsigned n) const {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        set_parameter("death_at", static_cast<long>(n));
        set_parameter("death_pid", ::getpid());
        bool went = false;
        {
            const test::Fd own(stm_open(name_.c_str(), 0, 0, 0));
            went = own && (how_ == How::mapped    ? add_one_mapped(own.get())
                           : how_ == How::vectors ? add_one_by_vectors(own.get())
                           : how_ == How::block   ? add_one_by_block(own.get())
                                                  : add_one(own.get()));
        }
        set_parameter("death_pid", 0);
        ::_exit(went ? 0 : 1);
    }

    // Whether it died; false: it got through, having come to fewer steps.
    bool die_at(unsigned n) {
        const long before = value(n);
        const pid_t pid = ::fork();
        if (pid == 0)
            victim(n);
        int status = 0;
        while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        set_parameter("death_pid", 0);
        const bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (!died && status != 0)
            wrong(n, "it ended with status " + std::to_string(status));
        const long after = value(n);
        if (after != before + 1 && !(died && after == before))
            wrong(n,
                  "the numbers were " + std::to_string(before) + ", are " + std::to_string(after));
        if (!died && parameter("death_at") <= 0)
            wrong(n, "it was killed and did not die");
        if (!add_one(observer_.get()) || value(n) != after + 1)
            wrong(n, std::string("others cannot go on: ") + std::strerror(errno));
        if (!test::eventually([&] {
                const auto info = test::info_of(observer_.get());
                return info.handles == handles_ && info.mappings == 0;
            }))
            wrong(n, "a handle or a mapping of the dead is left");
        return died;
    }

    // The number that is everywhere.
    long value(unsigned n) {
        std::vector<char> bytes(kBytes);
        if (::pread(observer_.get(), bytes.data(), kBytes, 0) != static_cast<ssize_t>(kBytes))
            wrong(n, std::string("the region cannot be read: ") + std::strerror(errno));
        const auto at = [&](std::size_t number) {
            long found = 0;
            std::memcpy(&found, bytes.data() + place(number), sizeof found);
            return found;
        };
        for (const std::size_t number : numbers_)
            if (at(number) != at(numbers_[0]))
                wrong(n, "half a transaction: number " + std::to_string(number) + " is " +
                             std::to_string(at(number)) + ", not " +
                             std::to_string(at(numbers_[0])));
        return at(numbers_[0]);
    }

    void wrong(unsigned n, const std::string& what) {
        problems_.push_back("death at step " + std::to_string(n) + ": " + what);
    }

    const char* kind_;
    std::string way_;
    std::string name_;
    How how_;
    std::vector<std::size_t> numbers_;
    test::Fd observer_;
    unsigned handles_ = 0;
    unsigned points_ = 0;
    std::vector<std::string> problems_;
};

// words: the walks wanted, as "transactional:mapped,large"; none: all.
int run(unsigned stride, const std::vector<std::string>& words) {
    const long pages = pages_of_module();
    unsigned passed = 0, failed = 0, deaths = 0;
    for (const auto& [kind, flags] :
         {std::pair{"transactional", 0}, std::pair{"mutex", STM_MUTEX}}) {
        for (const auto& [how, name] : {std::pair{How::calls, "calls"},
                                        {How::mapped, "mapped"},
                                        {How::vectors, "vectors"},
                                        {How::block, "block"}}) {
            for (const bool large : {false, true}) {
                // There is one size of a block.
                if (how == How::block && !large)
                    continue;
                // The large ones are long, and much alike: the quick form has two of the three.
                if (stride != 0 && how == How::vectors && large)
                    continue;
                const std::string way =
                    std::string(name) + (large && how != How::block ? ",large" : "");
                if (!words.empty() && std::find(words.begin(), words.end(),
                                                kind + std::string(":") + way) == words.end())
                    continue;
                Walk walk(kind, flags, way, how, large);
                // So many steps are alike, one stripe after the other.
                const int bad = walk.run(large ? stride + 10 : stride);
                failed += static_cast<unsigned>(bad);
                passed += 1 - static_cast<unsigned>(bad);
                deaths += walk.points();
            }
        }
    }
    if (const long now = pages_of_module(); now != pages) {
        std::printf("FAILED the module holds %ld pages, not %ld\n", now, pages);
        ++failed;
    } else {
        ++passed;
    }
    std::printf("%u steps at which somebody can die\n%u passed, %u failed\n", deaths, passed,
                failed);
    return failed == 0 && deaths != 0 ? 0 : 1;
}

} // namespace
} // namespace stm::sweep

int main(int argc, char** argv) {
    unsigned stride = 0;
    std::vector<std::string> words;
    for (int index = 1; index < argc; ++index) {
        const std::string word = argv[index];
        if (word == "--quick") {
            stride = 4;
        } else if (word.rfind("-", 0) == 0) {
            std::printf("usage: deaths [--quick] [WALK…]\n  in a guest with the kernel `debug` and "
                        "the module loaded: ci/sweep does it\n  --quick  leave out some steps\n"
                        "  WALK     transactional or mutex, ':', calls, mapped, vectors or block, "
                        "perhaps ',large'\n");
            return word == "--help" ? 0 : 2;
        } else {
            words.push_back(word);
        }
    }
    return stm::sweep::run(stride, words);
}
