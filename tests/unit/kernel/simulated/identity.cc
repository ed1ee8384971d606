// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/identity.hpp"

#include "tests/unit/kernel/simulated/callers.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <cerrno>

struct stm_node {
    std::uint32_t uid;
    std::uint32_t gid;
    std::uint32_t mode;
};

namespace stm::simulated {

// The id that stands for no user or group.
constexpr std::uint32_t kNobody = ~0u;

void get(stm_identity* identity) {
    expect(identity->references.fetch_add(1) > 0, "an identity is referenced after its end");
}

void put(stm_identity* identity) {
    if (!was_last(identity, "an identity is given back once too often"))
        return;
    expect(identity->pages.load() == 0, "an identity ends before its pages");
    expect(identity->views.load() == 0, "an identity ends before its views");
    counters.identities.fetch_sub(1, kRelaxed);
    delete identity;
}

Node::Node(std::uint32_t uid, std::uint32_t gid, std::uint32_t mode)
    : node_(new stm_node{uid, gid, mode}) {
}

Node::~Node() {
    delete node_;
}

void change_mode(stm_identity* identity, std::uint32_t mode) {
    identity->mode = mode;
}

void change_owner(stm_identity* identity, std::uint32_t uid, std::uint32_t gid) {
    identity->uid = uid;
    identity->gid = gid;
}

std::uint64_t identity_size(const stm_identity* identity) {
    return identity->size.load();
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

int stm_linux_identity_create(const stm_birth* birth, int /*executable*/, stm_identity** identity) {
    const Service service("identity_create", Context::no_core_lock, Failure::identity);
    if (service.fails())
        return -ENOMEM;
    auto* fresh = new stm_identity;
    const Credential& who = Caller::credential();
    fresh->uid = birth->node != nullptr ? birth->node->uid : who.uid;
    fresh->gid = birth->node != nullptr ? birth->node->gid : who.gid;
    std::uint32_t mode = birth->node != nullptr ? birth->node->mode : birth->mode;
    if (birth->apply_umask != 0)
        mode &= ~Caller::process().umask;
    fresh->mode = mode & 0777;
    counters.identities.fetch_add(1, kRelaxed);
    *identity = fresh;
    return 0;
}

void stm_linux_identity_put(stm_identity* identity) {
    const Service service("identity_put", Context::no_core_lock);
    put(identity);
}

void stm_linux_identity_set_size(stm_identity* identity, __u64 bytes) {
    expect(bytes <= std::uint64_t{1} << 62, "i_size becomes negative");
    identity->size = bytes;
}

void stm_linux_identity_owner(stm_identity* identity, stm_owner* owner) {
    const Service service("identity_owner", Context::may_sleep);
    owner->uid = identity->uid;
    owner->gid = identity->gid;
    owner->mode = identity->mode;
}

int stm_linux_identity_permission(stm_identity* identity, unsigned int access) {
    const Service service("identity_permission", Context::no_core_lock, Failure::permission);
    if (service.fails())
        return -EACCES;
    const Credential& who = Caller::credential();
    if (who.overrides_access)
        return 0;
    const std::uint32_t mode = identity->mode;
    const std::uint32_t rights = who.uid == identity->uid   ? mode >> 6
                                 : who.gid == identity->gid ? mode >> 3
                                                            : mode;
    const std::uint32_t wanted =
        ((access & STM_ACCESS_READ) != 0 ? 4u : 0u) | ((access & STM_ACCESS_WRITE) != 0 ? 2u : 0u);
    return (rights & wanted) == wanted ? 0 : -EACCES;
}

int stm_linux_identity_owned_by_caller(stm_identity* identity) {
    const Service service("identity_owned_by_caller", Context::no_core_lock);
    return Caller::credential().owns_all || Caller::credential().uid == identity->uid;
}

int stm_linux_identity_change(stm_identity* identity, const stm_owner* owner) {
    const Service service("identity_change", Context::no_core_lock);
    if (owner->uid == kNobody || owner->gid == kNobody)
        return -EINVAL;
    identity->uid = owner->uid;
    identity->gid = owner->gid;
    identity->mode = owner->mode;
    return 0;
}

void stm_linux_identity_ids(stm_identity* identity, stm_ids* ids) {
    const Service service("identity_ids", Context::may_sleep);
    ids->uid = identity->uid;
    ids->gid = identity->gid;
}

} // extern "C"
