// SPDX-License-Identifier: GPL-2.0
// What one thread sees of its own transaction in a mapping, and of calls beside it.
#include "mapped.hpp"

#include <array>

using namespace stm::test;

namespace {

class MappedSemantics : public Mapped {};

TEST_F(MappedSemantics, ACommitIsSeenByOthersAtOnceAndNotBefore) {
    stm_start(fd());
    number(0) = 1;
    number(5 * kPage) = 2;
    elsewhere([&] {
        View other = another();
        EXPECT_EQ(other[0], 0);
        EXPECT_EQ(other[5 * kPage], 0);
        EXPECT_EQ(get(other.fd(), 0), 0);
    });
    EXPECT_EQ(number(0), 1);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 1);
    elsewhere([&] {
        View other = another();
        EXPECT_EQ(other[0], 1);
        EXPECT_EQ(get(other.fd(), 5 * kPage), 2);
        EXPECT_EQ(number(5 * kPage), 2) << "the mapping that fork gave";
    });
}

TEST_F(MappedSemantics, ACancelUndoesStoresAndCalls) {
    store(view_, 0, 7);
    stm_start(fd());
    number(0) = 8;
    number(kPage) = 9;
    put(fd(), 10L, 2 * kPage);
    stm_cancel(fd());
    EXPECT_EQ(number(0), 7);
    EXPECT_EQ(number(kPage), 0);
    EXPECT_EQ(number(2 * kPage), 0);
    EXPECT_EQ(get(fd(), kPage), 0);
}

TEST_F(MappedSemantics, AStoreOutsideIsRefusedAndChangesNothing) {
    store(view_, 0, 7);
    EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
    EXPECT_EQ(signal_of([&] {
                  stm_start(fd());
                  number(0) = 8;
                  (void)stm_commit(fd());
                  number(0) = 9;
              }),
              SIGSEGV)
        << "also where the transaction has just stored";
    EXPECT_EQ(signal_of([&] {
                  stm_start(fd());
                  number(0) = 10;
                  stm_cancel(fd());
                  number(0) = 11;
              }),
              SIGSEGV);
    EXPECT_EQ(signal_of_store(bytes(9 * kPage)), SIGSEGV);
    EXPECT_EQ(number(0), 8);
    EXPECT_EQ(get(fd(), 0), 8);
    EXPECT_EQ(get(fd(), 9 * kPage), 0);
    Mapping beyond(fd(), size_ + kPage);
    EXPECT_FALSE(beyond.ok());
}

TEST_F(MappedSemantics, LoadsOutsideSeeWhatOthersCommit) {
    EXPECT_EQ(number(0), 0);
    for (long value = 1; value <= 20; ++value) {
        elsewhere([&] {
            View other = another();
            if (value % 2 == 0)
                store(other, 0, value);
            else
                put(other.fd(), value);
        });
        EXPECT_EQ(number(0), value);
        put(fd(), value, kPage);
        EXPECT_EQ(number(kPage), value);
        store(view_, 2 * kPage, value);
        EXPECT_EQ(number(2 * kPage), value);
    }
}

TEST_F(MappedSemantics, CallsAndTheMappingAreOneTransaction) {
    stm_start(fd());
    number(8) = 1;
    EXPECT_EQ(get(fd(), 8), 1) << "a call reads what was stored";
    put(fd(), 2L, 16);
    EXPECT_EQ(number(16), 2) << "a load sees what a call wrote to a page stored to";
    put(fd(), 3L, kPage + 8);
    EXPECT_EQ(number(kPage + 8), 3) << "a load sees what a call wrote before the page was touched";
    number(kPage + 16) = 4;
    EXPECT_EQ(number(2 * kPage), 0);
    put(fd(), 5L, 2 * kPage);
    EXPECT_EQ(number(2 * kPage), 5) << "a load sees what a call wrote to a page loaded from";
    put(fd(), 6L, kPage + 8);
    EXPECT_EQ(number(kPage + 8), 6);
    number(kPage + 8) = 7;
    EXPECT_EQ(get(fd(), kPage + 8), 7);
    std::array<char, 3 * kPage> all{};
    EXPECT_EQ(::pread(fd(), all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
    EXPECT_EQ(std::memcmp(all.data(), bytes(), all.size()), 0);
    elsewhere([&] {
        View other = another();
        for (std::size_t at : {std::size_t{8}, std::size_t{16}, kPage + 8, kPage + 16, 2 * kPage})
            EXPECT_EQ(other[at], 0);
    });
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd(), 8), 1);
    EXPECT_EQ(get(fd(), 16), 2);
    EXPECT_EQ(get(fd(), kPage + 8), 7);
    EXPECT_EQ(get(fd(), kPage + 16), 4);
    EXPECT_EQ(get(fd(), 2 * kPage), 5);
}

TEST_F(MappedSemantics, OrdinaryFunctionsWork) {
    struct Record {
        char name[32];
        double value;
        unsigned bits : 5;
        Record* next;
    };
    auto* record = reinterpret_cast<Record*>(bytes(kPage - 20)); // across two pages
    stm_start(fd());
    std::strcpy(record->name, "first");
    std::strcat(record->name, " and second");
    record->value = 2.5;
    record->bits = 19;
    record->next = record;
    Record copy = *record;
    std::memcpy(bytes(5 * kPage + 100), &copy, sizeof copy);
    std::memset(bytes(6 * kPage - 8), 'x', 2 * kPage);
    std::memmove(bytes(8 * kPage), bytes(6 * kPage - 8), 100);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_STREQ(record->next->name, "first and second");
    EXPECT_EQ(record->value, 2.5);
    EXPECT_EQ(record->bits, 19u);
    EXPECT_EQ(std::strlen(bytes(5 * kPage + 100)), 16u);
    EXPECT_EQ(std::string(bytes(6 * kPage - 8), 2 * kPage), std::string(2 * kPage, 'x'));
    EXPECT_EQ(*bytes(6 * kPage - 9), 0);
    EXPECT_EQ(*bytes(8 * kPage + 100), 0);
}

