// SPDX-License-Identifier: LGPL-2.1-or-later
// stm/sysv.h. The order of the checks is Linux's, so that a call with several mistakes gets the
// same error.
#include "caller.hpp"
#include "segments.hpp"

#include <cstring>
#include <pthread.h>
#include <stm/sysv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>

namespace stm::sysv {
namespace {

using connection::in_seconds;
using connection::is_removed;
using connection::segment_id;

constexpr unsigned kPermissionBits = 0777;
constexpr unsigned kMayRead = 0444;
constexpr unsigned kPageBytes = 4096;

int fail(int error) {
    errno = error;
    return -1;
}

void* no_address(int error) {
    errno = error;
    return reinterpret_cast<void*>(-1);
}

// While it lives, the thread is not cancelled: a descriptor would stay open.
class NoCancellation {
public:
    NoCancellation() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    ~NoCancellation() { pthread_setcancelstate(before_, nullptr); }
    NoCancellation(const NoCancellation&) = delete;
    NoCancellation& operator=(const NoCancellation&) = delete;

private:
    int before_ = 0;
};

int existing(const struct stm_info& segment, size_t size, int flags) {
    if ((flags & IPC_CREAT) != 0 && (flags & IPC_EXCL) != 0)
        return fail(EEXIST);
    if (size > segment.segment_bytes)
        return fail(EINVAL);
    if (!is_permitted(segment, static_cast<unsigned>(flags)))
        return fail(EACCES);
    return segment_id(segment.id);
}

// EEXIST: the name is taken.
int create(const Segments& segments, struct stm_open& wanted, size_t size, int flags) {
    if (size == 0 || (flags & SHM_HUGETLB) != 0)
        return fail(EINVAL);
    wanted.flags =
        STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE | STM_OPEN_EXCL | STM_OPEN_CLOEXEC;
    wanted.region_flags = STM_REGION_PLAIN | STM_REGION_SEGMENT;
    wanted.region_size = size;
    wanted.mode = static_cast<unsigned>(flags) & kPermissionBits;
    const Descriptor handle(segments.request(STM_IOC_OPEN, wanted));
    if (!handle)
        return errno == EFBIG ? fail(EINVAL) : -1;
    const int id = segment_id(wanted.id);
    if (id > 0)
        return id;
    struct stm_destroy destroy {};
    destroy.flags = STM_BY_ID | STM_DESTROY_DEFERRED;
    destroy.id = wanted.id;
    (void)segments.request(STM_IOC_DESTROY, destroy);
    return fail(ENOSPC);
}

int create_private(const Segments& segments, size_t size, int flags) {
    for (;;) {
        std::uint64_t random = 0;
        if (::getrandom(&random, sizeof random, 0) != sizeof random)
            return -1;
        struct stm_open wanted {};
        connection::sysv_name_of_private(random, wanted.name);
        const int id = create(segments, wanted, size, flags);
        if (id >= 0 || errno != EEXIST)
            return id;
    }
}

int find_or_create(const Segments& segments, key_t key, size_t size, int flags) {
    // Again only if others create and remove a segment of this key at the same time.
    for (;;) {
        struct stm_info segment;
        if (segments.find_key(key, segment) == 0)
            return existing(segment, size, flags);
        if (errno != ENOENT || (flags & IPC_CREAT) == 0)
            return -1;
        struct stm_open wanted {};
        connection::sysv_name_of_key(key, wanted.name);
        const int id = create(segments, wanted, size, flags);
        if (id >= 0 || errno != EEXIST)
            return id;
    }
}

void describe(const struct stm_info& segment, struct shmid_ds& result) {
    result = {};
    result.shm_perm.__key = connection::sysv_key(segment);
    result.shm_perm.uid = segment.uid;
    result.shm_perm.gid = segment.gid;
    result.shm_perm.cuid = segment.creator_uid;
    result.shm_perm.cgid = segment.creator_gid;
    result.shm_perm.mode =
        static_cast<decltype(result.shm_perm.mode)>(connection::sysv_mode(segment));
    result.shm_perm.__seq = static_cast<decltype(result.shm_perm.__seq)>(segment.id >> 32);
    result.shm_segsz = segment.segment_bytes;
    result.shm_atime = static_cast<time_t>(in_seconds(segment.attached_ns));
    result.shm_dtime = static_cast<time_t>(in_seconds(segment.detached_ns));
    result.shm_ctime = static_cast<time_t>(in_seconds(segment.changed_ns));
    result.shm_cpid = segment.creator_pid;
    result.shm_lpid = segment.last_pid;
    result.shm_nattch = segment.mappings;
}

int tell(const struct stm_info& segment, unsigned rights, struct shmid_ds& result) {
    if (!is_permitted(segment, rights))
        return fail(EACCES);
    describe(segment, result);
    return 0;
}

// The sum of all segments, and the highest index; 0 if there is none.
int summarise(const Segments& segments, struct shm_info& result) {
    List all;
    if (segments.list(all) < 0)
        return -1;
    int highest = 0;
    result = {};
    for (const struct stm_info& segment : all) {
        highest = segments.index_of(segment);
        ++result.used_ids;
        result.shm_tot += segment.region_size / kPageBytes;
        result.shm_rss += segment.resident_bytes / kPageBytes;
    }
    return highest;
}

int tell_limits(const Segments& segments, struct shminfo& result) {
    struct shm_info sum;
    const int highest = summarise(segments, sum);
    if (highest < 0)
        return -1;
    const struct stm_version& limits = segments.limits();
    result = {};
    result.shmmax = limits.max_region_bytes;
    result.shmmin = 1;
    result.shmmni = result.shmseg = limits.max_regions;
    result.shmall = limits.max_bytes / kPageBytes;
    return highest;
}

int remove(const Segments& segments, const struct stm_info& segment) {
    struct stm_destroy destroy {};
    destroy.flags = STM_BY_ID | STM_DESTROY_DEFERRED;
    destroy.id = segment.id;
    if (!is_removed(segment)) {
        if (segments.request(STM_IOC_DESTROY, destroy) == 0)
            return 0;
        if (errno != ESTALE && errno != ENOENT)
            return -1;
    }
    // It has no name to lose, or somebody was faster.
    return is_owner(segment) || has(Privilege::sys_admin) ? 0 : fail(EPERM);
}

int change(const Segments& segments, const struct stm_info& segment,
           struct stm_change_segment& wanted) {
    wanted.id = segment.id;
    if (segments.request(STM_IOC_CHANGE_SEGMENT, wanted) == 0)
        return 0;
    return errno == ESTALE ? fail(EIDRM) : -1;
}

int set(const Segments& segments, const struct stm_info& segment, const struct shmid_ds& wanted) {
    struct stm_change_segment request {};
    request.flags = STM_SEGMENT_OWNER;
    request.uid = wanted.shm_perm.uid;
    request.gid = wanted.shm_perm.gid;
    request.mode = wanted.shm_perm.mode & kPermissionBits;
    return change(segments, segment, request);
}

// The memory is never swapped, so there is only the mark to set. The limit is asked as if there
// were more.
int lock(const Segments& segments, const struct stm_info& segment, int command) {
    if (!has(Privilege::ipc_lock)) {
        if (!is_owner(segment))
            return fail(EPERM);
        struct rlimit limit {};
        if (command == SHM_LOCK && ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
            if (limit.rlim_cur == 0)
                return fail(EPERM);
            if (limit.rlim_cur != RLIM_INFINITY && segment.region_size > limit.rlim_cur)
                return fail(ENOMEM);
        }
    }
    struct stm_change_segment request {};
    request.flags = command == SHM_LOCK ? STM_SEGMENT_LOCK : STM_SEGMENT_UNLOCK;
    return change(segments, segment, request);
}

bool needs_buffer(int command) {
    return command != IPC_RMID && command != SHM_LOCK && command != SHM_UNLOCK;
}

int control(const Segments& segments, int id, int command, struct shmid_ds* buf) {
    struct stm_info segment;
    switch (command) {
    case IPC_INFO:
        return tell_limits(segments, *reinterpret_cast<struct shminfo*>(buf));
    case SHM_INFO:
        return summarise(segments, *reinterpret_cast<struct shm_info*>(buf));
    case SHM_STAT:
    case SHM_STAT_ANY:
        if (segments.find_index(id, segment) < 0 ||
            tell(segment, command == SHM_STAT ? kMayRead : 0, *buf) < 0)
            return -1;
        return segment_id(segment.id);
    default:
        break;
    }
    if (segments.find_id(id, segment) < 0)
        return -1;
    switch (command) {
    case IPC_STAT:
        return tell(segment, kMayRead, *buf);
    case IPC_SET:
        return set(segments, segment, *buf);
    case IPC_RMID:
        return remove(segments, segment);
    default:
        return lock(segments, segment, command);
    }
}

bool is_command(int command) {
    switch (command) {
    case IPC_INFO:
    case IPC_RMID:
    case IPC_SET:
    case IPC_STAT:
    case SHM_INFO:
    case SHM_LOCK:
    case SHM_STAT:
    case SHM_STAT_ANY:
    case SHM_UNLOCK:
        return true;
    default:
        return false;
    }
}

// Where to attach: an address and the flag of mmap that belongs to it.
struct Place {
    std::uintptr_t address;
    int flag;
};

int choose_place(const void* wanted, int flags, Place& place) {
    place = {reinterpret_cast<std::uintptr_t>(wanted), 0};
    const bool replaces = (flags & SHM_REMAP) != 0;
    if (place.address == 0)
        return replaces ? fail(EINVAL) : 0;
    if (place.address % kPageBytes != 0) {
        if ((flags & SHM_RND) == 0)
            return fail(EINVAL);
        place.address -= place.address % kPageBytes;
        if (place.address == 0 && replaces)
            return fail(EINVAL);
    }
    place.flag = replaces ? MAP_FIXED : MAP_FIXED_NOREPLACE;
    return 0;
}

} // namespace
} // namespace stm::sysv

