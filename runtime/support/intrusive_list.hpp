// SPDX-License-Identifier: LGPL-2.1-or-later
// A doubly linked list of objects that contain their own link. Nothing is allocated, and an element
// is removed in constant time.
//
//     class Waiter : public ListLink<Waiter> { … };
//     IntrusiveList<Waiter> waiters;
//
// An object that is in several lists at a time derives from one ListLink<Tag> for each.
//
// Invariants: the list does not own its elements. An element is in at most one list of a tag, and
// in none when it is destroyed. A list is empty when it is destroyed. A violation panics. One lock
// of the caller protects the list and the links in it. No list has static storage, because its
// destructor would have to be registered.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

template <typename T, typename Tag>
class IntrusiveList;

template <typename Tag>
class ListLink : NonCopyable {
protected:
    constexpr ListLink() noexcept = default;
    ~ListLink() { expects(next_ == nullptr, "ListLink: destroyed while in a list"); }

private:
    template <typename T, typename ListTag>
    friend class IntrusiveList;

    // Both null: in no list.
    ListLink* next_ = nullptr;
    ListLink* previous_ = nullptr;
};

template <typename T, typename Tag = T>
class IntrusiveList : NonCopyable {
    using Link = ListLink<Tag>;

    struct Root : Link {};

    // Knows the next element already, so the loop may remove (and destroy) the current one. It must
    // not remove the next one. Elements inserted behind the last one while that is current are not
    // visited.
    template <typename Element>
    class BasicIterator {
    public:
        [[nodiscard]] Element& operator*() const noexcept { return element(*current_); }
        [[nodiscard]] Element* operator->() const noexcept { return &element(*current_); }
        BasicIterator& operator++() noexcept {
            current_ = next_;
            next_ = current_->next_;
            return *this;
        }
        [[nodiscard]] bool operator==(const BasicIterator& other) const noexcept {
            return current_ == other.current_;
        }

    private:
        friend IntrusiveList;
        explicit BasicIterator(Link* current) noexcept : current_(current), next_(current->next_) {}

        Link* current_;
        Link* next_;
    };

public:
    using Iterator = BasicIterator<T>;
    using ConstIterator = BasicIterator<const T>;

    IntrusiveList() noexcept { close(); }
    ~IntrusiveList() {
        expects(empty(), "IntrusiveList: destroyed with elements");
        root_.next_ = nullptr;
        root_.previous_ = nullptr;
    }

    // Whether the element is in any list of this tag.
    [[nodiscard]] static bool is_linked(const T& element) noexcept {
        return static_cast<const Link&>(element).next_ != nullptr;
    }

    [[nodiscard]] bool empty() const noexcept { return root_.next_ == &root_; }

    // The first and the last element; null if the list is empty.
    [[nodiscard]] T* front() const noexcept { return empty() ? nullptr : &element(*root_.next_); }
    [[nodiscard]] T* back() const noexcept {
        return empty() ? nullptr : &element(*root_.previous_);
    }

    // The element must not be in a list of this tag.
    void push_front(T& element) noexcept { insert_between(element, root_, *root_.next_); }
    void push_back(T& element) noexcept { insert_between(element, *root_.previous_, root_); }

    // Before another element, which must be in this list.
    void insert_before(T& position, T& element) noexcept {
        expects(is_linked(position), "IntrusiveList: inserted before what is in no list");
        Link& next = position;
        insert_between(element, *next.previous_, next);
    }

    // The element must be in this list.
    void remove(T& element) noexcept {
        Link& link = element;
        expects(link.next_ != nullptr, "IntrusiveList: removed what is in no list");
        expects(link.next_->previous_ == &link && link.previous_->next_ == &link,
                "IntrusiveList: the links are damaged");
        link.next_->previous_ = link.previous_;
        link.previous_->next_ = link.next_;
        link.next_ = nullptr;
        link.previous_ = nullptr;
    }

    // Removes and returns the first element; null if the list is empty.
    [[nodiscard]] T* pop_front() noexcept {
        T* first = front();
        if (first != nullptr)
            remove(*first);
        return first;
    }

    // Moves all elements of the other list behind those of this one, in their order. With it a list
    // is emptied under its lock, and its elements are processed without the lock.
    void append(IntrusiveList& other) noexcept {
        if (other.empty() || &other == this)
            return;
        Link& first = *other.root_.next_;
        Link& last = *other.root_.previous_;
        first.previous_ = root_.previous_;
        last.next_ = &root_;
        root_.previous_->next_ = &first;
        root_.previous_ = &last;
        other.close();
    }

    [[nodiscard]] Iterator begin() noexcept { return Iterator(root_.next_); }
    [[nodiscard]] Iterator end() noexcept { return Iterator(&root_); }
    [[nodiscard]] ConstIterator begin() const noexcept { return ConstIterator(root_.next_); }
    // The root, reached through the first element, because in a constant list the root itself is
    // constant.
    [[nodiscard]] ConstIterator end() const noexcept {
        return ConstIterator(root_.next_->previous_);
    }

private:
    static T& element(Link& link) noexcept { return static_cast<T&>(link); }

    void close() noexcept {
        root_.next_ = &root_;
        root_.previous_ = &root_;
    }

    void insert_between(T& element, Link& previous, Link& next) noexcept {
        Link& link = element;
        expects(link.next_ == nullptr, "IntrusiveList: inserted what is in a list already");
        link.next_ = &next;
        link.previous_ = &previous;
        previous.next_ = &link;
        next.previous_ = &link;
    }

    Root root_;
};

} // namespace stm::runtime
