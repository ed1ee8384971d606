// SPDX-License-Identifier: LGPL-2.1-or-later
// What this process has attached. stm/shm.h and stm/ssmem.h have one table each.
//
// Locks: A table's lock protects its entries, and what they stand for: while a thread holds the
// lock for reading, no entry loses its mapping or its handle. A fork waits for the lock, so the
// child's copy of the table is whole. The child initialises its lock again, because the owner of
// the lock is a thread that the child does not have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <pthread.h>

namespace stm::library {

struct Attachment {
    std::uintptr_t address;
    std::size_t length; // bytes
    int id;             // shm: the segment; ssmem: unused
    int handle;         // ssmem: the region, open; shm: -1
    int access;         // PROT_*
};

// Usable without a constructor: the library runs none.
class AttachmentTable {
public:
    constexpr AttachmentTable() = default;
    AttachmentTable(const AttachmentTable&) = delete;
    AttachmentTable& operator=(const AttachmentTable&) = delete;

    void lock_shared() { pthread_rwlock_rdlock(&lock_); }
    void lock() { pthread_rwlock_wrlock(&lock_); }
    void unlock() { pthread_rwlock_unlock(&lock_); }
    /** In the child of a fork that happened with the lock held. */
    void reset_lock() { pthread_rwlock_init(&lock_, nullptr); }

    // The results are valid until the lock is released or the table changes; null: there is none.
    [[nodiscard]] Attachment* find_id_locked(int id);
    /** The entry that begins at this address. */
    [[nodiscard]] Attachment* find_start_locked(std::uintptr_t address);
    /** The entry that contains this address. */
    [[nodiscard]] Attachment* find_within_locked(std::uintptr_t address);

    /** Makes room for one more entry, so that the next add_locked() cannot fail. Returns 0, or -1
     * with errno ENOMEM. */
    [[nodiscard]] int reserve_locked();
    void add_locked(const Attachment& attachment) { entries_[count_++] = attachment; }
    void remove_locked(Attachment* attachment) { *attachment = entries_[--count_]; }

private:
    pthread_rwlock_t lock_ = PTHREAD_RWLOCK_INITIALIZER;
    Attachment* entries_ = nullptr;
    std::size_t count_ = 0;
    std::size_t capacity_ = 0;
};

class SharedGuard {
public:
    explicit SharedGuard(AttachmentTable& table) : table_(table) { table_.lock_shared(); }
    ~SharedGuard() { table_.unlock(); }
    SharedGuard(const SharedGuard&) = delete;
    SharedGuard& operator=(const SharedGuard&) = delete;

private:
    AttachmentTable& table_;
};

class ExclusiveGuard {
public:
    explicit ExclusiveGuard(AttachmentTable& table) : table_(table) { table_.lock(); }
    ~ExclusiveGuard() { table_.unlock(); }
    ExclusiveGuard(const ExclusiveGuard&) = delete;
    ExclusiveGuard& operator=(const ExclusiveGuard&) = delete;

private:
    AttachmentTable& table_;
};

} // namespace stm::library
