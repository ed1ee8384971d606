// SPDX-License-Identifier: GPL-2.0
// A list, a red-black tree and a hash table, written as if nobody else were there. Each keeps its
// keys once; check() tells how many there are, or finds what is wrong.
//
// The tree is that of Guibas and Sedgewick, "A Dichromatic Framework for Balanced Trees", FOCS
// 1978.
#pragma once

#include "access.hpp"

namespace stm::test {

class List {
public:
    explicit List(Access& access) : a_(access) {}

    bool insert(Node* fresh, long key) {
        Node* before = node(kList);
        Node* next = a_.load(before->child[0]);
        for (; next != nullptr && a_.load(next->key) < key; next = a_.load(next->child[0]))
            before = next;
        if (next != nullptr && a_.load(next->key) == key)
            return false;
        a_.store(fresh->key, key);
        a_.store(fresh->home, Home::list);
        a_.store(fresh->parent, before);
        a_.store(fresh->child[0], next);
        a_.store(before->child[0], fresh);
        if (next != nullptr)
            a_.store(next->parent, fresh);
        return true;
    }
    Node* erase(long key) {
        for (Node* at = a_.load(node(kList)->child[0]); at != nullptr; at = a_.load(at->child[0])) {
            if (a_.load(at->key) != key)
                continue;
            Node* before = a_.load(at->parent);
            Node* next = a_.load(at->child[0]);
            a_.store(before->child[0], next);
            if (next != nullptr)
                a_.store(next->parent, before);
            return at;
        }
        return nullptr;
    }
    std::size_t check() {
        std::size_t count = 0;
        Node* before = node(kList);
        for (Node* at = a_.load(before->child[0]); at != nullptr; at = a_.load(at->child[0])) {
            if (a_.load(at->home) != Home::list)
                a_.fail("list: a node that is not in the list");
            else if (a_.load(at->parent) != before)
                a_.fail("list: a link back that leads elsewhere");
            else if (count != 0 && a_.load(before->key) >= a_.load(at->key))
                a_.fail("list: keys out of order");
            before = at;
            ++count;
        }
        return count;
    }

private:
    Access& a_;
};

class Table {
public:
    explicit Table(Access& access) : a_(access) {}

    bool insert(Node* fresh, long key) {
        Node* bucket = bucket_of(key);
        for (Node* at = a_.load(bucket->child[0]); at != nullptr; at = a_.load(at->child[0])) {
            if (a_.load(at->key) == key)
                return false;
        }
        a_.store(fresh->key, key);
        a_.store(fresh->home, Home::table);
        a_.store(fresh->child[0], a_.load(bucket->child[0]));
        a_.store(bucket->child[0], fresh);
        return true;
    }
    Node* erase(long key) {
        Node* before = bucket_of(key);
        for (Node* at = a_.load(before->child[0]); at != nullptr; at = a_.load(at->child[0])) {
            if (a_.load(at->key) == key) {
                a_.store(before->child[0], a_.load(at->child[0]));
                return at;
            }
            before = at;
        }
        return nullptr;
    }
    std::size_t check() {
        std::size_t count = 0;
        std::bitset<kKeys> seen;
        for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
            for (Node* at = a_.load(node(kTable + bucket)->child[0]); at != nullptr;
                 at = a_.load(at->child[0])) {
                const long key = a_.load(at->key);
                if (a_.failed())
                    return count;
                if (a_.load(at->home) != Home::table)
                    a_.fail("table: a node that is not in the table");
                else if (key < 0 || key >= static_cast<long>(kKeys))
                    a_.fail("table: no key");
                else if (bucket_of(key) != node(kTable + bucket))
                    a_.fail("table: a key in another's bucket");
                else if (seen[static_cast<std::size_t>(key)])
                    a_.fail("table: a key twice");
                else
                    seen[static_cast<std::size_t>(key)] = true;
                ++count;
            }
        }
        return count;
    }

private:
    static Node* bucket_of(long key) {
        return node(kTable + static_cast<std::size_t>(key) * 5 % kBuckets);
    }

    Access& a_;
};

// The root is the left child of a node of its own, so that each node has a parent.
class Tree {
public:
    explicit Tree(Access& access) : a_(access) {}

