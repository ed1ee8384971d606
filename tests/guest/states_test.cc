// SPDX-License-Identifier: GPL-2.0
// Somebody writes a number to one place of a region after the other, round and round, each time in
// another way. So the region goes through states in which the first places have a number and the
// others the one before. Whoever reads all of it, in whichever way, sees one of these.
#include "requests.hpp"
#include "transactions/transactions.hpp"
#include "typed/typed.hpp"

#include <algorithm>
#include <array>
#include <atomic>

using namespace stm::test;

namespace {

constexpr std::size_t kPlaceBytes = 16 * 1024; // a write call of so many bytes is a block
constexpr std::size_t kPlaces = 24;
constexpr std::size_t kBytes = kPlaces * kPlaceBytes;
// A place has its number at its beginning and at its end.
constexpr std::size_t kEnd = kPlaceBytes - 64;

constexpr long kNumbers = 60; // read as many

using State = std::array<long, 2 * kPlaces>;

bool is_one(const State& state) {
    for (std::size_t place = 0; place < kPlaces; ++place) {
        const long number = state[2 * place];
        if (number != state[2 * place + 1] || number > state[place == 0 ? 0 : 2 * place - 2] ||
            number < state[0] - 1)
            return false;
    }
    return true;
}

// Why this is no state that the region was ever in, or nothing.
std::string fault_of(const State& state) {
    if (is_one(state))
        return "";
    std::string text = "the region was never like this:";
    for (std::size_t place = 0; place < kPlaces; ++place)
        text += " " + std::to_string(state[2 * place]) + "," + std::to_string(state[2 * place + 1]);
    return text;
}

State state_in(const std::vector<char>& bytes) {
    State state{};
    for (std::size_t i = 0; i < state.size(); ++i)
        std::memcpy(&state[i], &bytes[i / 2 * kPlaceBytes + i % 2 * kEnd], sizeof(long));
    return state;
}

// ---- ways to write -----------------------------------------------------------------------------

class Writer {
public:
    explicit Writer(const std::string& name)
        : region_(name), other_("beside", kPage, 0), handle_(stm_open(name.c_str(), 0, 0, 0)),
          mapping_(handle_.get(), info_of(handle_.get()).region_size), block_(kPlaceBytes) {}

    void write(std::size_t place, long number, unsigned way) {
        const std::uint64_t at = place * kPlaceBytes;
        switch (way % 8) {
        case 0: // twice as often as others
        case 1:
            fill(number);
            EXPECT_EQ(::pwrite(handle_.get(), block_.data(), kPlaceBytes, static_cast<off_t>(at)),
                      static_cast<ssize_t>(kPlaceBytes));
            break;
        case 2:
            fill(number);
            if (ring_.error() == 0)
                EXPECT_EQ(
                    ring_.write(handle_.get(), block_.data(), kPlaceBytes, static_cast<off_t>(at)),
                    static_cast<int>(kPlaceBytes));
            else
                write_by_calls(at, number);
            break;
        case 3:
            write_by_calls(at, number);
            break;
        case 4:
            write_in_mapping(mapping_.at<volatile long>(at), number);
            break;
        case 5:
        case 6: {
            const int flags = way % 8 == 5 ? STM_TX_SERIAL : 0;
            EXPECT_TRUE(atomically(region_, flags, [&](stm_tx* tx) {
                if (stm_tx_store(tx, region_, at, &number, sizeof number) == 0)
                    (void)stm_tx_store(tx, region_, at + kEnd, &number, sizeof number);
            }));
            break;
        }
        case 7:
            EXPECT_TRUE(atomically(region_, 0, [&](stm_tx* tx) {
                if (stm_tx_store(tx, region_, at, &number, sizeof number) == 0 &&
                    stm_tx_store(tx, region_, at + kEnd, &number, sizeof number) == 0)
                    (void)add(tx, other_, 0, 1);
            }));
            break;
        }
    }

private:
    void fill(long number) {
        for (std::size_t at = 0; at < kPlaceBytes; at += sizeof number)
            std::memcpy(&block_[at], &number, sizeof number);
    }
    [[gnu::noinline]] void write_by_calls(std::uint64_t at, long number) const {
        do {
            stm_start(handle_.get());
            (void)!::pwrite(handle_.get(), &number, sizeof number, static_cast<off_t>(at));
            (void)!::pwrite(handle_.get(), &number, sizeof number, static_cast<off_t>(at + kEnd));
        } while (stm_commit(handle_.get()) != 0);
    }
    [[gnu::noinline]] void write_in_mapping(volatile long* place, long number) const {
        do {
            stm_start(handle_.get());
            place[0] = number;
            place[kEnd / sizeof(long)] = number;
        } while (stm_commit(handle_.get()) != 0);
    }

