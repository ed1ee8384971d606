// SPDX-License-Identifier: LGPL-2.1-or-later
// A region that this process has attached.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stm/detail/attachment.hpp>
#include <stm/stm.h>
#include <stm/tx.h>
#include <stm/var.hpp>
#include <string>
#include <system_error>

namespace stm {

/** The region holds the root of a program that was built with another layout. */
class layout_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/**
 * Any number of threads may use a region. What fails throws std::system_error, with the errors of
 * stm_region_open(). Objects in the region are seen at addresses of this process, which are valid
 * as long as the region that they were obtained from.
 */
class region {
public:
    /**
     * Opens the region of this name, or creates one with zeros. Flags are those of stm_open(). With
     * STM_DIRECT programs commit to it without a system call, and trust each other.
     */
    [[nodiscard]] static region create(const std::string& name, std::size_t size, int flags = 0,
                                       mode_t mode = 0600) {
        return region(stm_region_open(name.c_str(), size, STM_CREATE | flags, mode), name);
    }
    /** Opens the region of this name. */
    [[nodiscard]] static region open(const std::string& name, int flags = 0) {
        return region(stm_region_open(name.c_str(), 0, flags, 0), name);
    }
    /** Attaches the region of a descriptor, which the caller may close then. */
    [[nodiscard]] static region attach(int fd) {
        return region(stm_region_attach(fd), "descriptor " + std::to_string(fd));
    }

    [[nodiscard]] std::size_t size() const noexcept { return attached_->size; }
    [[nodiscard]] int fd() const noexcept { return stm_region_fd(attached_->handle); }
    [[nodiscard]] stm_region* handle() const noexcept { return attached_->handle; }

    /** The object at that offset, as this process sees it. */
    template <typename T>
    [[nodiscard]] T& at(std::uint64_t offset) const noexcept {
        return *reinterpret_cast<T*>(attached_->base + offset);
    }
    template <typename T>
    [[nodiscard]] T& operator[](ptr<T> p) const noexcept {
        return at<T>(p.offset());
    }

    /**
     * The region's root object, from which all others are found
     *
     * The first one who asks for it makes it, from these arguments. If it was made by a program for
     * which T is another type, or has another layout (see stm::members), it throws layout_error.
     * It is a transaction, or a part of the one that runs.
     */
    template <typename T, typename... Arguments>
    T& root(const Arguments&... arguments) const;

    /** For the library's own functions. */
    [[nodiscard]] const detail::attachment& attached() const noexcept { return *attached_; }

private:
    struct detach {
        void operator()(detail::attachment* one) const {
            detail::attachments::all().remove(one);
            stm_region_close(one->handle);
            delete one;
        }
    };

    region(stm_region* opened, const std::string& name) {
        if (opened == nullptr)
            throw std::system_error(errno, std::generic_category(), "stm::region " + name);
        attached_.reset(new detail::attachment(opened));
        detail::attachments::all().add(attached_.get());
    }

    std::unique_ptr<detail::attachment, detach> attached_;
};

} // namespace stm
