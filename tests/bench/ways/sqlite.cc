// SPDX-License-Identifier: GPL-2.0
// SQLite with a write-ahead log, without synchronisation to a disk: accounts, elements, what
// waits in a queue, and records are rows.
#include "scratch_folder.hpp"
#include "way.hpp"

#include <sqlite3.h>
#include <utility>

namespace stm::bench {
namespace {

class Statement {
public:
    Statement() = default;
    Statement(sqlite3* database, const char* text) : database_(database) {
        if (sqlite3_prepare_v2(database, text, -1, &statement_, nullptr) != SQLITE_OK)
            fail();
    }
    ~Statement() { sqlite3_finalize(statement_); }
    Statement(const Statement&) = delete;
    Statement& operator=(Statement&& other) noexcept {
        std::swap(statement_, other.statement_);
        std::swap(database_, other.database_);
        return *this;
    }

    // Executes it with numbers for its question marks. Returns the first number of the first row,
    // or 0.
    template <typename... Numbers>
    long operator()(Numbers... numbers) {
        int place = 0;
        (sqlite3_bind_int64(statement_, ++place, static_cast<sqlite3_int64>(numbers)), ...);
        const int status = sqlite3_step(statement_);
        if (status != SQLITE_ROW && status != SQLITE_DONE)
            fail();
        const long result = status == SQLITE_ROW ? sqlite3_column_int64(statement_, 0) : 0;
        sqlite3_reset(statement_);
        return result;
    }

private:
    [[noreturn]] void fail() {
        throw std::runtime_error(std::string("SQLite: ") + sqlite3_errmsg(database_));
    }

    sqlite3* database_ = nullptr;
    sqlite3_stmt* statement_ = nullptr;
};

struct Close {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
};

class Sqlite : public Contestant {
public:
    // The database must not be open when a process forks.
    Sqlite() {
        connect();
        execute("PRAGMA journal_mode = WAL; BEGIN;"
                "CREATE TABLE account(id INTEGER PRIMARY KEY, value INTEGER);"
                "CREATE TABLE element(key INTEGER PRIMARY KEY);"
                "CREATE TABLE job(id INTEGER PRIMARY KEY AUTOINCREMENT, what INTEGER);"
                "CREATE TABLE record(id INTEGER PRIMARY KEY, value INTEGER, rest BLOB);");
        prepare();
        Statement add(database_.get(), "INSERT INTO account VALUES(?, ?)");
        for (std::size_t account = 0; account < kAccounts; ++account)
            add(account, 100);
        add(kHot, 0);
        for (std::size_t worker = 0; worker < kMostWorkers; ++worker)
            add(kOwn + worker * kPageWords, 0);
        for (std::size_t key = 0; key < kKeys; key += 2)
            insert_(key);
        for (std::size_t count = 0; count < kQueueMost / 2; ++count)
            push_(count);
        // As large as in the other ways.
        Statement add_record(database_.get(), "INSERT INTO record VALUES(?, 0, zeroblob(56))");
        for (std::size_t record = 0; record < kRecords; ++record)
            add_record(record);
        commit_();
        statements_away();
        database_.reset();
    }
    ~Sqlite() override { statements_away(); }

    void enter() override {
        connect();
        prepare();
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
                    sum += get_(place);
                return sum;
            });
        case Kind::bank:
            return writing([&] {
                add_(-1, first);
                add_(1, second);
                return 0L;
            });
        case Kind::sum_1024:
            return reading([&] { return sum_(kAccounts); });
        case Kind::hot_counter:
        case Kind::own_counter:
            return writing([&] {
                add_(1, first);
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
                    sum += get_record_(record_in_page(page, first));
                return sum;
            });
        case Kind::two_records:
            return writing([&] {
                add_to_record_(1, two_records_of(first).first);
                add_to_record_(1, two_records_of(first).second);
                return 2L;
            });
        case Kind::reservation:
            return writing([&] { return reserve(reservation_of(first)); });
        }
        __builtin_unreachable();
    }

