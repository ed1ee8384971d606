// SPDX-License-Identifier: GPL-2.0
// LMDB, without synchronisation to a disk, as an application uses it: accounts, elements, what
// waits in a queue, and records are keys. A record is as large as in the other ways, so that as
// many fit into a page.
#include "scratch_folder.hpp"
#include "way.hpp"

#include <lmdb.h>

namespace stm::bench {
namespace {

void check(int error, const char* what) {
    if (error != MDB_SUCCESS)
        throw std::runtime_error(std::string(what) + ": " + mdb_strerror(error));
}

class Lmdb : public Contestant {
public:
    // The environment must not be open when a process forks.
    Lmdb() {
        enter();
        writing([&] {
            for (std::size_t account = 0; account < kAccounts; ++account)
                put(accounts_, account, 100);
            put(accounts_, kHot, 0);
            for (std::size_t worker = 0; worker < kMostWorkers; ++worker)
                put(accounts_, kOwn + worker * kPageWords, 0);
            for (std::size_t key = 0; key < kKeys; key += 2)
                put(set_, key, 1);
            for (std::size_t key = 0; key < kQueueMost / 2; ++key)
                put(queue_, key, 0);
            for (std::size_t record = 0; record < kRecords; ++record)
                put_record(record, {});
            return 0L;
        });
        leave();
    }
    ~Lmdb() override { leave(); }

    void enter() override {
        check(mdb_env_create(&environment_), "mdb_env_create");
        check(mdb_env_set_mapsize(environment_, 64 << 20), "mdb_env_set_mapsize");
        check(mdb_env_set_maxdbs(environment_, 4), "mdb_env_set_maxdbs");
        check(mdb_env_open(environment_, folder_.path().c_str(),
                           MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP, 0600),
              "mdb_env_open");
        writing([&] {
            open_table("accounts", accounts_);
            open_table("set", set_);
            open_table("queue", queue_);
            open_table("records", records_);
            return 0L;
        });
        check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reader_), "mdb_txn_begin");
        mdb_txn_reset(reader_);
    }

    using Contestant::run;
    long run(const Task& task) override {
        const std::size_t first = task.places[0];
        const std::size_t second = task.places[1];
        switch (task.kind) {
        case Kind::read_only_8:
            return reading([&] {
                long sum = 0;
                for (const std::size_t place : task.places)
                    sum += get(accounts_, place);
                return sum;
            });
        case Kind::bank:
            return writing([&] {
                put(accounts_, first, get(accounts_, first) - 1);
                put(accounts_, second, get(accounts_, second) + 1);
                return 0L;
            });
        case Kind::sum_1024:
            return reading([&] { return sum(); });
        case Kind::hot_counter:
        case Kind::own_counter:
            return writing([&] {
                put(accounts_, first, get(accounts_, first) + 1);
                return 1L;
            });
        case Kind::list:
        case Kind::hash_set:
        case Kind::ordered_map:
            return change_set(task.change, first);
        case Kind::queue:
            return change_queue(task.change);
        case Kind::table:
            return reading([&] {
                long sum = 0;
                for (std::size_t page = 0; page < kTablePages; ++page)
                    sum += get_record(record_in_page(page, first)).words[0];
                return sum;
            });
        case Kind::two_records:
            return writing([&] {
                add_to_record(two_records_of(first).first, 1);
                add_to_record(two_records_of(first).second, 1);
                return 2L;
            });
        case Kind::reservation:
            return writing([&] { return reserve(reservation_of(first)); });
        }
        __builtin_unreachable();
    }

private:
    void leave() {
        if (environment_ == nullptr)
            return;
        mdb_txn_abort(reader_);
        mdb_env_close(environment_);
        environment_ = nullptr;
    }
    void open_table(const char* name, MDB_dbi& table) {
        check(mdb_dbi_open(transaction_, name, MDB_CREATE | MDB_INTEGERKEY, &table),
              "mdb_dbi_open");
    }

    template <typename Body>
    long reading(Body body) {
        check(mdb_txn_renew(reader_), "mdb_txn_renew");
        transaction_ = reader_;
        const long result = body();
        mdb_txn_reset(reader_);
        return result;
    }
    template <typename Body>
    long writing(Body body) {
        check(mdb_txn_begin(environment_, nullptr, 0, &transaction_), "mdb_txn_begin");
        const long result = body();
        check(mdb_txn_commit(transaction_), "mdb_txn_commit");
        return result;
    }
    struct Record {
        long words[kRecordWords];
    };
    static MDB_val value_of(void* place, std::size_t bytes) { return {bytes, place}; }

