// SPDX-License-Identifier: GPL-2.0
// Transactions of ten thousand pages beside thousands of small ones: neither kind keeps the other
// from its end, and both see one state.
#include "mapped.hpp"

#include <atomic>
#include <random>

using namespace stm::test;

namespace {

constexpr std::size_t kPages = 10'000;
constexpr std::size_t kMarks = 2048; // in each page: how often the long ones have passed
constexpr int kShort = 1000;         // of each process, at least
constexpr int kLong = 2;             // of each kind

struct Progress {
    std::atomic<bool> long_ones_done;
    std::atomic<int> short_ones;
    std::atomic<bool> gave_up;
};

class MappedLong : public Mapped {
protected:
    MappedLong() : Mapped(kPages * kPage), progress_(kPage) {}

    // Money goes from one page to another until the long ones are through.
    int transfer(unsigned seed, bool by_calls) {
        View view = another();
        std::mt19937 random(seed);
        const double end = seconds() + 180 * time_scale();
        for (int done = 0; done < kShort || !progress_->long_ones_done; ++done) {
            if (seconds() > end) {
                progress_->gave_up = true;
                return 0;
            }
            transfer_once(view, random() % kPages * kPage, random() % kPages * kPage, by_calls);
            ++progress_->short_ones;
        }
        return 0;
    }
    [[gnu::noinline]] static void transfer_once(const View& view, std::size_t from, std::size_t to,
                                                bool by_calls) {
        do {
            stm_start(view.fd());
            if (by_calls) {
                put(view.fd(), get(view.fd(), static_cast<off_t>(from)) - 1,
                    static_cast<off_t>(from));
                put(view.fd(), get(view.fd(), static_cast<off_t>(to)) + 1, static_cast<off_t>(to));
            } else {
                view[from] = view[from] - 1;
                view[to] = view[to] + 1;
            }
        } while (stm_commit(view.fd()) != 0);
    }
    // Loads from all pages. The attempts that it took.
    [[gnu::noinline]] int add_up() {
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            long sum = 0;
            for (std::size_t page = 0; page < kPages; ++page)
                sum += number(page * kPage);
            EXPECT_EQ(sum, 0) << "in attempt " << attempts;
        } while (stm_commit(fd()) != 0);
        return attempts;
    }
    // The same by calls.
    int add_up_by_calls() {
        std::vector<long> words(kPages * kPage / sizeof(long));
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            EXPECT_EQ(::pread(fd(), words.data(), kPages * kPage, 0),
                      static_cast<ssize_t>(kPages * kPage));
            long sum = 0;
            for (std::size_t page = 0; page < kPages; ++page)
                sum += words[page * kPage / sizeof(long)];
            EXPECT_EQ(sum, 0) << "in attempt " << attempts;
        } while (stm_commit(fd()) != 0);
        return attempts;
    }
    std::vector<Child> begin_transfers() {
        std::vector<Child> others;
        for (unsigned index = 0; index < 3; ++index)
            others.emplace_back([&, index] { return transfer(index + 1, index == 2); });
        EXPECT_TRUE(eventually([&] { return progress_->short_ones > 10; }));
        return others;
    }
    void end_transfers(std::vector<Child>& others) {
        progress_->long_ones_done = true;
        for (Child& child : others)
            EXPECT_EQ(child.wait(), 0);
        EXPECT_FALSE(progress_->gave_up) << "the short ones had to wait for too long";
    }
    // Stores to all pages.
    [[gnu::noinline]] int mark() {
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            for (std::size_t page = 0; page < kPages; ++page)
                number(page * kPage + kMarks) = number(page * kPage + kMarks) + 1;
        } while (stm_commit(fd()) != 0);
        return attempts;
    }

    // Shared by fork.
    class Shared {
    public:
        explicit Shared(std::size_t size)
            : size_(size), data_(::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
        ~Shared() { ::munmap(data_, size_); }
        Shared(const Shared&) = delete;
        Shared& operator=(const Shared&) = delete;
        Progress* operator->() const { return static_cast<Progress*>(data_); }

    private:
        std::size_t size_;
        void* data_;
    };
    Shared progress_;
};

TEST_F(MappedLong, OnesAndShortOnesBothFinish) {
    // A transaction that runs alone may take as long as it likes, also on a slow machine.
    Parameter lease("serial_lease_ms", "0");
    std::vector<Child> others = begin_transfers();
    for (int round = 0; round < kLong; ++round) {
        const int sums = add_up();
        const int marks = mark();
        std::printf("round %d: %d attempts to add up, %d to mark, %d short ones so far\n", round,
                    sums, marks, progress_->short_ones.load());
        std::fflush(stdout);
    }
    end_transfers(others);
    EXPECT_GE(progress_->short_ones, 3 * kShort);
    EXPECT_EQ(add_up(), 1);
    for (std::size_t page = 0; page < kPages; page += 97)
        EXPECT_EQ(number(page * kPage + kMarks), kLong) << "page " << page;
    const struct stm_statistics all = statistics(fd());
    EXPECT_LE(all.longest_streak, 24u);
}

// The first one may meet a conflict before its snapshot is fixed, and so may another one if a
// committer is not on its processor at that moment. Nothing is in the way of the others, and they
// are in nobody's way.
TEST_F(MappedLong, ReadersNeedOneAttemptOrTwo) {
    constexpr int kRounds = 4;
    std::vector<Child> others = begin_transfers();
    EXPECT_LE(add_up(), 4);
    int attempts = 0;
    for (int round = 0; round < kRounds; ++round)
        attempts += add_up();
    EXPECT_LE(attempts, 2 * kRounds);
    attempts = 0;
    for (int round = 0; round < kRounds; ++round)
        attempts += add_up_by_calls();
    EXPECT_LE(attempts, 2 * kRounds);
    auto own = make<struct stm_statistics>();
    own.flags = STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE;
    ASSERT_EQ(request(fd(), STM_IOC_STATISTICS, &own), 0);
    EXPECT_EQ(own.aborts[STM_REASON_SNAPSHOT_TOO_OLD], 0u);
    EXPECT_EQ(own.serial, 0u) << "it had to run alone";
    end_transfers(others);
}

// Where next to nothing is kept they end early, and again and again, until they run alone.
TEST_F(MappedLong, ReadersFinishWhereNothingCanBeKept) {
    Parameter lease("serial_lease_ms", "0");
    for (const char* const bytes : {"0", "9600"}) {
        SCOPED_TRACE(bytes);
        Parameter bound("max_old_bytes", bytes);
        progress_->long_ones_done = false;
        progress_->short_ones = 0;
        std::vector<Child> others = begin_transfers();
        EXPECT_LE(add_up(), 18);
        EXPECT_LE(add_up_by_calls(), 18);
        end_transfers(others);
    }
    EXPECT_NE(statistics(fd()).aborts[STM_REASON_SNAPSHOT_TOO_OLD], 0u);
}

} // namespace
