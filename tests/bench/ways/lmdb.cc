// SPDX-License-Identifier: GPL-2.0
// LMDB, without synchronisation to a disk, as an application uses it: accounts and elements are
// keys.
#include "way.hpp"

#include <cstdlib>
#include <filesystem>
#include <lmdb.h>
#include <stdexcept>

namespace stm::bench {
namespace {

void check(int error, const char* what) {
    if (error != MDB_SUCCESS)
        throw std::runtime_error(std::string(what) + ": " + mdb_strerror(error));
}

class Lmdb : public Contestant {
public:
    Lmdb() {
        check(mdb_env_create(&environment_), "mdb_env_create");
        check(mdb_env_set_mapsize(environment_, 64 << 20), "mdb_env_set_mapsize");
        check(mdb_env_set_maxdbs(environment_, 4), "mdb_env_set_maxdbs");
        check(mdb_env_open(environment_, folder_.path.c_str(),
                           MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP, 0600),
              "mdb_env_open");
        check(mdb_txn_begin(environment_, nullptr, 0, &transaction_), "mdb_txn_begin");
        check(mdb_dbi_open(transaction_, "accounts", MDB_CREATE | MDB_INTEGERKEY, &accounts_),
              "mdb_dbi_open");
        check(mdb_dbi_open(transaction_, "set", MDB_CREATE | MDB_INTEGERKEY, &set_),
              "mdb_dbi_open");
        for (std::size_t account = 0; account <= kHot; ++account)
            put(accounts_, account, 100);
        for (std::size_t key = 0; key < kKeys; key += 2)
            put(set_, key, 1);
        check(mdb_txn_commit(transaction_), "mdb_txn_commit");
        check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reader_), "mdb_txn_begin");
        mdb_txn_reset(reader_);
    }
    ~Lmdb() override {
        mdb_txn_abort(reader_);
        mdb_env_close(environment_);
    }

    long run(Work work, Random& random) override {
        long result = 0;
        switch (work) {
        case Work::read_only_8:
            reading([&] {
                for (int i = 0; i < 8; ++i)
                    result += get(accounts_, random() % kAccounts);
            });
            break;
        case Work::bank_2r2w: {
            const std::size_t from = random() % kAccounts;
            const std::size_t to = random() % kAccounts;
            writing([&] {
                put(accounts_, from, get(accounts_, from) - 1);
                put(accounts_, to, get(accounts_, to) + 1);
            });
            break;
        }
        case Work::hot_counter:
            writing([&] { put(accounts_, kHot, get(accounts_, kHot) + 1); });
            break;
        case Work::sum_1024:
            reading([&] { result = sum(); });
            break;
        case Work::list_20:
        case Work::hash_set_20:
        case Work::ordered_map_20:
            change(next_operation(random));
            break;
        }
        return result;
    }

private:
    // In memory: /dev/shm.
    struct Folder {
        std::string path = "/dev/shm/stm-bench-lmdb-XXXXXX";
        Folder() {
            if (::mkdtemp(path.data()) == nullptr)
                throw std::runtime_error("cannot make " + path);
        }
        ~Folder() { std::filesystem::remove_all(path); }
        Folder(const Folder&) = delete;
        Folder& operator=(const Folder&) = delete;
    };

    template <typename Body>
    void reading(Body body) {
        check(mdb_txn_renew(reader_), "mdb_txn_renew");
        transaction_ = reader_;
        body();
        mdb_txn_reset(reader_);
    }
    template <typename Body>
    void writing(Body body) {
        check(mdb_txn_begin(environment_, nullptr, 0, &transaction_), "mdb_txn_begin");
        body();
        check(mdb_txn_commit(transaction_), "mdb_txn_commit");
    }
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
    long sum() {
        MDB_cursor* cursor = nullptr;
        check(mdb_cursor_open(transaction_, accounts_, &cursor), "mdb_cursor_open");
        long total = 0;
        MDB_val key{};
        MDB_val data{};
        for (std::size_t count = 0;
             count < kAccounts && mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == MDB_SUCCESS;
             ++count)
            total += *static_cast<const long*>(data.mv_data);
        mdb_cursor_close(cursor);
        return total;
    }
    void change(Operation operation) {
        long value = 0;
        if (operation.change == Change::look_up) {
            reading([&] { find(set_, operation.key, value); });
            return;
        }
        writing([&] {
            if (operation.change == Change::insert) {
                put(set_, operation.key, 1);
            } else if (find(set_, operation.key, value)) {
                MDB_val name = value_of(&operation.key, sizeof(operation.key));
                check(mdb_del(transaction_, set_, &name, nullptr), "mdb_del");
            }
        });
    }

    Folder folder_;
    MDB_env* environment_ = nullptr;
    MDB_txn* transaction_ = nullptr;
    MDB_txn* reader_ = nullptr;
    MDB_dbi accounts_ = 0;
    MDB_dbi set_ = 0;
};

} // namespace

std::unique_ptr<Contestant> make_lmdb() {
    return std::make_unique<Lmdb>();
}

} // namespace stm::bench