    bool insert(Node* fresh, long key) {
        Node* parent = node(kTree);
        int side = 0;
        for (Node* at = root(); at != nullptr; at = child(parent, side)) {
            const long found = a_.load(at->key);
            if (found == key)
                return false;
            parent = at;
            side = found < key ? 1 : 0;
        }
        a_.store(fresh->key, key);
        a_.store(fresh->home, Home::tree);
        put(fresh, 0, nullptr);
        put(fresh, 1, nullptr);
        paint(fresh, 1);
        put(parent, side, fresh);
        settle_insert(fresh);
        return true;
    }
    Node* erase(long key) {
        Node* gone = root();
        while (gone != nullptr && a_.load(gone->key) != key)
            gone = child(gone, a_.load(gone->key) < key ? 1 : 0);
        if (gone == nullptr)
            return nullptr;
        Node* hole = parent_of(gone);
        int side = side_of(gone);
        bool black = !is_red(gone);
        Node* left = child(gone, 0);
        Node* right = child(gone, 1);
        if (left == nullptr || right == nullptr) {
            put(hole, side, left != nullptr ? left : right);
        } else {
            // The next larger one takes its place.
            Node* heir = right;
            for (Node* at = child(heir, 0); at != nullptr; at = child(heir, 0))
                heir = at;
            black = !is_red(heir);
            Node* const above = hole;
            const int above_side = side;
            if (heir == right) {
                hole = heir;
                side = 1;
            } else {
                hole = parent_of(heir);
                side = 0;
                put(hole, 0, child(heir, 1));
                put(heir, 1, right);
            }
            put(above, above_side, heir);
            put(heir, 0, left);
            paint(heir, a_.load(gone->red));
        }
        if (black)
            settle_erase(hole, side);
        return gone;
    }
    std::size_t check() {
        std::size_t count = 0;
        Node* top = root();
        if (top != nullptr && is_red(top))
            a_.fail("tree: the root is red");
        check_below(node(kTree), top, -1, static_cast<long>(kKeys), 0, count);
        return count;
    }

private:
    static constexpr int kMostDepth = 40;

    Node* root() { return a_.load(node(kTree)->child[0]); }
    Node* child(Node* of, int side) { return a_.load(of->child[side]); }
    Node* parent_of(Node* of) { return a_.load(of->parent); }
    int side_of(Node* of) { return child(parent_of(of), 1) == of ? 1 : 0; }
    bool is_red(Node* of) { return of != nullptr && a_.load(of->red) != 0; }
    void paint(Node* of, std::uint32_t red) { a_.store(of->red, red); }
    void put(Node* parent, int side, Node* below) {
        a_.store(parent->child[side], below);
        if (below != nullptr)
            a_.store(below->parent, parent);
    }
    // The child on the other side comes up, the node goes down on this side.
    void rotate(Node* down, int side) {
        Node* up = child(down, 1 - side);
        Node* above = parent_of(down);
        const int above_side = side_of(down);
        put(down, 1 - side, child(up, side));
        put(above, above_side, up);
        put(up, side, down);
    }
    void settle_insert(Node* fresh) {
        for (Node* at = fresh; !a_.failed();) {
            Node* parent = parent_of(at);
            if (parent == node(kTree)) {
                paint(at, 0);
                return;
            }
            if (!is_red(parent))
                return;
            Node* above = parent_of(parent);
            const int side = side_of(parent);
            Node* uncle = child(above, 1 - side);
            if (is_red(uncle)) {
                paint(parent, 0);
                paint(uncle, 0);
                paint(above, 1);
                at = above;
                continue;
            }
            if (child(parent, 1 - side) == at) {
                rotate(parent, side);
                parent = at;
            }
            paint(parent, 0);
            paint(above, 1);
            rotate(above, 1 - side);
            return;
        }
    }
    // Below the hole one black node is missing.
    void settle_erase(Node* hole, int side) {
        while (hole != node(kTree) && !is_red(child(hole, side)) && !a_.failed()) {
            Node* sibling = child(hole, 1 - side);
            if (is_red(sibling)) {
                paint(sibling, 0);
                paint(hole, 1);
                rotate(hole, side);
                sibling = child(hole, 1 - side);
            }
            if (!is_red(child(sibling, 0)) && !is_red(child(sibling, 1))) {
                paint(sibling, 1);
                Node* const lacking = hole;
                hole = parent_of(lacking);
                side = side_of(lacking);
                continue;
            }
            if (!is_red(child(sibling, 1 - side))) {
                paint(child(sibling, side), 0);
                paint(sibling, 1);
                rotate(sibling, 1 - side);
                sibling = child(hole, 1 - side);
            }
            paint(sibling, a_.load(hole->red));
            paint(hole, 0);
            paint(child(sibling, 1 - side), 0);
            rotate(hole, side);
            return;
        }
        if (Node* at = child(hole, side); at != nullptr)
            paint(at, 0);
    }
    // The number of black nodes on each way down.
    int check_below(Node* parent, Node* at, long above, long below, int depth, std::size_t& count) {
        if (at == nullptr || a_.failed())
            return 1;
        const long key = a_.load(at->key);
        if (depth > kMostDepth)
            a_.fail("tree: too deep");
        else if (a_.load(at->home) != Home::tree)
            a_.fail("tree: a node that is not in the tree");
        else if (parent_of(at) != parent)
            a_.fail("tree: a link to another parent");
        else if (key <= above || key >= below)
            a_.fail("tree: keys out of order");
        else if (is_red(at) && (is_red(child(at, 0)) || is_red(child(at, 1))))
            a_.fail("tree: a red child of a red node");
        if (a_.failed())
            return 0;
        ++count;
        const int left = check_below(at, child(at, 0), above, key, depth + 1, count);
        const int right = check_below(at, child(at, 1), key, below, depth + 1, count);
        if (left != right && !a_.failed())
            a_.fail("tree: more black nodes on one side");
        return left + (is_red(at) ? 0 : 1);
    }

