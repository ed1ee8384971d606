// SPDX-License-Identifier: GPL-2.0
// What calls that change mappings, and accesses that do not come from the program's own loads and
// stores, do to a transaction.
#include "mapped.hpp"

#include <array>
#include <sys/uio.h>

using namespace stm::test;

namespace {

class MappedCalls : public Mapped {};

long written_by_process_vm(pid_t pid, volatile void* to, long value) {
    iovec local{&value, sizeof value};
    iovec remote{const_cast<void*>(to), sizeof value};
    return ::process_vm_writev(pid, &local, 1, &remote, 1, 0);
}

long read_by_process_vm(pid_t pid, const volatile void* from) {
    long value = -1;
    iovec local{&value, sizeof value};
    iovec remote{const_cast<void*>(from), sizeof value};
    EXPECT_EQ(::process_vm_readv(pid, &local, 1, &remote, 1, 0),
              static_cast<ssize_t>(sizeof value));
    return value;
}

long written_by_proc_mem(pid_t pid, volatile void* to, long value) {
    Fd memory(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(memory);
    return ::pwrite(memory.get(), &value, sizeof value,
                    static_cast<off_t>(reinterpret_cast<std::uintptr_t>(to)));
}

TEST_F(MappedCalls, AnUnmappedPageIsCommittedAllTheSame) {
    View view = another();
    stm_start(view.fd());
    view[0] = 1;
    view[3 * kPage] = 2;
    ASSERT_EQ(::munmap(view.bytes(), kPage), 0);
    ASSERT_EQ(stm_commit(view.fd()), 0);
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(number(3 * kPage), 2);
    stm_start(view.fd());
    view[3 * kPage] = 3;
    ASSERT_EQ(::munmap(view.bytes(), size_), 0);
    view.mapping().release();
    EXPECT_EQ(number(3 * kPage), 2);
    ASSERT_EQ(stm_commit(view.fd()), 0);
    EXPECT_EQ(number(3 * kPage), 3);
}

TEST_F(MappedCalls, AMappingMadeAgainInsideShowsTheSame) {
    View view = another();
    stm_start(view.fd());
    view[0] = 1;
    ASSERT_EQ(::munmap(view.bytes(), size_), 0);
    view.mapping().release();
    Mapping again(view.fd(), size_);
    EXPECT_EQ(*again.at<volatile long>(), 1);
    *again.at<volatile long>(8) = 2;
    ASSERT_EQ(stm_commit(view.fd()), 0);
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(number(8), 2);
    EXPECT_EQ(signal_of_store(again.data()), SIGSEGV);
}

TEST_F(MappedCalls, DontneedKeepsWhatATransactionStored) {
    stm_start(fd());
    number(0) = 1;
    EXPECT_EQ(number(kPage), 0);
    ASSERT_EQ(::madvise(bytes(), size_, MADV_DONTNEED), 0);
    EXPECT_EQ(number(0), 1);
    number(0) = number(0) + 1;
    ASSERT_EQ(::madvise(bytes(), size_, MADV_DONTNEED), 0);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 2);
    ASSERT_EQ(::madvise(bytes(), size_, MADV_DONTNEED), 0);
    EXPECT_EQ(number(0), 2);
}

TEST_F(MappedCalls, OtherAdviceIsHarmless) {
    store(view_, 0, 7);
    for (int advice : {MADV_WILLNEED, MADV_REMOVE, MADV_FREE, MADV_COLD, MADV_PAGEOUT,
                       MADV_POPULATE_READ, MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE,
                       MADV_HUGEPAGE, 25 /* MADV_COLLAPSE */, MADV_POPULATE_WRITE}) {
        stm_start(fd());
        number(0) = 8;
        (void)::madvise(bytes(), size_, advice);
        EXPECT_EQ(number(0), 8) << "advice " << advice;
        stm_cancel(fd());
        (void)::madvise(bytes(), size_, advice);
        EXPECT_EQ(number(0), 7) << "advice " << advice;
        EXPECT_EQ(get(fd()), 7) << "advice " << advice;
    }
    EXPECT_EQ(::madvise(bytes(), kPage, MADV_POPULATE_WRITE), -1);
}

TEST_F(MappedCalls, ProtectionMayChangeInside) {
    Mapping readable(fd(), size_, PROT_READ);
    ASSERT_TRUE(readable.ok());
    volatile long* first = readable.at<volatile long>();
    stm_start(fd());
    EXPECT_EQ(*first, 0);
    ASSERT_EQ(::mprotect(readable.data(), size_, PROT_READ | PROT_WRITE), 0);
    *first = 1;
    *readable.at<volatile long>(kPage) = 2;
    EXPECT_EQ(number(0), 1);
    ASSERT_EQ(::mprotect(readable.data(), size_, PROT_READ), 0);
    EXPECT_EQ(*first, 1);
    ASSERT_EQ(::mprotect(readable.data(), size_, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(number(kPage), 2);
    *first = 3;
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 3);
    // Outside no protection lets a store through.
    ASSERT_EQ(::mprotect(readable.data(), size_, PROT_READ), 0);
    EXPECT_EQ(*first, 3);
    ASSERT_EQ(::mprotect(readable.data(), size_, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(signal_of_store(readable.data()), SIGSEGV);
    EXPECT_EQ(*first, 3);
    EXPECT_EQ(signal_of([&] {
                  (void)*first;
                  ::mprotect(readable.data(), size_, PROT_READ);
                  ::mprotect(readable.data(), size_, PROT_READ | PROT_WRITE);
                  *first = 9;
              }),
              SIGSEGV);
    EXPECT_EQ(get(fd()), 3);
}

TEST_F(MappedCalls, AMappingMayMove) {
    View view = another();
    store(view, 0, 1);
    void* place = ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* moved = ::mremap(view.bytes(), size_, size_, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    ASSERT_EQ(moved, place);
    view.mapping().release();
    auto* numbers = static_cast<volatile long*>(moved);
    EXPECT_EQ(numbers[0], 1);
    EXPECT_EQ(signal_of_store(moved), SIGSEGV);
    stm_start(view.fd());
    numbers[0] = 2;
    numbers[512] = 3;
    EXPECT_EQ(numbers[1024], 0);
    void* second = ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_EQ(::mremap(moved, size_, size_, MREMAP_MAYMOVE | MREMAP_FIXED, second), second);
    numbers = static_cast<volatile long*>(second);
    EXPECT_EQ(numbers[0], 2);
    EXPECT_EQ(numbers[512], 3);
    numbers[1024] = 4;
    numbers[0] = 5;
    EXPECT_EQ(number(0), 1);
    ASSERT_EQ(stm_commit(view.fd()), 0);
    EXPECT_EQ(number(0), 5);
    EXPECT_EQ(number(kPage), 3);
    EXPECT_EQ(number(2 * kPage), 4);
    EXPECT_EQ(numbers[0], 5);
    EXPECT_EQ(signal_of_store(second), SIGSEGV) << "nothing private stayed mapped";
    elsewhere([&] { store(another(), 0, 6); });
    EXPECT_EQ(numbers[0], 6);
    EXPECT_EQ(::mremap(second, size_, 2 * size_, MREMAP_MAYMOVE), MAP_FAILED);
    ::munmap(second, size_);
}

TEST_F(MappedCalls, ForeignStoresOutsideAreRefused) {
    store(view_, 0, 7);
    EXPECT_EQ(number(0), 7);
    EXPECT_EQ(number(kPage), 0);
    const pid_t self = ::getpid();
    elsewhere([&] {
        EXPECT_EQ(written_by_process_vm(self, &number(0), 8), -1);
        EXPECT_EQ(written_by_proc_mem(self, &number(0), 8), -1);
        EXPECT_EQ(written_by_process_vm(self, &number(9 * kPage), 8), -1);
        EXPECT_EQ(written_by_proc_mem(self, &number(9 * kPage), 8), -1);
        EXPECT_EQ(read_by_process_vm(self, &number(0)), 7);
    });
    EXPECT_EQ(written_by_proc_mem(self, &number(0), 8), -1);
    EXPECT_EQ(number(0), 7);
    EXPECT_EQ(get(fd()), 7);
    EXPECT_EQ(get(fd(), 9 * kPage), 0);
}

TEST_F(MappedCalls, ForeignStoresInsideBelongToTheTransaction) {
    store(view_, 0, 7);
    const pid_t self = ::getpid();
    for (bool kept : {false, true}) {
        stm_start(fd());
        number(kPage) = 1;
        elsewhere([&] {
            EXPECT_EQ(read_by_process_vm(self, &number(kPage)), 1);
            EXPECT_EQ(written_by_process_vm(self, &number(kPage), 2), 8);
            EXPECT_EQ(written_by_proc_mem(self, &number(0), 3), 8) << "first touched by others";
            EXPECT_EQ(get(fd(), 0), 7);
            EXPECT_EQ(get(fd(), kPage), 0);
        });
        EXPECT_EQ(number(kPage), 2);
        EXPECT_EQ(number(0), 3);
        if (!kept) {
            stm_cancel(fd());
            EXPECT_EQ(number(kPage), 0);
            EXPECT_EQ(number(0), 7);
            continue;
        }
        ASSERT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(number(kPage), 2);
        EXPECT_EQ(number(0), 3);
    }
    elsewhere([&] { EXPECT_EQ(written_by_process_vm(self, &number(kPage), 9), -1); });
    EXPECT_EQ(number(kPage), 2);
}

// A pipe holds the transaction's page itself, longer than the transaction.
TEST_F(MappedCalls, APinThatOutlivesATransactionChangesNothing) {
    for (bool kept : {true, false}) {
        int ends[2];
        ASSERT_EQ(::pipe(ends), 0);
        store(view_, 0, 1);
        stm_start(fd());
        number(0) = 2;
        iovec piece{bytes(), kPage};
        const ssize_t spliced = ::vmsplice(ends[1], &piece, 1, 0);
        if (kept)
            ASSERT_EQ(stm_commit(fd()), 0);
        else
            stm_cancel(fd());
        const long expected = kept ? 2 : 1;
        EXPECT_EQ(number(0), expected);
        // The page in the pipe is not used for other transactions: it would show what they do.
        for (long value = 0; value < 100; ++value) {
            stm_start(fd());
            number(0) = -1 - value;
            number((1 + static_cast<std::size_t>(value) % 20) * kPage) = -1 - value;
            if (value % 3 == 0)
                stm_cancel(fd());
            else
                ASSERT_EQ(stm_commit(fd()), 0);
        }
        if (spliced == static_cast<ssize_t>(kPage)) {
            std::array<long, kPage / sizeof(long)> content{};
            ASSERT_EQ(::read(ends[0], content.data(), kPage), static_cast<ssize_t>(kPage));
            EXPECT_EQ(content[0], 2);
        }
        EXPECT_EQ(number(0), -100 + (99 % 3 == 0 ? 1 : 0));
        ::close(ends[0]);
        ::close(ends[1]);
    }
}

// Input that a device, or who stands for one, stores into the pages themselves: from this program's
// own file, since not every kernel's memory files do that.
TEST_F(MappedCalls, DirectInputBelongsToTheTransaction) {
    Fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(file);
    const long head = get(file.get());
    Fd direct(::open("/proc/self/exe", O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (!direct)
        GTEST_SKIP() << "no O_DIRECT here";
    stm_start(fd());
    ASSERT_EQ(::pread(direct.get(), bytes(), kPage, 0), static_cast<ssize_t>(kPage));
    EXPECT_EQ(number(0), head);
    EXPECT_EQ(get(another().fd()), 0);
    stm_cancel(fd());
    EXPECT_EQ(number(0), 0);
    stm_start(fd());
    EXPECT_EQ(number(0), 0); // mapped for loads when the device comes
    ASSERT_EQ(::pread(direct.get(), bytes(), 2 * kPage, 0), static_cast<ssize_t>(2 * kPage));
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), head);
    EXPECT_EQ(get(another().fd()), head);
    EXPECT_EQ(std::memcmp(bytes(), std::vector<char>(kPage).data(), kPage) == 0, false);
    EXPECT_LE(::pread(direct.get(), bytes(), kPage, kPage), 0) << "outside";
    EXPECT_EQ(number(0), head);
}

TEST_F(MappedCalls, DirectOutputIsWhatWasCommitted) {
    store(view_, 0, 7);
    const std::string path = unique_path("direct");
    Fd direct(::open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
    ::unlink(path.c_str());
    if (!direct)
        GTEST_SKIP() << "no O_DIRECT here";
    EXPECT_EQ(::pwrite(direct.get(), bytes(), kPage, 0), static_cast<ssize_t>(kPage));
    EXPECT_EQ(::pread(direct.get(), bytes(), kPage, 0), -1) << "outside";
    stm_start(fd());
    number(0) = 8;
    ASSERT_EQ(::pread(direct.get(), bytes(kPage), kPage, 0), static_cast<ssize_t>(kPage));
    EXPECT_EQ(number(kPage), 7);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(kPage), 7);
}

} // namespace
