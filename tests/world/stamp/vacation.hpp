// SPDX-License-Identifier: GPL-2.0
// A travel agency: clients reserve cars, flights and rooms, cancel, and add to what there is. One
// transaction looks up some ten things in tables, and changes a few. What the clients ask for does
// not depend on each other's order, so the books are the same at the end.
#pragma once

#include "application.hpp"

#include <vector>

namespace stm::stamp {

class Vacation {
public:
    static constexpr const char* kName = "vacation";
    static constexpr u64 kKinds = 3;
    explicit Vacation(unsigned size) : items_(256 * size), actions_(400 * size) {}

    struct Item {
        var<u64> total, used, price;
    };
    using Items = Map<Item, 1024>;
    struct Booking {
        var<u64> kind, item, price;
        var<ptr<Booking>> next;
    };
    struct Customer {
        var<ptr<Booking>> bookings;
    };
    using Customers = Map<Customer, 1024>;
    struct Shared {
        Heap heaps[kMaxWorkers + 1];
        Items kinds[kKinds];
        Customers customers;
        struct alignas(4096) Bill {
            var<u64> paid;
        } bills[kMaxWorkers];
    };

    template <typename Way>
    void fill(Way& way, Shared& shared) const {
        for (u64 kind = 0; kind < kKinds; ++kind)
            for (u64 item = 0; item < items_; ++item)
                way.atomically([&](auto& tx) {
                    auto& made =
                        tx[shared.kinds[kind].add(tx, shared.heaps[kMaxWorkers], item)].value;
                    tx[made.total] = 1000000;
                    tx[made.used] = 0;
                    tx[made.price] = 50 + mix(kind * items_ + item) % 500;
                });
    }

    template <typename Way>
    void work(Way& way, Shared& shared, unsigned worker, unsigned workers) const {
        for (u64 action = worker; action < actions_; action += workers) {
            // A customer is served by one client, in the order of the actions.
            Random random(action + 1);
            const u64 customer = action % kOrders;
            const u64 what = random.below(100);
            Heap& heap = shared.heaps[worker];
            if (what < 80)
                reserve(way, shared, heap, customer, random);
            else if (what < 90)
                leave(way, shared, heap, shared.bills[worker], customer);
            else
                add_stock(way, shared, random);
        }
    }

    /** The books as one number, and 0 if they do not add up. */
    template <typename Way>
    u64 result(Way& way, Shared& shared) const {
        u64 sum = 0;
        std::vector<u64> used(kKinds * items_);
        for (u64 customer = 0; customer < kOrders; ++customer)
            way.read_only([&](auto& tx) {
                const auto found = shared.customers.find(tx, customer);
                if (!found)
                    return u64{0};
                ptr<Booking> booking = tx[tx[found].value.bookings];
                for (u64 place = 1; booking; ++place) {
                    auto& it = tx[booking];
                    const u64 kind = tx[it.kind], item = tx[it.item], price = tx[it.price];
                    ++used[kind * items_ + item];
                    sum += mix(customer + mix(place + mix(kind * items_ + item + price)));
                    booking = tx[it.next];
                }
                return u64{0};
            });
        for (u64 kind = 0; kind < kKinds; ++kind)
            for (u64 item = 0; item < items_; ++item) {
                const u64 its_used = way.read_only([&](auto& tx) {
                    auto& it = tx[shared.kinds[kind].find(tx, item)].value;
                    const u64 total = tx[it.total], now_used = tx[it.used];
                    sum += mix(total + mix(now_used));
                    return now_used;
                });
                if (its_used != used[kind * items_ + item])
                    return 0;
            }
        for (auto& bill : shared.bills)
            sum += way.read_only([&](auto& tx) {
                const u64 paid = tx[bill.paid];
                return paid;
            });
        return sum;
    }

private:
    static constexpr u64 kQueries = 10;
    // A multiple of all numbers of workers, so that a customer is one worker's.
    static constexpr u64 kOrders = 240;

    template <typename Way>
    void reserve(Way& way, Shared& shared, Heap& heap, u64 customer, Random& random) const {
        u64 kinds[kQueries], items[kQueries];
        for (u64 query = 0; query < kQueries; ++query) {
            kinds[query] = random.below(kKinds);
            items[query] = random.below(items_);
        }
        way.atomically([&](auto& tx) {
            u64 best_price[kKinds] = {}, best_item[kKinds] = {};
            for (u64 query = 0; query < kQueries; ++query) {
                auto& item = tx[shared.kinds[kinds[query]].find(tx, items[query])].value;
                const u64 total = tx[item.total], used = tx[item.used], price = tx[item.price];
                if (used < total && price > best_price[kinds[query]]) {
                    best_price[kinds[query]] = price;
                    best_item[kinds[query]] = items[query];
                }
            }
            auto who = shared.customers.find(tx, customer);
            if (!who) {
                who = shared.customers.add(tx, heap, customer);
                tx[tx[who].value.bookings] = ptr<Booking>();
            }
            for (u64 kind = 0; kind < kKinds; ++kind) {
                if (best_price[kind] == 0)
                    continue;
                auto& item = tx[shared.kinds[kind].find(tx, best_item[kind])].value;
                const u64 used = tx[item.used];
                tx[item.used] = used + 1;
                const ptr<Booking> made = heap.template allocate<Booking>(tx);
                const ptr<Booking> first = tx[tx[who].value.bookings];
                tx[tx[made].kind] = kind;
                tx[tx[made].item] = best_item[kind];
                tx[tx[made].price] = best_price[kind];
                tx[tx[made].next] = first;
                tx[tx[who].value.bookings] = made;
            }
        });
    }

    template <typename Way>
    void leave(Way& way, Shared& shared, Heap& heap, Shared::Bill& bill, u64 customer) const {
        way.atomically([&](auto& tx) {
            const auto who = shared.customers.find(tx, customer);
            if (!who)
                return;
            u64 paid = tx[bill.paid];
            ptr<Booking> booking = tx[tx[who].value.bookings];
            while (booking) {
                auto& it = tx[booking];
                const u64 kind = tx[it.kind], which = tx[it.item], price = tx[it.price];
                const ptr<Booking> following = tx[it.next];
                auto& item = tx[shared.kinds[kind].find(tx, which)].value;
                const u64 used = tx[item.used];
                tx[item.used] = used - 1;
                paid += price;
                heap.release(tx, booking);
                booking = following;
            }
            tx[bill.paid] = paid;
            shared.customers.remove(tx, heap, who);
        });
    }

    template <typename Way>
    void add_stock(Way& way, Shared& shared, Random& random) const {
        u64 kinds[kQueries], items[kQueries];
        for (u64 query = 0; query < kQueries; ++query) {
            kinds[query] = random.below(kKinds);
            items[query] = random.below(items_);
        }
        way.atomically([&](auto& tx) {
            for (u64 query = 0; query < kQueries; ++query) {
                auto& item = tx[shared.kinds[kinds[query]].find(tx, items[query])].value;
                const u64 total = tx[item.total];
                tx[item.total] = total + 100;
            }
        });
    }

    u64 items_, actions_;
};

} // namespace stm::stamp