private:
    void connect() {
        sqlite3* database = nullptr;
        if (sqlite3_open((folder_.path() + "/data").c_str(), &database) != SQLITE_OK)
            throw std::runtime_error("SQLite cannot open a database");
        database_.reset(database);
        sqlite3_busy_timeout(database, 60000);
        execute("PRAGMA synchronous = OFF");
    }
    void execute(const char* text) {
        if (sqlite3_exec(database_.get(), text, nullptr, nullptr, nullptr) != SQLITE_OK)
            throw std::runtime_error(std::string("SQLite: ") + sqlite3_errmsg(database_.get()));
    }
    // Prepared once, as their makers advise.
    struct Prepared {
        Statement Sqlite::*statement;
        const char* text;
    };
    static constexpr std::size_t kStatements = 14;
    using PreparedAll = const Prepared[kStatements];
    static PreparedAll& all_statements() {
        static const Prepared all[kStatements] = {
            {&Sqlite::begin_, "BEGIN"},
            {&Sqlite::begin_writing_, "BEGIN IMMEDIATE"},
            {&Sqlite::commit_, "COMMIT"},
            {&Sqlite::get_, "SELECT value FROM account WHERE id = ?"},
            {&Sqlite::add_, "UPDATE account SET value = value + ? WHERE id = ?"},
            {&Sqlite::sum_, "SELECT sum(value) FROM account WHERE id < ?"},
            {&Sqlite::find_, "SELECT 1 FROM element WHERE key = ?"},
            {&Sqlite::insert_, "INSERT OR IGNORE INTO element VALUES(?)"},
            {&Sqlite::remove_, "DELETE FROM element WHERE key = ?"},
            {&Sqlite::length_, "SELECT ifnull(max(id) - min(id) + 1, 0) FROM job"},
            {&Sqlite::push_, "INSERT INTO job(what) VALUES(?)"},
            {&Sqlite::get_record_, "SELECT value FROM record WHERE id = ?"},
            {&Sqlite::add_to_record_, "UPDATE record SET value = value + ? WHERE id = ?"},
            {&Sqlite::pop_, "DELETE FROM job WHERE id = (SELECT min(id) FROM job)"},
        };
        return all;
    }
    void prepare() {
        for (const Prepared& each : all_statements())
            this->*each.statement = Statement(database_.get(), each.text);
    }
    void statements_away() {
        for (const Prepared& each : all_statements())
            this->*each.statement = Statement();
    }

    template <typename Body>
    long reading(Body body) {
        begin_();
        const long result = body();
        commit_();
        return result;
    }
    template <typename Body>
    long writing(Body body) {
        begin_writing_();
        const long result = body();
        commit_();
        return result;
    }
    long changed() { return sqlite3_changes(database_.get()); }

    long change_set(Change change, std::size_t key) {
        if (change == Change::look_up)
            return reading([&] { return find_(key) != 0 ? kPresent : 0L; });
        return writing([&] {
            if (change == Change::insert) {
                insert_(key);
                return changed();
            }
            remove_(key);
            return -changed();
        });
    }
    long reserve(const Reservation& reservation) {
        long sum = 0;
        for (std::size_t i = 0; i < kLooked; ++i)
            sum += get_record_(reservation.looked_at(i));
        for (std::size_t i = 0; i < kTaken; ++i)
            add_to_record_(kTakenChanges[i], reservation.looked_at(i));
        return sum;
    }
    long change_queue(Change change) {
        if (change == Change::look_up)
            return reading([&] { return length_(); });
        return writing([&] {
            if (change == Change::remove) {
                pop_();
                return -changed();
            }
            if (length_() == static_cast<long>(kQueueMost))
                return 0L;
            push_(0);
            return 1L;
        });
    }

    ScratchFolder folder_;
    std::unique_ptr<sqlite3, Close> database_;
    Statement begin_, begin_writing_, commit_, get_, add_, sum_, find_, insert_, remove_, length_,
        push_, pop_, get_record_, add_to_record_;
};

} // namespace

std::unique_ptr<Contestant> make_sqlite() {
    return std::make_unique<Sqlite>();
}

} // namespace stm::bench
