// SPDX-License-Identifier: GPL-2.0
// A list, a red-black tree and a hash table that several processes change and walk at random, some
// through ordinary pointers, some by calls, some by both in one transaction. No transaction, also
// none that is restarted or killed later, may ever see a structure that is not whole; and what all
// of them saw must have one serial order (tests/history).
//
// The seed of a run is printed; STM_TEST_SEED=N repeats its operations (not when they happen).
#include "../mapped.hpp"
#include "structures.hpp"
#include "tests/history/history_check.hpp"

#include <memory>
#include <random>
#include <span>

using namespace stm::test;

namespace {

constexpr std::size_t kMostJournals = 256;

// Shared by all processes of a test.
struct Record {
    std::atomic<std::uint32_t> next_attempt;
    std::atomic<bool> stop;
    Journal journals[kMostJournals];
};

unsigned seed_of_run() {
    static const unsigned seed = [] {
        const char* given = std::getenv("STM_TEST_SEED");
        const unsigned value = given != nullptr
                                   ? static_cast<unsigned>(std::strtoul(given, nullptr, 0))
                                   : std::random_device{}();
        std::printf("seed %u (STM_TEST_SEED=%u does the same operations)\n", value, value);
        return value;
    }();
    return seed;
}

// One process: a handle, and the mapping if its way needs one.
class Worker {
public:
    Worker(const std::string& region, Way way, Record& record, std::size_t journal)
        : fd_(stm_open(region.c_str(), 0, 0, 0)), record_(record),
          journal_(record.journals[journal]), access_(fd_.get(), way, journal_),
          structures_(access_) {
        if (way == Way::typed) {
            typed_ = stm_region_attach(fd_.get());
            EXPECT_NE(typed_, nullptr) << std::strerror(errno);
        }
        if (way != Way::pointers && way != Way::both)
            return;
        void* mapped = ::mmap(reinterpret_cast<void*>(kBase), kBytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_FIXED_NOREPLACE, fd_.get(), 0);
        mapped_ = mapped == reinterpret_cast<void*>(kBase);
        EXPECT_TRUE(mapped_) << std::strerror(errno);
    }
    ~Worker() {
        if (typed_ != nullptr)
            stm_region_close(typed_);
        if (mapped_)
            ::munmap(reinterpret_cast<void*>(kBase), kBytes);
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void set_up() {
        run([this] { structures_.set_up(); });
    }
    void check_all() {
        run([this] { structures_.check_all(); });
    }
    // False: something was seen that may not be.
    bool do_one(std::mt19937& random) {
        const long key = static_cast<long>(random() % kKeys);
        const Home first = home(random());
        const Home second = home(random());
        switch (random() % 10) {
        case 0:
        case 1:
        case 2:
            run([&] { structures_.insert(first, key); });
            break;
        case 3:
        case 4:
        case 5:
            run([&] { structures_.erase(first, key); });
            break;
        case 6:
        case 7:
            run([&] { structures_.move(first, second, key); });
            break;
        case 8:
            run([&] { structures_.check(first); });
            break;
        default:
            run([&] { structures_.check_all(); });
        }
        return !access_.failed();
    }
    [[nodiscard]] bool is_full() const { return journal_.is_full(); }

private:
    static Home home(unsigned random) {
        constexpr Home kHomes[] = {Home::list, Home::tree, Home::table};
        return kHomes[random % 3];
    }
    std::uint32_t new_attempt() { return record_.next_attempt.fetch_add(1) + 1; }

    template <typename Body>
    void run(const Body& body) {
        if (typed_ != nullptr)
            run_typed(body);
        else
            run_restarted(body);
    }
    template <typename Body>
    void run_typed(const Body& body) {
        announce();
        stm_tx* const transaction = stm_tx_begin(typed_, 0);
        ASSERT_NE(transaction, nullptr) << std::strerror(errno);
        access_.use(typed_, transaction);
        int result = 0;
        do {
            enter();
            try {
                body();
                journal_.committing();
            } catch (const Access::Left&) {
            }
            if (access_.failed()) {
                stm_tx_cancel(transaction);
                journal_.aborted();
                return;
            }
            result = stm_tx_commit(transaction);
        } while (result > 0);
        ASSERT_EQ(result, 0) << std::strerror(errno);
        journal_.committed();
    }
    template <typename Body>
    [[gnu::noinline]] void run_restarted(const Body& body) {
        for (;;) {
            announce();
            stm_start(fd_.get());
            enter();
            body();
            if (access_.failed()) {
                stm_cancel(fd_.get());
                journal_.aborted();
                return;
            }
            journal_.committing();
            if (access_.commit())
                break;
            journal_.aborted();
        }
        journal_.committed();
    }
    void announce() {
        id_ = new_attempt();
        journal_.announce(id_);
    }
    void enter() {
        const std::uint32_t fresh = new_attempt();
        if (journal_.entered(fresh))
            id_ = fresh;
        access_.begin(id_);
    }

    Fd fd_;
    Record& record_;
    Journal& journal_;
    Access access_;
    Structures structures_;
    std::uint32_t id_ = 0;
    bool mapped_ = false;
    stm_region* typed_ = nullptr;
};

class MappedStructures : public ::testing::Test {
protected:
    MappedStructures() : region_("structures", kBytes, kTransactional) {
        void* memory = ::mmap(nullptr, sizeof(Record), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        record_ = static_cast<Record*>(memory);
    }
    ~MappedStructures() override { ::munmap(record_, sizeof(Record)); }

    void SetUp() override {
        ASSERT_NE(static_cast<void*>(record_), MAP_FAILED);
        seed_ = seed_of_run();
        Child child = start([&](std::size_t journal) {
            Worker(region_.name(), Way::pointers, *record_, journal).set_up();
            return 0;
        });
        ASSERT_EQ(child.wait(), 0);
    }

    template <typename Body>
    Child start(const Body& body) {
        const std::size_t journal = journals_++;
        return Child([&body, journal] { return body(journal); });
    }
    // Ends after so many operations, or seconds, or when told.
    Child start_worker(Way way, unsigned operations, double most_seconds) {
        return start([=, this](std::size_t journal) {
            Worker worker(region_.name(), way, *record_, journal);
            std::mt19937 random(seed_ + static_cast<unsigned>(journal) * 7919);
            const double end = seconds() + most_seconds;
            for (unsigned done = 0; done < operations && seconds() < end; ++done)
                if (worker.is_full() || record_->stop || !worker.do_one(random))
                    break;
            return 0;
        });
    }
    // A last look from outside, and then all that was written down.
    void check() {
        Child child = start([&](std::size_t journal) {
            Worker(region_.name(), Way::pointers, *record_, journal).check_all();
            return 0;
        });
        EXPECT_EQ(child.wait(), 0);
        History history;
        std::size_t commits = 0;
        for (std::size_t index = 0; index < journals_; ++index) {
            const Journal& journal = record_->journals[index];
            if (journal.violation() != nullptr)
                ADD_FAILURE() << "seed " << seed_ << ", process " << index
                              << " saw: " << journal.violation();
            journal.add_to(history);
            commits += journal.commits();
        }
        const Verdict verdict = check_by_graph(history);
        EXPECT_TRUE(verdict.is_correct()) << "seed " << seed_ << ": " << verdict.why;
        std::printf("%zu attempts, %zu of them committed, of %zu processes\n",
                    history.attempts.size(), commits, journals_);
    }

    // Some are killed, again and again; then all that they saw is checked.
    void kill_workers(std::span<const Way> ways, unsigned operations, unsigned longest_us,
                      double most_seconds) {
        std::mt19937 random(seed_);
        std::vector<std::unique_ptr<Child>> workers;
        for (const Way way : ways)
            workers.push_back(std::make_unique<Child>(start_worker(way, operations, 60)));
        const double end = seconds() + most_seconds;
        for (int kills = 0; kills < 40 && seconds() < end; ++kills) {
            ::usleep(static_cast<useconds_t>(random() % longest_us));
            const std::size_t victim = random() % workers.size();
            workers[victim]->kill(SIGKILL);
            const int status = workers[victim]->wait();
            // If it was not killed, it had done enough, or saw something.
            EXPECT_TRUE(status == 128 + SIGKILL || status == 0) << status;
            workers[victim] = std::make_unique<Child>(start_worker(ways[victim], operations, 60));
        }
        record_->stop = true;
        for (const auto& worker : workers)
            EXPECT_EQ(worker->wait(), 0);
        check();
        EXPECT_EQ(info_of(region_.fd()).handles, 1u);
        EXPECT_EQ(info_of(region_.fd()).mappings, 0u);
    }

    Region region_;
    Record* record_ = nullptr;
    std::size_t journals_ = 0;
    unsigned seed_ = 0;
};

constexpr Way kMixed[] = {Way::pointers, Way::calls,    Way::typed,
                          Way::both,     Way::pointers, Way::vectors};
constexpr Way kTyped[] = {Way::typed, Way::typed, Way::typed};

TEST_F(MappedStructures, AreWholeInEveryTransactionAndSerialInAll) {
    std::vector<Child> workers;
    for (const Way way : kMixed)
        workers.push_back(start_worker(way, 500, 25));
    for (Child& worker : workers)
        EXPECT_EQ(worker.wait(), 0);
    for (std::size_t worker = 1; worker < journals_; ++worker)
        EXPECT_GT(record_->journals[worker].commits(), 0u);
    check();
}

TEST_F(MappedStructures, AreWholeWhileProcessesAreKilled) {
    kill_workers(kMixed, 100'000, 150'000, 6);
}

TEST_F(MappedStructures, AreWholeWhileProcessesOfTypedTransactionsAreKilled) {
    kill_workers(kTyped, 200, 30'000, 1); // they are quick: little is enough
}

} // namespace
