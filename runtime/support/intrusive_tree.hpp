// SPDX-License-Identifier: LGPL-2.1-or-later
// A search tree of objects that contain their own link. It finds the first one whose key is at
// least a given one. Nothing is allocated.
//
//     struct ById {
//         using Key = u64;
//         static Key key(const Region& region) { return region.id(); }
//         u64 priority(Key key) const { return hash_number(key, seed); }
//         HashSeed seed;
//     };
//     IntrusiveTree<Region, ById> regions(ById{seed});
//
// It is a treap: Raimund Seidel and Cecilia Aragon, "Randomized Search Trees", 1996. Along each way
// down the priorities fall. They are hashes of the keys, so a tree of n elements is about 2 ln n
// deep however its elements came and went, and no user can choose keys that make it deeper.
//
// Invariants: the tree does not own its elements. A key does not change while its element is in the
// tree. Elements with equal keys are in the order in which they came. An element is in no tree when
// it is destroyed, and a tree is empty when it is destroyed; a violation panics. One lock of the
// caller protects the tree and its elements' links. Nothing here calls itself: a kernel's stack is
// small.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

template <typename T, typename Traits, typename Tag>
class IntrusiveTree;

template <typename Tag>
class TreeLink : NonCopyable {
protected:
    constexpr TreeLink() noexcept = default;
    ~TreeLink() { expects(lower_ == this, "TreeLink: destroyed while in a tree"); }

private:
    template <typename T, typename Traits, typename TreeTag>
    friend class IntrusiveTree;

    // The roots of the trees below with lower and with higher keys. The first one points to its own
    // element: that is in no tree.
    TreeLink* lower_ = this;
    TreeLink* higher_ = nullptr;
};

template <typename T, typename Traits, typename Tag = T>
class IntrusiveTree : NonCopyable {
    using Link = TreeLink<Tag>;

public:
    using Key = typename Traits::Key;

    constexpr explicit IntrusiveTree(Traits traits = Traits()) noexcept
        : traits_(runtime::move(traits)) {}
    ~IntrusiveTree() { expects(empty(), "IntrusiveTree: destroyed with elements"); }

    [[nodiscard]] static bool is_linked(const T& element) noexcept {
        const Link& link = element;
        return link.lower_ != &link;
    }

    [[nodiscard]] bool empty() const noexcept { return root_ == nullptr; }

    // The element must be in no tree of this tag.
    void insert(T& element) noexcept {
        expects(!is_linked(element), "IntrusiveTree: inserted what is in a tree already");
        const Key key = traits_.key(element);
        const u64 priority = traits_.priority(key);
        Link** place = &root_;
        while (*place != nullptr && priority_of(**place) >= priority)
            place = &towards(**place, key);
        // Who was here comes below it: those with lower keys on one side, with higher ones on the
        // other. Each place is where the next one of its side goes.
        Link& link = element;
        Link* rest = *place;
        *place = &link;
        Link** lower = &link.lower_;
        Link** higher = &link.higher_;
        while (rest != nullptr) {
            Link**& side = key_of(*rest) < key ? lower : higher;
            *side = rest;
            side = &side == &lower ? &rest->higher_ : &rest->lower_;
            rest = *side;
        }
        *lower = nullptr;
        *higher = nullptr;
    }

    // The element must be in this tree.
    void remove(T& element) noexcept {
        Link& link = element;
        expects(is_linked(element), "IntrusiveTree: removed what is in no tree");
        const Key key = traits_.key(element);
        Link** place = &root_;
        while (*place != &link) {
            expects(*place != nullptr, "IntrusiveTree: removed what is in another tree");
            place = &towards(**place, key);
        }
        // Both trees below it become one.
        Link* lower = link.lower_;
        Link* higher = link.higher_;
        while (lower != nullptr && higher != nullptr) {
            if (priority_of(*lower) >= priority_of(*higher)) {
                *place = lower;
                place = &lower->higher_;
                lower = *place;
            } else {
                *place = higher;
                place = &higher->lower_;
                higher = *place;
            }
        }
        *place = lower != nullptr ? lower : higher;
        link.lower_ = &link;
        link.higher_ = nullptr;
    }

    // The first element whose key is at least this one, or null.
    [[nodiscard]] T* find_from(const Key& key) const noexcept {
        Link* found = nullptr;
        for (Link* link = root_; link != nullptr;) {
            if (key_of(*link) < key) {
                link = link->higher_;
            } else {
                found = link;
                link = link->lower_;
            }
        }
        return found == nullptr ? nullptr : static_cast<T*>(found);
    }

private:
    static Key key_of(const Link& link) noexcept {
        return Traits::key(static_cast<const T&>(link));
    }
    [[nodiscard]] u64 priority_of(const Link& link) const noexcept {
        return traits_.priority(key_of(link));
    }
    // Where the way to that key goes on.
    static Link*& towards(Link& link, const Key& key) noexcept {
        return key < key_of(link) ? link.lower_ : link.higher_;
    }

    Traits traits_;
    Link* root_ = nullptr;
};

} // namespace stm::runtime