    const Attached region_;
    const TypedRegion other_;
    const Fd handle_;
    const Mapping mapping_;
    Ring ring_;
    std::vector<char> block_;
};

// ---- ways to read ------------------------------------------------------------------------------

// Where the numbers are: the first, and that at the end.
off_t place_of(std::size_t index) {
    return static_cast<off_t>(index / 2 * kPlaceBytes + index % 2 * kEnd);
}

class Reader {
public:
    explicit Reader(const std::string& name)
        : region_(name), handle_(stm_open(name.c_str(), 0, 0, 0)), mapping_(handle_.get(), kBytes) {
    }

    using Way = State (Reader::*)();

    State by_one_call() {
        std::vector<char> bytes(kBytes);
        EXPECT_EQ(::pread(handle_.get(), bytes.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
        return state_in(bytes);
    }
    [[gnu::noinline]] State by_calls() {
        do {
            stm_start(handle_.get());
            for (std::size_t i = 0; i < state_.size(); ++i)
                (void)!::pread(handle_.get(), &state_[i], sizeof(long), place_of(i));
        } while (stm_commit(handle_.get()) != 0);
        return state_;
    }
    [[gnu::noinline]] State in_mapping() {
        do {
            stm_start(handle_.get());
            for (std::size_t i = 0; i < state_.size(); ++i)
                state_[i] = *mapping_.at<volatile long>(static_cast<std::size_t>(place_of(i)));
            // Also in one that cannot be committed. It may begin again at any moment, so nothing is
            // allocated.
            wrong_ = wrong_ || !is_one(state_);
        } while (stm_commit(handle_.get()) != 0);
        EXPECT_FALSE(wrong_) << "before a conflict was told";
        return state_;
    }
    State in_warm_mapping() {
        EXPECT_EQ(stm_set_warm(handle_.get(), 1), 0);
        return in_mapping();
    }
    State typed() { return typed_with(STM_TX_READ_ONLY); }
    State typed_alone() { return typed_with(STM_TX_SERIAL); }

private:
    State typed_with(int flags) {
        EXPECT_TRUE(atomically(region_, flags, [&](stm_tx* tx) {
            bool all = true;
            for (std::size_t i = 0; i < state_.size() && all; ++i)
                all = stm_tx_load(tx, region_, static_cast<std::uint64_t>(place_of(i)), &state_[i],
                                  sizeof(long)) == 0;
            if (all) {
                EXPECT_EQ(fault_of(state_), "");
            }
        }));
        return state_;
    }

    const Attached region_;
    const Fd handle_;
    const Mapping mapping_;
    State state_{};
    volatile bool wrong_ = false;
};

[[gnu::noinline]] void load_block(int fd, volatile long* from, long* to, std::size_t count,
                                  volatile long* copy) {
    do {
        stm_start(fd);
        for (std::size_t i = 0; i < count; ++i)
            to[i] = from[i];
        *copy = to[0];
    } while (stm_commit(fd) != 0);
}

// A writer, for as long as the object lives.
class Writing {
public:
    explicit Writing(const std::string& name)
        : shared_(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS),
          stop_(new (shared_.data()) std::atomic<bool>(false)), child_(Child::doing([&] {
              Writer writer(name);
              unsigned way = 0;
              for (long number = 1; !stop_->load(); ++number) {
                  for (std::size_t place = 0; place < kPlaces; ++place)
                      writer.write(place, number, way++);
                  // So that each place is written in each way.
                  ++way;
              }
          })) {}
    ~Writing() {
        stop_->store(true);
        EXPECT_EQ(child_.wait(), 0);
    }

private:
    Mapping shared_;
    std::atomic<bool>* stop_;
    Child child_;
};

class States : public ::testing::TestWithParam<int> {
protected:
    States() : region_("states", kBytes, GetParam()) {}

    Region region_;
};

TEST_P(States, EachWayToReadSeesOneOfThem) {
    const Writing writing(region_.name());
    std::vector<Child> readers;
    for (const Reader::Way way : {&Reader::by_one_call, &Reader::by_calls, &Reader::in_mapping,
                                  &Reader::in_warm_mapping, &Reader::typed, &Reader::typed_alone})
        readers.push_back(Child::doing([&, way] {
            Reader reader(region_.name());
            long before = 0;
            while (before < kNumbers) {
                const State state = (reader.*way)();
                ASSERT_EQ(fault_of(state), "");
                ASSERT_GE(state[0], before) << "an older one";
                before = state[0];
            }
        }));
    for (Child& reader : readers)
        EXPECT_EQ(reader.wait(), 0);
}

TEST_P(States, ACopyIsOneOfThem) {
    const Writing writing(region_.name());
    long before = 0;
    for (int round = 0; round < 5; ++round) {
        const std::string copy = unique_name("copy");
        const Output output =
            shell(build_folder() + "/bin/stmctl copy '" + region_.name() + "' '" + copy + "' 2>&1");
        ASSERT_EQ(output.status, 0) << output.text;
        State state{};
        {
            Reader reader(copy);
            state = reader.by_one_call();
        }
        EXPECT_EQ(fault_of(state), "");
        EXPECT_GE(state[0], before) << "an older one";
        before = state[0];
        EXPECT_EQ(stm_unlink(copy.c_str()), 0);
    }
}

// Several write the same bytes at once, all of them each time, in different ways.
TEST_P(States, WhoeverWritesABlockItIsSeenWhole) {
    constexpr std::size_t kNumbersOfBlock = kPlaceBytes / sizeof(long);
    using Block = std::array<long, kNumbersOfBlock>;
    constexpr off_t kAt = 3 * kPage + 512; // not on the border of a page
    const Mapping shared(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    auto* const stop = new (shared.data()) std::atomic<bool>(false);
    std::vector<Child> writers;
    for (int number = 0; number < 4; ++number)
        writers.push_back(Child::doing([&, number] {
            const Attached typed(region_.name());
            const Fd handle(stm_open(region_.name().c_str(), 0, 0, 0));
            Ring ring;
            static Block block;
            for (long value = number; !stop->load(); value += 4) {
                block.fill(value);
                if (number == 3)
                    EXPECT_TRUE(atomically(typed, 0, [&](stm_tx* tx) {
                        (void)stm_tx_store(tx, typed, kAt, block.data(), sizeof block);
                    }));
                else if (number == 2 && ring.error() == 0)
                    EXPECT_EQ(ring.write(handle.get(), block.data(), sizeof block, kAt),
                              static_cast<int>(sizeof block));
                else
                    EXPECT_EQ(::pwrite(handle.get(), block.data(), sizeof block, kAt),
                              static_cast<ssize_t>(sizeof block));
            }
        }));
    const auto expect_whole = [](const Block& block) {
        ASSERT_EQ(std::count(block.begin(), block.end(), block[0]),
                  static_cast<long>(kNumbersOfBlock))
            << "a mixture, of " << block[0] << " and others";
    };
    std::vector<Child> readers;
    readers.push_back(Child::doing([&] {
        Block block;
        for (int round = 0; round < 150; ++round) {
            ASSERT_EQ(::pread(region_.fd(), block.data(), sizeof block, kAt),
                      static_cast<ssize_t>(sizeof block));
            expect_whole(block);
        }
    }));
    readers.push_back(Child::doing([&] {
        const Attached typed(region_.name());
        Block block;
        for (int round = 0; round < 150; ++round) {
            // It stores as well, so it is validated when it is committed.
            ASSERT_TRUE(atomically(typed, 0, [&](stm_tx* tx) {
                if (stm_tx_load(tx, typed, kAt, block.data(), sizeof block) == 0) {
                    expect_whole(block);
                    (void)stm_tx_store(tx, typed, 20 * kPage, block.data(), sizeof(long));
                }
            }));
            expect_whole(block);
        }
    }));
    readers.push_back(Child::doing([&] {
        const Fd handle(stm_open(region_.name().c_str(), 0, 0, 0));
        const Mapping mapping(handle.get(), kBytes);
        static Block block;
        for (int round = 0; round < 150; ++round) {
            load_block(handle.get(), mapping.at<volatile long>(kAt), block.data(), block.size(),
                       mapping.at<volatile long>(21 * kPage));
            expect_whole(block);
        }
    }));
    for (Child& reader : readers)
        EXPECT_EQ(reader.wait(), 0);
    stop->store(true);
    for (Child& writer : writers)
        EXPECT_EQ(writer.wait(), 0);
}

// A page that nobody had touched is in a copy as soon as something that was written after it is.
TEST_P(States, ACopyHasThePagesThatCameMeanwhile) {
    constexpr std::size_t kMany = 4096; // places
    constexpr std::size_t kNew = 500;   // among the first of them
    const Region region("growing", kMany * kPlaceBytes, GetParam());
    // It takes a while to find out which pages are there.
    for (std::size_t place = 0; place < kMany; place += 2)
        put(region.fd(), -1L, static_cast<off_t>(place * kPlaceBytes));
    Child growing = Child::doing([&] {
        Writer writer(region.name());
        for (std::size_t place = 1; place < kNew; place += 2) {
            writer.write(place, static_cast<long>(place), static_cast<unsigned>(place / 2));
            writer.write(0, static_cast<long>(place), static_cast<unsigned>(place / 16));
            // In between a copy may find everything at rest.
            if (place % 8 == 7)
                ::usleep(20000 + place % 7 * 10000);
        }
    });
    for (long last = 0; last < static_cast<long>(kNew) - 1;) {
        const std::string copy = unique_name("copy");
        const Output output =
            shell(build_folder() + "/bin/stmctl copy '" + region.name() + "' '" + copy + "' 2>&1");
        ASSERT_EQ(output.status, 0) << output.text;
        const Fd copied(stm_open(copy.c_str(), 0, STM_RDONLY, 0));
        last = get(copied.get(), 0);
        for (long place = 1; place < static_cast<long>(kMany); place += 2) {
            const long number = get(copied.get(), place * static_cast<off_t>(kPlaceBytes));
            ASSERT_TRUE(number == (place <= last ? place : 0) || place == last + 2)
                << "place " << place << " is " << number << ", but the last one " << last;
        }
        EXPECT_EQ(stm_unlink_deferred(copy.c_str()), 0);
    }
    EXPECT_EQ(growing.wait(), 0);
}

std::string kind_of(const ::testing::TestParamInfo<int>& kind) {
    return kind.param == 0 ? "Optimistic" : kind.param == STM_DIRECT ? "Direct" : "Mutex";
}
INSTANTIATE_TEST_SUITE_P(Kinds, States, ::testing::Values(0, STM_DIRECT, STM_MUTEX), kind_of);

// ---- copies of what others write ---------------------------------------------------------------

// Each 256 KiB of a copy in pieces are one state, also those of which only some pages were touched
// when it began.
TEST(Copies, PiecesOfASparseRegionAreOneStateEach) {
    constexpr std::size_t kPiece = 256 * 1024;
    constexpr std::size_t kPieces = 64;
    for (const int kind : {STM_PLAIN, 0}) {
        const Region region("sparse", kPieces * kPiece, kind);
        for (std::size_t page = 0; page < kPieces * kPiece / kPage; page += 8)
            ASSERT_EQ(::pwrite(region.fd(), "old", 3, static_cast<off_t>(page * kPage)), 3);
        const std::string copy = unique_name("copy");
        Child writer = Child::doing([&] {
            const std::string fresh(kPiece, 'n');
            EXPECT_TRUE(eventually([&] { return exists(copy); }));
            for (std::size_t piece = kPieces; piece-- != 0;)
                EXPECT_EQ(
                    ::pwrite(region.fd(), fresh.data(), kPiece, static_cast<off_t>(piece * kPiece)),
                    static_cast<ssize_t>(kPiece));
        });
        const Output output = shell(build_folder() + "/bin/stmctl copy --pieces '" + region.name() +
                                    "' '" + copy + "' 2>&1");
        EXPECT_EQ(output.status, 0) << output.text;
        EXPECT_EQ(writer.wait(), 0);
        const Fd copied(stm_open(copy.c_str(), 0, STM_RDONLY | kind, 0));
        std::string old(kPiece, '\0');
        for (std::size_t at = 0; at < kPiece; at += 8 * kPage)
            old.replace(at, 3, "old");
        for (std::size_t piece = 0; piece < kPieces; ++piece) {
            std::string bytes(kPiece, 'x');
            ASSERT_EQ(
                ::pread(copied.get(), bytes.data(), kPiece, static_cast<off_t>(piece * kPiece)),
                static_cast<ssize_t>(kPiece));
            ASSERT_TRUE(bytes == old || bytes == std::string(kPiece, 'n'))
                << "piece " << piece << " is a mixture";
        }
        EXPECT_EQ(stm_unlink_deferred(copy.c_str()), 0);
    }
}

// Who ends the command in the middle has no half of a region. A signal that is ignored does not end
// it.
TEST(Copies, AreGoneWhenTheyAreInterrupted) {
    constexpr std::size_t kSize = 48u << 20;
    const Region region("interrupted", kSize, 0);
    const std::string bytes(4u << 20, 'x');
    for (std::size_t at = 0; at < kSize; at += bytes.size())
        ASSERT_EQ(::pwrite(region.fd(), bytes.data(), bytes.size(), static_cast<off_t>(at)),
                  static_cast<ssize_t>(bytes.size()));
    const std::string stmctl = build_folder() + "/bin/stmctl ";
    const std::string archive = unique_path("archive");
    const std::string made = unique_name("made");
    const std::string copy = stmctl + "copy '" + region.name() + "' '" + made + "'";
    const std::string load = stmctl + "load --archive '" + made + "' <'" + archive + "'";
    ASSERT_EQ(shell(stmctl + "dump --archive '" + region.name() + "' >'" + archive + "'").status,
              0);
    struct Way {
        std::string line;
        int status;
    };
    const Way ways[] = {
        {"exec " + copy, 1}, {"exec " + load, 1}, {"trap '' TERM; exec " + copy, 0}};
    // The command's status. It has made the whole region, or nothing.
    const auto interrupted = [&](const std::string& line) {
        const std::string quiet = line + " >/dev/null 2>&1";
        Child child = Child::doing([&] { ::execl("/bin/sh", "sh", "-c", quiet.c_str(), nullptr); });
        EXPECT_TRUE(eventually([&] { return exists(made); })) << line;
        child.kill(SIGTERM);
        const int status = child.wait();
        EXPECT_EQ(exists(made), status == 0) << line;
        stm_unlink_deferred(made.c_str());
        return status;
    };
    for (const Way& way : ways) {
        int status = interrupted(way.line);
        // On a busy machine the command may have come to its end before anybody saw its region.
        for (int again = 0; again < 20 && status != way.status && status == 0; ++again)
            status = interrupted(way.line);
        EXPECT_EQ(status, way.status) << way.line;
    }
    ::unlink(archive.c_str());
}

// Programs that may write to a direct region may store anything in its records. Whoever finds that
// nobody's commit is behind it goes on.
TEST(Copies, EndWhateverStandsInTheRecordsOfADirectRegion) {
    const Region direct("nonsense", 4 * kPage, STM_DIRECT);
    put(direct.fd(), 42L, 0);
    put(direct.fd(), 43L, 2 * kPage);
    for (const std::uint64_t record :
         {std::uint64_t{STM_RECORD_LOCKED(1)}, std::uint64_t{STM_RECORD_LOCKED(1000000)},
          std::uint64_t{STM_RECORD_LOCKED((1ull << 61) | 5 << 12)}, std::uint64_t{1} << 50}) {
        Child vandal = Child::doing([&] {
            const Mapping records(direct.fd(), kPage, PROT_READ | PROT_WRITE,
                                  static_cast<off_t>(STM_OFFSET_RECORDS));
            stm_claim_journal claim{};
            claim.size = sizeof claim;
            ASSERT_EQ(::ioctl(direct.fd(), STM_IOC_JOURNAL, &claim), 0) << std::strerror(errno);
            ASSERT_TRUE(records.ok()) << std::strerror(errno);
            for (const std::size_t stripe : {0, 1, 70, 130, 131, 191})
                records.at<volatile std::uint64_t>()[stripe] = record;
        });
        ASSERT_EQ(vandal.wait(), 0);
        const std::string copy = unique_name("copy");
        const Output output = shell("timeout 20 " + build_folder() + "/bin/stmctl copy '" +
                                    direct.name() + "' '" + copy + "' 2>&1");
        EXPECT_EQ(output.status, 0) << std::hex << record << ": " << output.text;
        if (exists(copy)) {
            const Fd copied(stm_open(copy.c_str(), 0, STM_RDONLY, 0));
            EXPECT_EQ(get(copied.get(), 0), 42);
            EXPECT_EQ(get(copied.get(), 2 * kPage), 43);
            EXPECT_EQ(stm_unlink_deferred(copy.c_str()), 0);
        }
    }
}

} // namespace