    Access& a_;
};

// All three, and the nodes that are in none of them.
class Structures {
public:
    explicit Structures(Access& access)
        : a_(access), list_(access), tree_(access), table_(access) {}

    void set_up() {
        for (std::size_t index = kFirst; index < kNodes; ++index)
            give_back(node(index));
    }
    void insert(Home where, long key) {
        Node* fresh = a_.load(node(kUnused)->child[0]);
        if (fresh == nullptr || a_.failed())
            return;
        if (a_.load(fresh->home) != Home::unused)
            a_.fail("an unused node that is used");
        Node* next = a_.load(fresh->child[0]);
        if (insert_node(where, fresh, key))
            a_.store(node(kUnused)->child[0], next);
    }
    void erase(Home where, long key) {
        if (Node* gone = erase_node(where, key))
            give_back(gone);
    }
    void move(Home from, Home to, long key) {
        Node* gone = erase_node(from, key);
        if (gone == nullptr)
            return;
        a_.store(gone->home, Home::nowhere);
        if (!insert_node(to, gone, key))
            give_back(gone);
    }
    std::size_t check(Home where) {
        switch (where) {
        case Home::list:
            return list_.check();
        case Home::tree:
            return tree_.check();
        default:
            return table_.check();
        }
    }
    // Each node is in exactly one place.
    void check_all() {
        std::size_t count = list_.check() + tree_.check() + table_.check();
        for (Node* at = a_.load(node(kUnused)->child[0]); at != nullptr;
             at = a_.load(at->child[0])) {
            if (a_.load(at->home) != Home::unused)
                a_.fail("an unused node that is used");
            ++count;
        }
        if (count != kStock && !a_.failed())
            a_.fail("a node is lost, or in two places");
    }

private:
    bool insert_node(Home where, Node* fresh, long key) {
        switch (where) {
        case Home::list:
            return list_.insert(fresh, key);
        case Home::tree:
            return tree_.insert(fresh, key);
        default:
            return table_.insert(fresh, key);
        }
    }
    Node* erase_node(Home where, long key) {
        switch (where) {
        case Home::list:
            return list_.erase(key);
        case Home::tree:
            return tree_.erase(key);
        default:
            return table_.erase(key);
        }
    }
    // What still leads to it would find nothing that is right.
    void give_back(Node* gone) {
        a_.store(gone->home, Home::unused);
        a_.store(gone->key, -77L);
        a_.store(gone->parent, static_cast<Node*>(nullptr));
        a_.store(gone->child[1], static_cast<Node*>(nullptr));
        a_.store(gone->child[0], a_.load(node(kUnused)->child[0]));
        a_.store(node(kUnused)->child[0], gone);
    }

    Access& a_;
    List list_;
    Tree tree_;
    Table table_;
};

} // namespace stm::test
