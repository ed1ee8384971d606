// SPDX-License-Identifier: GPL-2.0
// The module's control requests for the tools. Every function throws Failure.
#pragma once

#include "failure.hpp"
#include "text.hpp"
#include "userspace/connection/connection.hpp"

#include <cstdint>
#include <optional>
#include <stm/ioctl.h>
#include <string>
#include <vector>

namespace stm::tools {

using connection::Descriptor;

/** The number by which <stm/shm.h> knows the region; 0: it is no segment of that. */
[[nodiscard]] int segment_number(const struct stm_info& region);

/** Which region a command means: by name, or by id. */
class Selector {
public:
    static Selector by_name(const std::string& name);
    static Selector by_id(std::uint64_t id);

    /** What the user called it, for messages. */
    [[nodiscard]] const std::string& text() const { return text_; }
    /** The same as words of a command line. */
    [[nodiscard]] std::string argument() const { return id_ ? "--" + text_ : command_word(text_); }
    [[nodiscard]] bool is_name() const { return !id_; }
    /** Fills in the members of a request that name a region. */
    template <typename Request>
    void apply(Request& request) const {
        request.flags |= id_ ? STM_BY_ID : STM_BY_NAME;
        request.id = id_.value_or(0);
        if (!id_)
            text_.copy(request.name, sizeof request.name - 1);
    }

private:
    Selector(std::string text, std::optional<std::uint64_t> id) : text_(std::move(text)), id_(id) {}

    std::string text_;
    std::optional<std::uint64_t> id_;
};

enum class Access { read, read_write };
enum class When { unused, deferred };

class Module {
public:
    /** Opens the control device. Failure with Exit::no_module when that cannot be. */
    Module();

    [[nodiscard]] struct stm_version version() const;
    /**
     * All regions by rising minor, also those that have lost their name and are still used. One
     * that comes or goes meanwhile may be missing.
     */
    [[nodiscard]] std::vector<struct stm_info> regions() const;
    /** A region by what 'stmctl ls' shows as its id: the module's id of it, or the number of
     * shm_create(). */
    [[nodiscard]] Selector find(std::uint64_t id) const;
    [[nodiscard]] struct stm_info info(const Selector& region) const;
    /** What a handle's region is. */
    [[nodiscard]] struct stm_info info_of_handle(const Descriptor& handle,
                                                 const std::string& text) const;
    [[nodiscard]] std::vector<struct stm_attachment> attachments(const Selector& region) const;
    /** The names of its parts; none if the module knows no names. */
    [[nodiscard]] std::vector<struct stm_place> places(const Selector& region) const;
    [[nodiscard]] struct stm_statistics statistics(const Selector& region) const;
    [[nodiscard]] Descriptor open(const Selector& region, Access access) const;
    void destroy(const Selector& region, When when) const;

private:
    [[nodiscard]] Failure failure(int error, const Selector& region) const;

    connection::Connection connection_;
};

} // namespace stm::tools
