// SPDX-License-Identifier: LGPL-2.1-or-later
// stm_create: a region that a device node stands for.
//
// Invariant: a file name always leads to the region that has the file's path as its name, through
// the node and without it. There are two exceptions, in which the node decides: a node that a user
// made and opened by hand, whose region has no name of its own, and the region `default`. A node
// that leads anywhere else has survived its region: the module was reloaded, or the region was
// destroyed and another region got its minor number.
#include "control.hpp"
#include "dump.hpp"
#include "error.hpp"
#include "path.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <stm/stm.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

namespace stm::library {
namespace {

constexpr mode_t kMode = 0666; // of the node and of the region, less the umask
constexpr int kAttempts = 16;  // others may replace the file between two steps

enum class Step { done, again, failed };

enum class FileKind { missing, foreign, node };

class Creation {
public:
    Creation(const char* path, std::uint64_t size, const Control& control)
        : path_(path), size_(size), control_(control) {}

    // Makes one attempt. `done`: the descriptor is in `result`. `again`: the file changed
    // meanwhile. `failed`: errno is set.
    Step attempt(int& result);

private:
    Step use_node(unsigned minor, std::uint64_t id, int& result);
    Step open_own_region();
    Step place_node(FileKind before);
    Step attach_without_node(std::uint64_t id, int& result);
    void undo();

