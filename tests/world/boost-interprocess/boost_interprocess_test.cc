// SPDX-License-Identifier: GPL-2.0
// Boost.Interprocess in a plain region, and beside it in a memfd: containers, allocators and what
// processes synchronise with, by processes that have the memory at different addresses.
//
// What Boost promises when a process is killed is little: its mutexes are not robust. One that a
// killed process held stays locked, and what it was changing may be half changed. If the process
// held none, all others go on. The tests here hold both kinds of memory to that.
#include "guest.hpp"

#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/allocators/adaptive_pool.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/allocators/cached_adaptive_pool.hpp>
#include <boost/interprocess/allocators/cached_node_allocator.hpp>
#include <boost/interprocess/allocators/node_allocator.hpp>
#include <boost/interprocess/allocators/private_adaptive_pool.hpp>
#include <boost/interprocess/allocators/private_node_allocator.hpp>
#include <boost/interprocess/containers/deque.hpp>
#include <boost/interprocess/containers/list.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/set.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/containers/vector.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_recursive_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/interprocess_upgradable_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/interprocess/sync/sharable_lock.hpp>
#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace stm::world {
namespace {

namespace ip = boost::interprocess;
using test::Child;
using test::Fd;
using test::Mapping;
using test::Region;

constexpr std::size_t kBytes = std::size_t{4} << 20;

// Boost's name has no lock of its own; this one may be used by several processes at once.
using Buffer =
    ip::basic_managed_external_buffer<char, ip::rbtree_best_fit<ip::mutex_family>, ip::iset_index>;
using Segment = Buffer::segment_manager;
template <typename T>
using Allocator = ip::allocator<T, Segment>;
using String = ip::basic_string<char, std::char_traits<char>, Allocator<char>>;
using Vector = ip::vector<String, Allocator<String>>;
using Deque = ip::deque<int, Allocator<int>>;
using Map = ip::map<int, String, std::less<>, Allocator<std::pair<const int, String>>>;

// 0.5 s, 10 s and so on from now, as Boost wants it.
boost::posix_time::ptime in_milliseconds(long milliseconds) {
    return boost::posix_time::microsec_clock::universal_time() +
           boost::posix_time::milliseconds(milliseconds);
}

// What a process has: the memory at an address that no other process has it at, and what is in it.
struct View {
    View(int fd, int number)
        : mapping(fd, kBytes, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_FIXED_NOREPLACE,
                  reinterpret_cast<void*>(0x4000'0000'0000 +
                                          std::uintptr_t{0x1'1000'0000} * unsigned(number))) {}
    Mapping mapping;
};
struct OpenView : View {
    OpenView(int fd, int number)
        : View(fd, number), buffer(ip::open_only, mapping.data(), kBytes) {}
    Buffer buffer;
};

enum class Kind { region, memfd };

class BoostInterprocess : public testing::TestWithParam<Kind> {
protected:
    void SetUp() override { make_memory(); }

    void make_memory() {
        owner_.reset();
        region_.reset();
        if (GetParam() == Kind::region) {
            region_ = std::make_unique<Region>("boost", kBytes);
        } else {
            memfd_ = Fd(::memfd_create("boost", MFD_CLOEXEC));
            ASSERT_EQ(::ftruncate(memfd_.get(), kBytes), 0);
        }
        owner_ = std::make_unique<View>(fd(), 0);
        ASSERT_TRUE(owner_->mapping.ok());
        const Buffer made(ip::create_only, owner_->mapping.data(), kBytes);
    }
    [[nodiscard]] int fd() const { return region_ ? region_->fd() : memfd_.get(); }
    Buffer buffer() { return {ip::open_only, owner_->mapping.data(), kBytes}; }

