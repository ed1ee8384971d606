// SPDX-License-Identifier: GPL-2.0
// Who may store in the windows of a direct region, and what a direct region is.
#include "requests.hpp"
#include "typed.hpp"

#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

using namespace stm::test;

namespace {

int open_error(const std::string& name, int flags) {
    const Fd fd(stm_open(name.c_str(), kPage, flags, 0600));
    return fd ? 0 : errno;
}

stm_claim_journal claim(int fd, int expected = 0) {
    stm_claim_journal request{};
    request.size = sizeof request;
    const int result = ::ioctl(fd, STM_IOC_JOURNAL, &request);
    EXPECT_EQ(result == 0 ? 0 : errno, expected);
    return request;
}

TEST(DirectRights, ItIsAKindOfItsOwn) {
    const Region direct("kind", kPage, STM_DIRECT);
    const Region other("kind", kPage, 0);
    EXPECT_EQ(open_error(direct.name(), 0), 0);
    EXPECT_EQ(open_error(direct.name(), STM_DIRECT), 0);
    EXPECT_EQ(open_error(other.name(), STM_DIRECT), EINVAL);
    EXPECT_EQ(open_error(direct.name(), STM_CREATE), EINVAL);
    EXPECT_EQ(open_error("kind of both", STM_CREATE | STM_DIRECT | STM_PLAIN), EINVAL);
    EXPECT_EQ(open_error("kind of both", STM_CREATE | STM_DIRECT | STM_MUTEX), EINVAL);
    claim(other.fd(), EOPNOTSUPP);
}

TEST(DirectRights, AWindowIsWritableOnlyHereAndOnlyForWhoMayWrite) {
    const Region direct("windows", kPage, STM_DIRECT);
    const Region other("windows", kPage, 0);
    const Fd reader(stm_open(direct.name().c_str(), 0, STM_RDONLY, 0));
    for (const std::uint64_t window :
         {STM_OFFSET_COMMITTED, STM_OFFSET_RECORDS, STM_OFFSET_CLOCK, STM_OFFSET_JOURNALS}) {
        EXPECT_TRUE(
            Mapping(direct.fd(), kPage, PROT_READ | PROT_WRITE, static_cast<off_t>(window)).ok());
        EXPECT_FALSE(
            Mapping(other.fd(), kPage, PROT_READ | PROT_WRITE, static_cast<off_t>(window)).ok());
        EXPECT_FALSE(
            Mapping(reader.get(), kPage, PROT_READ | PROT_WRITE, static_cast<off_t>(window)).ok());
        const Mapping to_read(reader.get(), kPage, PROT_READ, static_cast<off_t>(window));
        ASSERT_TRUE(to_read.ok());
        EXPECT_EQ(::mprotect(to_read.data(), kPage, PROT_READ | PROT_WRITE), -1);
    }
    claim(reader.get(), EBADF);
}

TEST(DirectRights, AStoreNeedsAJournalOfTheThread) {
    const Region direct("journal", kPage, STM_DIRECT);
    const Mapping bytes(direct.fd(), kPage, PROT_READ | PROT_WRITE,
                        static_cast<off_t>(STM_OFFSET_COMMITTED));
    ASSERT_TRUE(bytes.ok());
    EXPECT_EQ(signal_of_load(bytes.data()), 0);
    EXPECT_EQ(signal_of_store(bytes.data()), SIGSEGV);
    EXPECT_EQ(signal_of([&] {
                  claim(direct.fd());
                  *bytes.at<volatile char>() = 1;
              }),
              0);
    // A child has none of its parent's.
    claim(direct.fd());
    *bytes.at<volatile char>() = 1;
    EXPECT_EQ(signal_of_store(bytes.data()), SIGSEGV);
}

TEST(DirectRights, AnotherProcessHasAnotherJournal) {
    const Region direct("others", kPage, STM_DIRECT);
    const stm_claim_journal own = claim(direct.fd());
    EXPECT_EQ(claim(direct.fd()).owner, own.owner);
    Child child = Child::doing([&] {
        const stm_claim_journal request = claim(direct.fd());
        EXPECT_NE(request.owner, own.owner);
        EXPECT_NE(request.offset, own.offset);
    });
    EXPECT_EQ(child.wait(), 0);
}

// Each handle of a thread has one.
TEST(DirectRights, WithAllJournalsInUseTheModuleCommits) {
    const TypedRegion direct("all", 4 * kPage, STM_DIRECT);
    int tell[2];
    int go[2];
    ASSERT_EQ(::pipe2(tell, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
    Child child = Child::doing([&] {
        ::close(go[1]);
        const rlimit many{STM_MOST_JOURNALS + 100, STM_MOST_JOURNALS + 100};
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &many), 0);
        std::vector<Fd> handles;
        while (handles.size() < STM_MOST_JOURNALS) {
            handles.emplace_back(stm_open(direct.name().c_str(), 0, 0, 0));
            ASSERT_TRUE(handles.back()) << std::strerror(errno);
            claim(handles.back().get());
        }
        handles.emplace_back(stm_open(direct.name().c_str(), 0, 0, 0));
        claim(handles.back().get(), ENOSPC);
        ASSERT_EQ(::write(tell[1], "x", 1), 1);
        char byte = 0;
        ASSERT_EQ(::read(go[0], &byte, 1), 0);
    });
    ::close(tell[1]);
    ::close(go[0]);
    char byte = 0;
    ASSERT_EQ(::read(tell[0], &byte, 1), 1);
    claim(direct.fd(), ENOSPC);
    for (long value = 1; value < 10; ++value) {
        set_value(direct, 0, value);
        EXPECT_EQ(value_at(direct, 0), value);
    }
    EXPECT_TRUE(atomically(direct, STM_TX_SERIAL,
                           [&](stm_tx* tx) { static_cast<void>(add(tx, direct, 0, 1)); }));
    EXPECT_EQ(value_at(direct, 0), 10);
    ::close(go[1]);
    EXPECT_EQ(child.wait(), 0);
    ::close(tell[0]);
    claim(direct.fd());
    set_value(direct, 0, 11);
    EXPECT_EQ(value_at(direct, 0), 11);
}

// Whatever the shared pages hold, the module goes on, and so do other regions.
TEST(DirectRights, NonsenseInTheWindowsHarmsThisRegionAlone) {
    const TypedRegion direct("nonsense", 4 * kPage, STM_DIRECT);
    const TypedRegion other("nonsense", 4 * kPage, 0);
    set_value(other, 0, 42);
    for (unsigned seed = 1; seed <= 40; ++seed) {
        Child vandal = Child::doing([&] {
            const Mapping bytes(direct.fd(), 4 * kPage, PROT_READ | PROT_WRITE,
                                static_cast<off_t>(STM_OFFSET_COMMITTED));
            const Mapping records(direct.fd(), kPage, PROT_READ | PROT_WRITE,
                                  static_cast<off_t>(STM_OFFSET_RECORDS));
            const stm_claim_journal own = claim(direct.fd());
            const Mapping journals(direct.fd(), STM_JOURNAL_BYTES, PROT_READ | PROT_WRITE,
                                   static_cast<off_t>(STM_OFFSET_JOURNALS + own.offset));
            auto* const journal = journals.at<stm_journal>();
            std::uint64_t random = seed * 0x9e3779b97f4a7c15u;
            const auto next = [&] {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                return random;
            };
            for (auto& write : journal->writes)
                write = {next() % 400, next(), {}};
            for (unsigned i = 0; i < 256; ++i)
                records.at<volatile std::uint64_t>()[i] = i % 3 == 0 ? STM_RECORD_LOCKED(own.owner)
                                                          : i % 3 == 1 ? next()
                                                                       : 1;
            journal->count = next() % 3 == 0 ? next() : 101;
            journal->state = next() % 2 == 0 ? STM_JOURNAL_COMMITTED(next() % 8) : next();
        });
        EXPECT_EQ(vandal.wait(), 0);
        char buffer[4 * kPage] = {};
        // Any result will do.
        static_cast<void>(::pread(direct.fd(), buffer, 64, 0));
        ASSERT_EQ(value_at(other, 0), 42);
    }
}

} // namespace
