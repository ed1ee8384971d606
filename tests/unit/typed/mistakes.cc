// SPDX-License-Identifier: GPL-2.0
// Mistakes that the compiler must refuse, one for each number. With MISTAKE=0 it must compile.
#include <stm/stm.hpp>
#include <string>
#include <string_view>

struct with_destructor {
    ~with_destructor() {}
    int x;
};
struct node {
    stm::var<int> value;
};

void mistakes(const stm::region& region, node& n, const node& constant) {
    stm::atomically(region, [&](stm::transaction& tx) {
        tx[n.value] = 1;
        int seen = tx[constant.value];
        static_cast<void>(seen);
#if MISTAKE == 1 // expect: an address means nothing in another process
        static_cast<void>(tx.make<stm::var<int*>>());
#elif MISTAKE == 2  // expect: must be trivially copyable
        static_cast<void>(tx.make<stm::var<std::string>>());
#elif MISTAKE == 3  // expect: must be trivially copyable
        static_cast<void>(tx.make<stm::var<with_destructor>>());
#elif MISTAKE == 4  // expect: neither a destructor nor virtual functions
        static_cast<void>(tx.make<with_destructor>());
#elif MISTAKE == 5  // expect: an address means nothing in another process
        static_cast<void>(tx.make<stm::var<std::string_view>>());
#elif MISTAKE == 6  // expect: use an array of var
        static_cast<void>(tx.make<stm::var<int[4]>>());
#elif MISTAKE == 7  // a variable is read by way of a transaction only
        int direct = n.value;
        static_cast<void>(direct);
#elif MISTAKE == 8  // and stored to
        n.value = 5;
#elif MISTAKE == 9  // what is const is only read
        tx[constant.value] = 5;
#elif MISTAKE == 10 // a variable has its place, and no copy
        auto copy = n.value;
        static_cast<void>(copy);
#elif MISTAKE == 11 // constraints not satisfied
        stm::vector<std::string> strings;
#elif MISTAKE == 12 // expect: equal values may have different bytes
        stm::unordered_map<double, int> by_real;
        static_cast<void>(by_real.contains(tx, 0.5));
#elif MISTAKE == 13 // a pointer into a region is no address
        int* address = stm::ptr<int>(64);
        static_cast<void>(address);
#endif
    });
    stm::read_only(region, [&](stm::read_transaction& tx) {
#if MISTAKE == 14 // a read-only transaction does not store
        tx[n.value] = 1;
#elif MISTAKE == 15 // nor allocate
        static_cast<void>(tx.make<node>(1));
#elif MISTAKE == 16 // nor change a container
        stm::queue<int> q;
        q.push(tx, 1);
#endif
        static_cast<void>(tx);
    });
#if MISTAKE == 17 // nor can its function ask for more
    stm::read_only(region, [&](stm::transaction& tx) { tx[n.value] = 1; });
#elif MISTAKE == 18 // who throws restart is the library
    throw stm::restart();
#endif
}