    bool find(MDB_dbi table, std::size_t key, long& value) {
        MDB_val name = value_of(&key, sizeof(key));
        MDB_val found{};
        const int error = mdb_get(transaction_, table, &name, &found);
        if (error == MDB_NOTFOUND)
            return false;
        check(error, "mdb_get");
        value = *static_cast<const long*>(found.mv_data);
        return true;
    }
    long get(MDB_dbi table, std::size_t key) {
        long value = 0;
        find(table, key, value);
        return value;
    }
    void put(MDB_dbi table, std::size_t key, long value) {
        MDB_val name = value_of(&key, sizeof(key));
        MDB_val data = value_of(&value, sizeof(value));
        check(mdb_put(transaction_, table, &name, &data, 0), "mdb_put");
    }
    Record get_record(std::size_t record) {
        MDB_val name = value_of(&record, sizeof(record));
        MDB_val found{};
        check(mdb_get(transaction_, records_, &name, &found), "mdb_get");
        return *static_cast<const Record*>(found.mv_data);
    }
    void put_record(std::size_t record, Record value) {
        MDB_val name = value_of(&record, sizeof(record));
        MDB_val data = value_of(&value, sizeof(value));
        check(mdb_put(transaction_, records_, &name, &data, 0), "mdb_put");
    }
    void add_to_record(std::size_t record, long change) {
        Record value = get_record(record);
        value.words[0] += change;
        put_record(record, value);
    }
    long reserve(const Reservation& reservation) {
        Record taken[kTaken];
        long sum = 0;
        for (std::size_t i = 0; i < kLooked; ++i) {
            const Record record = get_record(reservation.looked_at(i));
            sum += record.words[0];
            if (i < kTaken)
                taken[i] = record;
        }
        for (std::size_t i = 0; i < kTaken; ++i) {
            taken[i].words[0] += kTakenChanges[i];
            put_record(reservation.looked_at(i), taken[i]);
        }
        return sum;
    }
    void remove(MDB_dbi table, std::size_t key) {
        MDB_val name = value_of(&key, sizeof(key));
        check(mdb_del(transaction_, table, &name, nullptr), "mdb_del");
    }

    // visit(key, value) for the entries from one end on, until it returns false.
    template <typename Visit>
    void walk(MDB_dbi table, MDB_cursor_op from, Visit visit) {
        MDB_cursor* cursor = nullptr;
        check(mdb_cursor_open(transaction_, table, &cursor), "mdb_cursor_open");
        MDB_val key{};
        MDB_val data{};
        for (int found = mdb_cursor_get(cursor, &key, &data, from); found == MDB_SUCCESS;
             found = mdb_cursor_get(cursor, &key, &data, MDB_NEXT))
            if (!visit(*static_cast<const std::size_t*>(key.mv_data),
                       *static_cast<const long*>(data.mv_data)))
                break;
        mdb_cursor_close(cursor);
    }
    long sum() {
        long total = 0;
        walk(accounts_, MDB_FIRST, [&](std::size_t key, long value) {
            total += key < kAccounts ? value : 0;
            return key < kAccounts;
        });
        return total;
    }
    long change_set(Change change, std::size_t key) {
        long value = 0;
        if (change == Change::look_up)
            return reading([&] { return find(set_, key, value) ? kPresent : 0L; });
        return writing([&] {
            const bool found = find(set_, key, value);
            if (change == Change::insert && !found) {
                put(set_, key, 1);
                return 1L;
            }
            if (change == Change::remove && found) {
                remove(set_, key);
                return -1L;
            }
            return 0L;
        });
    }
    // Keys of the queue grow.
    bool end_of_queue(MDB_cursor_op which, std::size_t& end) {
        bool found = false;
        walk(queue_, which, [&](std::size_t key, long) {
            end = key;
            found = true;
            return false;
        });
        return found;
    }
    long change_queue(Change change) {
        const auto body = [&] {
            std::size_t first = 0;
            std::size_t last = 0;
            const bool found = end_of_queue(MDB_FIRST, first) && end_of_queue(MDB_LAST, last);
            const std::size_t length = found ? last - first + 1 : 0;
            if (change == Change::insert && length < kQueueMost) {
                put(queue_, found ? last + 1 : 0, 0);
                return 1L;
            }
            if (change == Change::remove && found) {
                remove(queue_, first);
                return -1L;
            }
            return change == Change::look_up ? static_cast<long>(length) : 0L;
        };
        return change == Change::look_up ? reading(body) : writing(body);
    }

    ScratchFolder folder_;
    MDB_env* environment_ = nullptr;
    MDB_txn* transaction_ = nullptr;
    MDB_txn* reader_ = nullptr;
    MDB_dbi accounts_ = 0;
    MDB_dbi set_ = 0;
    MDB_dbi queue_ = 0;
    MDB_dbi records_ = 0;
};

} // namespace

std::unique_ptr<Contestant> make_lmdb() {
    return std::make_unique<Lmdb>();
}

} // namespace stm::bench