using namespace stm::sysv;

int stm_shmget(key_t key, size_t size, int flags) {
    const NoCancellation guard;
    Segments segments;
    if (segments.connect() < 0)
        return -1;
    return key == IPC_PRIVATE ? create_private(segments, size, flags)
                              : find_or_create(segments, key, size, flags);
}

void* stm_shmat(int id, const void* address, int flags) {
    const NoCancellation guard;
    if (id < 0)
        return no_address(EINVAL);
    Place place;
    if (choose_place(address, flags, place) < 0)
        return no_address(errno);
    Segments segments;
    struct stm_info segment;
    if (segments.connect() < 0 || segments.find_id(id, segment) < 0)
        return no_address(errno);
    if ((flags & SHM_EXEC) != 0)
        return no_address(EACCES);
    const bool writes = (flags & SHM_RDONLY) == 0;
    struct stm_open request {};
    request.flags = STM_OPEN_READ | STM_OPEN_BY_ID | STM_OPEN_CLOEXEC;
    request.flags |= writes ? STM_OPEN_WRITE : 0;
    request.id = segment.id;
    const Descriptor handle(segments.request(STM_IOC_OPEN, request));
    if (!handle)
        return no_address(errno == ESTALE ? EIDRM : errno);
    if (place.flag != 0 && place.address + segment.segment_bytes < place.address)
        return no_address(EINVAL);
    // The mapping keeps the segment; the handle is closed on return.
    void* mapped =
        ::mmap(reinterpret_cast<void*>(place.address), request.region_size,
               PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED | place.flag, handle.get(), 0);
    if (mapped == MAP_FAILED)
        return no_address(errno == EEXIST ? EINVAL : errno);
    return mapped;
}

int stm_shmdt(const void* address) {
    const NoCancellation guard;
    Segments segments;
    if (segments.connect() < 0)
        return -1;
    struct stm_detach_segment request {};
    request.address = reinterpret_cast<std::uintptr_t>(address);
    return segments.request(STM_IOC_DETACH_SEGMENT, request);
}

int stm_shmctl(int id, int command, struct shmid_ds* buf) {
    const NoCancellation guard;
    if (id < 0 || !is_command(command))
        return fail(EINVAL);
    Segments segments;
    if (segments.connect() < 0)
        return -1;
    if (buf == nullptr && needs_buffer(command)) {
        struct shmid_ds unused {};
        // A mistake in the id is told first, except by IPC_SET, which reads the buffer first.
        if (command == IPC_STAT || command == SHM_STAT || command == SHM_STAT_ANY)
            if (control(segments, id, command, &unused) < 0)
                return -1;
        return fail(EFAULT);
    }
    return control(segments, id, command, buf);
}