    // Runs the function in a process of its own, with the memory at another address.
    Child process(int number, const std::function<void(Buffer&)>& body) {
        return Child::doing([this, number, body] {
            OpenView view(fd(), number);
            body(view.buffer);
        });
    }
    void run(int number, const std::function<void(Buffer&)>& body) {
        ASSERT_EQ(process(number, body).wait(), 0);
    }
    // As many processes at once.
    void run_all(int processes, const std::function<void(Buffer&, int)>& body) {
        std::vector<Child> children;
        for (int number = 1; number <= processes; ++number)
            children.push_back(process(number, [&](Buffer& buffer) { body(buffer, number); }));
        for (Child& child : children)
            EXPECT_EQ(child.wait(), 0);
    }

private:
    std::unique_ptr<Region> region_;
    Fd memfd_;
    std::unique_ptr<View> owner_;
};

std::string text_of(std::minstd_rand& random) {
    return std::string(random() % 100, static_cast<char>('a' + random() % 26));
}

// -- Containers --

TEST_P(BoostInterprocess, ContainersHoldWhatProcessesPutThereInTurns) {
    std::vector<std::string> vector;
    std::deque<int> deque;
    std::map<int, std::string> map;
    std::minstd_rand random(7);
    for (int turn = 1; turn <= 20; ++turn) {
        const unsigned seed = static_cast<unsigned>(random());
        // The same to both, by the same numbers: Boost's in another process, the standard's here.
        const auto change = [seed](auto& a_vector, auto& a_deque, auto& a_map, auto&& make) {
            std::minstd_rand numbers(seed);
            for (int step = 0; step < 100; ++step) {
                const auto what = numbers() % 6;
                if (what == 0 || a_vector.empty())
                    a_vector.push_back(make(text_of(numbers)));
                else if (what == 1)
                    a_vector.erase(a_vector.begin() +
                                   static_cast<std::ptrdiff_t>(numbers() % a_vector.size()));
                else if (what == 2)
                    a_vector[numbers() % a_vector.size()].append("more");
                else if (what == 3)
                    a_deque.push_front(static_cast<int>(numbers()));
                else if (what == 4)
                    a_map.insert_or_assign(static_cast<int>(numbers() % 50),
                                           make(text_of(numbers)));
                else
                    a_map.erase(static_cast<int>(numbers() % 50));
            }
        };
        change(vector, deque, map, [](const std::string& text) { return text; });
        run(turn, [&](Buffer& buffer) {
            Segment* segment = buffer.get_segment_manager();
            change(*buffer.find_or_construct<Vector>("vector")(segment),
                   *buffer.find_or_construct<Deque>("deque")(segment),
                   *buffer.find_or_construct<Map>("map")(std::less<>(), segment),
                   [&](const std::string& text) { return String(text.c_str(), segment); });
        });
        run(turn + 100, [&](Buffer& buffer) {
            const Vector& its_vector = *buffer.find<Vector>("vector").first;
            ASSERT_EQ(its_vector.size(), vector.size());
            for (std::size_t at = 0; at < vector.size(); ++at)
                ASSERT_EQ(its_vector[at].c_str(), vector[at]);
            const Deque& its_deque = *buffer.find<Deque>("deque").first;
            ASSERT_TRUE(std::equal(its_deque.begin(), its_deque.end(), deque.begin(), deque.end()));
            const Map& its_map = *buffer.find<Map>("map").first;
            ASSERT_EQ(its_map.size(), map.size());
            for (const auto& [key, value] : map)
                ASSERT_EQ(its_map.at(key).c_str(), value);
        });
    }
    EXPECT_TRUE(buffer().check_sanity());
}

TEST_P(BoostInterprocess, ObjectsOfOneNameAreMadeOnce) {
    run_all(4, [](Buffer& buffer, int) {
        for (int round = 0; round < 200; ++round) {
            const std::string name = "object " + std::to_string(round);
            buffer.find_or_construct<std::atomic<int>>(name.c_str())(0)->fetch_add(1);
        }
    });
    for (int round = 0; round < 200; ++round) {
        const std::string name = "object " + std::to_string(round);
        const auto found = buffer().find<std::atomic<int>>(name.c_str());
        ASSERT_NE(found.first, nullptr);
        EXPECT_EQ(*found.first, 4);
    }
}

TEST_P(BoostInterprocess, BuffersGrow) {
    make_memory();
    run(1, [](Buffer& buffer) {
        EXPECT_THROW(buffer.allocate(kBytes), ip::bad_alloc);
        void* most = buffer.allocate(kBytes / 2);
        std::memset(most, 'x', kBytes / 2);
        buffer.deallocate(most);
        EXPECT_TRUE(buffer.all_memory_deallocated());
        buffer.zero_free_memory();
        EXPECT_TRUE(buffer.check_sanity());
    });
    // A new one in the first half, which then learns of the second.
    void* start = nullptr;
    run(2, [&](Buffer& buffer) {
        start = buffer.get_address();
        Buffer half(ip::create_only, start, kBytes / 2);
        EXPECT_THROW(half.allocate(kBytes * 3 / 4), ip::bad_alloc);
        half.grow(kBytes / 2);
    });
    run(3, [](Buffer& buffer) {
        EXPECT_EQ(buffer.get_segment_manager()->get_size(), kBytes);
        EXPECT_NO_THROW(buffer.deallocate(buffer.allocate(kBytes * 3 / 4)));
    });
}

// -- Allocators --

template <typename Alloc>
void use_allocator(Buffer& buffer, int number) {
    std::minstd_rand random(static_cast<unsigned>(number));
    for (int round = 0; round < 4; ++round) {
        Alloc allocator(buffer.get_segment_manager());
        ip::list<int, Alloc> list(allocator);
        long sum = 0;
        for (int step = 0; step < 500; ++step) {
            if (random() % 3 != 0 || list.empty()) {
                list.push_back(number * 1000 + step);
                sum += number * 1000 + step;
            } else {
                sum -= list.front();
                list.pop_front();
            }
        }
        for (const int value : list)
            sum -= value;
        ASSERT_EQ(sum, 0) << "another process wrote to a node of this one";
    }
}

template <template <typename, typename> class Alloc>
void use(Buffer& buffer, int number) {
    use_allocator<Alloc<int, Segment>>(buffer, number);
}
template <typename T, typename S>
using Plain = ip::allocator<T, S>;
template <typename T, typename S>
using Node = ip::node_allocator<T, S>;
template <typename T, typename S>
using PrivateNode = ip::private_node_allocator<T, S>;
template <typename T, typename S>
using CachedNode = ip::cached_node_allocator<T, S>;
template <typename T, typename S>
using Adaptive = ip::adaptive_pool<T, S>;
template <typename T, typename S>
using PrivateAdaptive = ip::private_adaptive_pool<T, S>;
template <typename T, typename S>
using CachedAdaptive = ip::cached_adaptive_pool<T, S>;

TEST_P(BoostInterprocess, AllocatorsOfAllKindsGiveBlocksThatAreApartAndTakeThemBack) {
    const std::size_t before = buffer().get_free_memory();
    run_all(4, [](Buffer& buffer, int number) {
        use<Plain>(buffer, number);
        use<Node>(buffer, number);
        use<PrivateNode>(buffer, number);
        use<CachedNode>(buffer, number);
        use<Adaptive>(buffer, number);
        use<PrivateAdaptive>(buffer, number);
        use<CachedAdaptive>(buffer, number);
    });
    EXPECT_TRUE(buffer().check_sanity());
    EXPECT_TRUE(buffer().all_memory_deallocated());
    EXPECT_EQ(buffer().get_free_memory(), before);
}

// -- What processes synchronise with --

constexpr int kRounds = 300;

// `sum` is protected by the mutex that a test is about.
template <typename Mutex>
struct Guarded {
    Mutex mutex;
    long sum = 0;
};

// Loads and stores apart from each other, with something that takes time in between.
void add_slowly(long& sum) {
    const long seen = sum;
    if (seen % 16 == 0)
        ::sched_yield();
    sum = seen + 1;
}

template <typename Mutex>
void add_under(Buffer& buffer) {
    auto& guarded = *buffer.find_or_construct<Guarded<Mutex>>("guarded")();
    for (int round = 0; round < kRounds; ++round) {
        const ip::scoped_lock<Mutex> lock(guarded.mutex);
        add_slowly(guarded.sum);
    }
}

TEST_P(BoostInterprocess, MutexesOfAllKindsExcludeOtherProcesses) {
    const auto one = [&]<typename Mutex>(Mutex*) {
        run_all(4, [](Buffer& buffer, int) { add_under<Mutex>(buffer); });
        EXPECT_EQ(buffer().find<Guarded<Mutex>>("guarded").first->sum, 4L * kRounds);
        buffer().destroy<Guarded<Mutex>>("guarded");
    };
    one(static_cast<ip::interprocess_mutex*>(nullptr));
    one(static_cast<ip::interprocess_recursive_mutex*>(nullptr));
    one(static_cast<ip::interprocess_sharable_mutex*>(nullptr));
    one(static_cast<ip::interprocess_upgradable_mutex*>(nullptr));
}

struct Shared {
    ip::interprocess_upgradable_mutex mutex;
    long left = 0, right = 0; // equal whenever the mutex is free
};

TEST_P(BoostInterprocess, ReadersSeeNothingHalfWritten) {
    run_all(4, [](Buffer& buffer, int number) {
        auto& shared = *buffer.find_or_construct<Shared>("shared")();
        for (int round = 0; round < kRounds; ++round) {
            if (number == 1) {
                const ip::scoped_lock<ip::interprocess_upgradable_mutex> lock(shared.mutex);
                add_slowly(shared.left);
                ++shared.right;
            } else {
                const ip::sharable_lock<ip::interprocess_upgradable_mutex> lock(shared.mutex);
                ASSERT_EQ(shared.left, shared.right);
            }
        }
    });
    EXPECT_EQ(buffer().find<Shared>("shared").first->left, kRounds);
}

// A queue of at most two numbers.
struct Queue {
    ip::interprocess_mutex mutex;
    ip::interprocess_condition changed;
    int waiting = 0;
    long numbers[2]{};
};

TEST_P(BoostInterprocess, ConditionsWakeOtherProcesses) {
    run_all(4, [](Buffer& buffer, int number) {
        auto& queue = *buffer.find_or_construct<Queue>("queue")();
        auto& sum = *buffer.find_or_construct<std::atomic<long>>("sum")(0);
        for (int round = 1; round <= kRounds; ++round) {
            ip::scoped_lock<ip::interprocess_mutex> lock(queue.mutex);
            const auto ready = [&] { return number <= 2 ? queue.waiting < 2 : queue.waiting > 0; };
            ASSERT_TRUE(queue.changed.timed_wait(lock, in_milliseconds(60000), ready));
            if (number <= 2)
                queue.numbers[queue.waiting++] = number * round;
            else
                sum += queue.numbers[--queue.waiting];
            queue.changed.notify_all();
        }
    });
    EXPECT_EQ(*buffer().find<std::atomic<long>>("sum").first, 3L * kRounds * (kRounds + 1) / 2);
    EXPECT_EQ(buffer().find<Queue>("queue").first->waiting, 0);
}

struct Turns {
    ip::interprocess_semaphore of[3]{ip::interprocess_semaphore(1), ip::interprocess_semaphore(0),
                                     ip::interprocess_semaphore(0)};
    long turn = 0;
};

TEST_P(BoostInterprocess, SemaphoresGiveTurns) {
    run_all(3, [](Buffer& buffer, int number) {
        auto& turns = *buffer.find_or_construct<Turns>("turns")();
        for (int round = 0; round < kRounds; ++round) {
            ASSERT_TRUE(turns.of[number - 1].timed_wait(in_milliseconds(60000)));
            ASSERT_EQ(turns.turn++, 3L * round + number - 1);
            turns.of[number % 3].post();
        }
    });
    Turns& turns = *buffer().find<Turns>("turns").first;
    EXPECT_FALSE(turns.of[1].try_wait());
    EXPECT_FALSE(turns.of[1].timed_wait(in_milliseconds(1)));
    EXPECT_TRUE(turns.of[0].try_wait());
}

// -- Death --

// Money between accounts, and a journal of all changes, under one mutex that is not robust.
struct Bank {
    explicit Bank(Segment* segment) : accounts(std::less<>(), segment), journal(segment) {
        for (int number = 0; number < 16; ++number)
            accounts.emplace(number, 100);
    }
    ip::interprocess_mutex mutex;
    std::atomic<pid_t> holder{0};   // somebody that certainly has the mutex
    std::atomic<unsigned> found{0}; // processes that have found the bank
    std::atomic<long> transfers{0};
    ip::map<int, long, std::less<>, Allocator<std::pair<const int, long>>> accounts;
    Deque journal; // what each account got, in pairs that add up to 0
};

[[noreturn]] void transfer_for_ever(Buffer& buffer, unsigned seed) {
    Bank& bank = *buffer.find<Bank>("bank").first;
    ++bank.found;
    std::minstd_rand random(seed);
    for (;;) {
        bank.mutex.lock();
        bank.holder = ::getpid();
        const int from = static_cast<int>(random() % 16), to = static_cast<int>(random() % 16);
        const int amount = static_cast<int>(random() % 10);
        bank.accounts[from] -= amount;
        bank.accounts[to] += amount;
        bank.journal.push_back(-amount);
        bank.journal.push_back(amount);
        while (bank.journal.size() > 100)
            bank.journal.pop_front();
        bank.holder = 0;
        bank.mutex.unlock();
        ++bank.transfers;
        for (volatile unsigned idle = random() % 2000; idle > 0;)
            idle = idle - 1;
    }
}

void audit(const Bank& bank) {
    long money = 0, noted = 0;
    for (const auto& account : bank.accounts)
        money += account.second;
    for (const int amount : bank.journal)
        noted += amount;
    EXPECT_EQ(money, 1600);
    EXPECT_EQ(noted, 0);
    EXPECT_EQ(bank.accounts.size(), 16U);
    EXPECT_EQ(bank.journal.size() % 2, 0U);
}

// Where each process sleeps in the kernel.
std::string where_they_are(const std::vector<std::unique_ptr<Child>>& workers) {
    std::string text;
    for (const auto& worker : workers) {
        std::string place = "(gone)";
        std::getline(std::ifstream("/proc/" + std::to_string(worker->pid()) + "/wchan"), place);
        text += ", " + std::to_string(worker->pid()) + " at " + place;
    }
    return text;
}

TEST_P(BoostInterprocess, OthersGoOnWhenAProcessIsKilledThatHeldNoMutex) {
    const char* wanted = std::getenv("STM_WORLD_STEPS");
    const int rounds = wanted != nullptr ? std::atoi(wanted) / 10 : 40;
    int stuck = 0, went_on = 0;
    std::minstd_rand random(3);
    for (int round = 0; round < rounds;) {
        ASSERT_NO_FATAL_FAILURE(make_memory());
        Buffer own = buffer();
        Bank& bank = *own.construct<Bank>("bank")(own.get_segment_manager());
        std::vector<std::unique_ptr<Child>> workers;
        unsigned seed = 0;
        const auto hire = [&] {
            ++seed;
            workers.push_back(std::make_unique<Child>(process(
                static_cast<int>(seed), [seed](Buffer& its) { transfer_for_ever(its, seed); })));
        };
        for (int worker = 0; worker < 3; ++worker)
            hire();
        for (bool good = true; good && round < rounds; ++round) {
            const long before = bank.transfers;
            // Who is killed while it looks for the bank leaves the buffer's own mutex locked.
            ASSERT_TRUE(test::eventually([&] {
                return bank.found == seed && bank.transfers > before + 20;
            })) << "round "
                << round << ", holder " << bank.holder << where_they_are(workers);
            ::usleep(static_cast<useconds_t>(random() % 2000));
            const std::size_t victim = random() % workers.size();
            const pid_t pid = workers[victim]->pid();
            workers[victim]->kill(SIGKILL);
            EXPECT_EQ(workers[victim]->wait(), 128 + SIGKILL);
            workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(victim));
            if (bank.holder == pid) {
                // Locked for ever, and nobody is let in.
                EXPECT_FALSE(bank.mutex.timed_lock(in_milliseconds(100)));
                good = false;
            } else if (bank.mutex.timed_lock(in_milliseconds(3000))) {
                audit(bank);
                bank.mutex.unlock();
                ++went_on;
                hire();
            } else {
                good = false; // it was killed just before or after it said that it has the mutex
            }
            stuck += good ? 0 : 1;
        }
    }
    EXPECT_GT(went_on, 0);
    std::printf("        after %d of %d kills the others went on; after %d the mutex was held\n",
                went_on, rounds, stuck);
}

INSTANTIATE_TEST_SUITE_P(In, BoostInterprocess, testing::Values(Kind::region, Kind::memfd),
                         [](const auto& kind) {
                             return kind.param == Kind::region ? "ARegion" : "AMemfd";
                         });

} // namespace
} // namespace stm::world
