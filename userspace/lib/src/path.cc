// SPDX-License-Identifier: LGPL-2.1-or-later
#include "path.hpp"

#include "error.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace stm::library {

int canonical_path(const char* filename, char (&result)[PATH_MAX]) {
    if (filename == nullptr)
        return fail(EINVAL, "the file's name is a null pointer");
    if (filename[0] == '\0')
        return fail(ENOENT, "the file's name is empty");
    if (::realpath(filename, result) != nullptr)
        return 0;
    if (errno != ENOENT)
        return fail(errno, "'%s' cannot be found", filename);

    // The file does not exist yet: resolve its folder, and keep its own name.
    const char* slash = std::strrchr(filename, '/');
    const char* base = slash == nullptr ? filename : slash + 1;
    if (base[0] == '\0')
        return fail(ENOENT, "'%s' is not a folder", filename);
    char folder[PATH_MAX];
    std::size_t folder_length = static_cast<std::size_t>(base - filename);
    if (folder_length >= sizeof folder)
        return fail(ENAMETOOLONG, "the folder's path is too long");
    std::memcpy(folder, filename, folder_length);
    folder[folder_length] = '\0';
    if (::realpath(folder_length == 0 ? "." : folder, result) == nullptr)
        return fail(errno, "the folder of '%s' cannot be found", filename);

    std::size_t length = std::strlen(result);
    if (length != 1) // the root folder already ends in a slash
        result[length++] = '/';
    std::size_t base_length = std::strlen(base);
    if (length + base_length >= sizeof result)
        return fail(ENAMETOOLONG, "the path of '%s' is too long", filename);
    std::memcpy(result + length, base, base_length + 1);
    return 0;
}

} // namespace stm::library