    const char* path_;
    std::uint64_t size_;
    const Control& control_;
    // The path's own region. This handle keeps it from being destroyed before the node is opened.
    Descriptor region_;
    std::uint64_t region_id_ = 0;
    unsigned region_minor_ = 0;
    bool region_is_new_ = false;
};

FileKind look_at(const char* path, unsigned device_major, unsigned& minor) {
    struct stat status;
    if (::lstat(path, &status) < 0)
        return FileKind::missing; // making the node reports any other reason
    if (!S_ISCHR(status.st_mode) || major(status.st_rdev) != device_major)
        return FileKind::foreign;
    minor = ::minor(status.st_rdev);
    return FileKind::node;
}

// The name of a region that was made by opening a node is "minor:" and its number.
bool has_no_name_of_its_own(const struct stm_info& info) {
    char name[32];
    std::snprintf(name, sizeof name, "minor:%u", info.minor);
    return info.name[0] == '\0' || std::strcmp(info.name, name) == 0;
}

// Errors of mknod, rename and open that mean "nodes do not work here" and not "the arguments are
// wrong".
bool means_no_nodes(int error) {
    return error == EPERM || error == EACCES || error == EROFS || error == EOPNOTSUPP ||
           error == ENOSYS;
}

bool is_nodev(const char* path) {
    struct statvfs status;
    return ::statvfs(path, &status) == 0 && (status.f_flag & ST_NODEV) != 0;
}

int set_size(int fd, std::uint64_t size) {
    struct stm_set_size request {};
    request.size = sizeof request;
    request.region_size = size;
    if (::ioctl(fd, STM_IOC_SET_SIZE, &request) == 0)
        return 0;
    // The region has its size already: the same error as from attaching it by name.
    return fail(errno == EBUSY ? EINVAL : errno, "the region cannot have %llu bytes",
                static_cast<unsigned long long>(size));
}

Step Creation::attempt(int& result) {
    unsigned minor = 0;
    FileKind before = look_at(path_, control_.device_major(), minor);
    if (before == FileKind::foreign) {
        fail(EEXIST, "'%s' exists and is no node of the stm driver", path_);
        return Step::failed;
    }
    if (before == FileKind::node) {
        struct stm_info info;
        if (control_.info_of_minor(minor, info) == 0) {
            bool own = std::strcmp(info.name, path_) == 0 && (info.state & STM_STATE_UNLINKED) == 0;
            if (own || minor == 0 || has_no_name_of_its_own(info))
                return use_node(minor, info.id, result);
        } else if (errno != ENOENT) {
            fail(errno, "the region of minor %u is unknown", minor);
            return Step::failed;
        }
    }

    Step step = open_own_region();
    if (step != Step::done)
        return step;
    step = place_node(before);
    if (step == Step::failed && means_no_nodes(errno)) {
        fail(errno, "'%s' cannot be made a node; using the region of this name through %s instead",
             path_, connection::control_device());
        return attach_without_node(region_id_, result);
    }
    if (step == Step::done)
        step = use_node(region_minor_, region_id_, result);
    if (step == Step::failed)
        undo();
    return step;
}

// Opens the node and checks that it led to the region `id`.
Step Creation::use_node(unsigned minor, std::uint64_t id, int& result) {
    Descriptor handle(::open(path_, O_RDWR));
    if (!handle) {
        if (errno == ENOENT || errno == ENXIO)
            return Step::again;
        if (errno == EACCES && is_nodev(path_)) {
            fail(errno,
                 "device nodes do not work where '%s' is; using the region through %s instead",
                 path_, connection::control_device());
            return attach_without_node(id, result);
        }
        fail(errno, "'%s' cannot be opened", path_);
        return Step::failed;
    }
    struct stat status;
    struct stm_info info {};
    info.size = sizeof info;
    info.flags = STM_BY_HANDLE;
    if (::fstat(handle.get(), &status) < 0 || !S_ISCHR(status.st_mode) ||
        status.st_rdev != makedev(control_.device_major(), minor) ||
        ::ioctl(handle.get(), STM_IOC_INFO, &info) < 0 || info.id != id)
        return Step::again;
    if (set_size(handle.get(), size_) < 0)
        return Step::failed;
    dump_if_wanted(handle.get());
    result = handle.release();
    return Step::done;
}

// Opens the region that has the path as its name, and makes it if there is none.
Step Creation::open_own_region() {
    if (region_)
        return Step::done;
    struct stm_open request {};
    std::strcpy(request.name, path_); // stm_create() has checked that it fits
    request.flags =
        STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE | STM_OPEN_EXCL | STM_OPEN_CLOEXEC;
    request.region_size = size_;
    request.mode = kMode;
    struct stm_open existing = request;

    region_ = Descriptor(control_.open(request));
    region_is_new_ = static_cast<bool>(region_);
    if (!region_ && errno == EEXIST) {
        existing.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CLOEXEC;
        existing.mode = 0;
        region_ = Descriptor(control_.open(existing));
        if (!region_ && errno == ENOENT)
            return Step::again;
        request = existing;
    }
    if (!region_) {
        fail(errno, "the region '%s' cannot be opened with %llu bytes", path_,
             static_cast<unsigned long long>(size_));
        return Step::failed;
    }
    region_id_ = request.id;
    region_minor_ = request.minor;
    return Step::done;
}

// Makes the node of the path's own region. It replaces a node that was left over.
Step Creation::place_node(FileKind before) {
    dev_t device = makedev(control_.device_major(), region_minor_);
    if (before == FileKind::missing) {
        if (::mknod(path_, S_IFCHR | kMode, device) == 0)
            return Step::done;
        if (errno == EEXIST)
            return Step::again;
        if (!means_no_nodes(errno))
            fail(errno, "'%s' cannot be made", path_);
        return Step::failed;
    }

    // A new node under another name replaces the old one in one step, so the file is never missing.
    char replacement[PATH_MAX + 32];
    std::snprintf(replacement, sizeof replacement, "%s.%d-%llx", path_, ::getpid(),
                  static_cast<unsigned long long>(region_id_));
    if (::mknod(replacement, S_IFCHR | kMode, device) < 0 && errno != EEXIST)
        return Step::failed;
    if (::rename(replacement, path_) < 0) {
        int error = errno;
        ::unlink(replacement);
        errno = error;
        return error == ENOENT ? Step::again : Step::failed;
    }
    return Step::done;
}

Step Creation::attach_without_node(std::uint64_t id, int& result) {
    struct stm_open request {};
    request.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_BY_ID;
    request.id = id;
    Descriptor handle(control_.open(request));
    if (!handle) {
        if (errno == ESTALE)
            return Step::again;
        fail(errno, "the region of '%s' cannot be attached", path_);
        return Step::failed;
    }
    if (set_size(handle.get(), size_) < 0)
        return Step::failed;
    result = handle.release();
    return Step::done;
}

// After a failure: destroys a region that this call made, unless others have opened it since.
void Creation::undo() {
    int error = errno;
    if (region_is_new_) {
        region_ = Descriptor();
        struct stm_destroy request {};
        request.flags = STM_BY_ID;
        request.id = region_id_;
        (void)control_.destroy(request);
    }
    errno = error;
}

} // namespace
} // namespace stm::library

using namespace stm::library;

int stm_create(char* filename, int size) {
    if (size <= 0)
        return fail(EINVAL, "stm_create: a region of %d bytes", size);
    char path[PATH_MAX];
    if (canonical_path(filename, path) < 0)
        return -1;
    if (std::strlen(path) >= STM_NAME_SIZE)
        return fail(ENAMETOOLONG, "the path of '%s' is longer than a region's name may be",
                    filename);
    Control control;
    if (control.connect() < 0)
        return -1;

    Creation creation(path, static_cast<std::uint64_t>(size), control);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        int result = -1;
        switch (creation.attempt(result)) {
        case Step::done:
            return result;
        case Step::failed:
            return -1;
        case Step::again:
            break;
        }
    }
    return fail(ESTALE, "'%s' kept changing", path);
}