TEST_F(MappedSemantics, BuffersOfCallsMayBeInTheMapping) {
    int file = ::memfd_create("file", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(file, 3 * kPage), 0);
    ASSERT_EQ(::pwrite(file, "hello", 5, kPage), 5);
    stm_start(fd());
    EXPECT_EQ(::pread(file, bytes(100), 3 * kPage, 0), static_cast<ssize_t>(3 * kPage));
    EXPECT_EQ(std::string(bytes(100 + kPage), 5), "hello");
    std::memcpy(bytes(100 + kPage), "world", 5);
    EXPECT_EQ(::pwrite(file, bytes(100), 3 * kPage, 0), static_cast<ssize_t>(3 * kPage));
    ASSERT_EQ(stm_commit(fd()), 0);
    char back[5] = "";
    EXPECT_EQ(::pread(file, back, 5, kPage), 5);
    EXPECT_EQ(std::string(back, 5), "world");
    EXPECT_EQ(std::string(bytes(100 + kPage), 5), "world");

    EXPECT_EQ(::pwrite(file, bytes(100 + kPage), 5, 0), 5) << "a load outside";
    EXPECT_EQ(::pread(file, bytes(), 5, 0), -1) << "a store outside";
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(*bytes(), 0);
    ::close(file);
}

TEST_F(MappedSemantics, TheBufferOfACallMayBeTheRegionItself) {
    stm_start(fd());
    std::strcpy(bytes(10), "from one page to another");
    EXPECT_EQ(::pwrite(fd(), bytes(10), 25, 3 * kPage - 5), 25);
    EXPECT_STREQ(bytes(3 * kPage - 5), "from one page to another");
    EXPECT_EQ(::pread(fd(), bytes(7 * kPage), 25, 10), 25);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_STREQ(bytes(3 * kPage - 5), "from one page to another");
    EXPECT_STREQ(bytes(7 * kPage), "from one page to another");
    EXPECT_EQ(::pwrite(fd(), bytes(10), 25, 9 * kPage), 25) << "outside";
    EXPECT_STREQ(bytes(9 * kPage), "from one page to another");
}

TEST_F(MappedSemantics, ANestedCancelUndoesOnlyItsOwnStores) {
    store(view_, 64, 1);
    stm_start(fd());
    number(0) = 10;
    EXPECT_EQ(number(4 * kPage), 0); // loaded outside, stored inside
    put(fd(), 11L, 5 * kPage);       // called outside, loaded and stored inside
    stm_start(fd());
    number(0) = 20;
    number(64) = 21;
    number(kPage) = 22;
    number(4 * kPage) = 23;
    EXPECT_EQ(number(5 * kPage), 11);
    number(5 * kPage) = 24;
    put(fd(), 25L, 5 * kPage + 64);
    put(fd(), 26L, 6 * kPage);
    EXPECT_EQ(number(6 * kPage), 26);
    stm_cancel(fd());
    EXPECT_EQ(number(0), 10);
    EXPECT_EQ(number(64), 1);
    EXPECT_EQ(number(kPage), 0);
    EXPECT_EQ(number(4 * kPage), 0);
    EXPECT_EQ(number(5 * kPage), 11);
    EXPECT_EQ(number(5 * kPage + 64), 0);
    EXPECT_EQ(number(6 * kPage), 0);
    EXPECT_EQ(get(fd(), 5 * kPage), 11);
    number(kPage + 8) = 12;
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 10);
    EXPECT_EQ(number(64), 1);
    EXPECT_EQ(number(kPage), 0);
    EXPECT_EQ(number(kPage + 8), 12);
    EXPECT_EQ(number(4 * kPage), 0);
    EXPECT_EQ(number(5 * kPage), 11);
    EXPECT_EQ(number(5 * kPage + 64), 0);
    EXPECT_EQ(number(6 * kPage), 0);
}

TEST_F(MappedSemantics, SeveralMappingsOfAHandleShowTheSame) {
    Mapping second(fd(), size_);
    Mapping readable(fd(), 2 * kPage, PROT_READ, kPage);
    ASSERT_TRUE(second.ok() && readable.ok());
    EXPECT_EQ(*readable.at<volatile long>(), 0);
    stm_start(fd());
    number(kPage) = 5;
    EXPECT_EQ(*second.at<volatile long>(kPage), 5);
    EXPECT_EQ(*readable.at<volatile long>(), 5);
    *second.at<volatile long>(kPage + 8) = 6;
    EXPECT_EQ(number(kPage + 8), 6);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(*readable.at<volatile long>(8), 6);
    EXPECT_EQ(signal_of_store(second.at(kPage)), SIGSEGV);
    EXPECT_EQ(signal_of([&] {
                  stm_start(fd());
                  *readable.at<volatile long>() = 7;
              }),
              SIGSEGV);
    EXPECT_EQ(number(kPage), 5);
}

TEST_F(MappedSemantics, FaultsAreCounted) {
    store(view_, 0, 1);
    const auto before = info_of(fd()).faults;
    stm_start(fd());
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(number(8), 0);
    EXPECT_EQ(info_of(fd()).faults - before, 1u) << "a load";
    number(2 * kPage) = 1;
    number(2 * kPage + 8) = 1;
    EXPECT_EQ(info_of(fd()).faults - before, 2u) << "a page first touched by a store takes one";
    ASSERT_EQ(stm_commit(fd()), 0);
}

} // namespace
