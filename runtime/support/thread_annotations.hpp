// SPDX-License-Identifier: LGPL-2.1-or-later
// Which lock protects what, for clang's analysis
// (https://clang.llvm.org/docs/ThreadSafetyAnalysis.html), which ci/lock-analysis runs over the
// module's core. Other compilers see nothing.
//
//     class Counter {
//         Lock lock_;
//         int value_ STM_GUARDED_BY(lock_);
//         void add_locked() STM_REQUIRES(lock_);
//     };
//
// Invariant: a function that the analysis cannot follow says so with STM_NO_LOCK_ANALYSIS, and its
// comment says why it is right.
#pragma once

#ifdef __clang__
#define STM_LOCK_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define STM_LOCK_ATTRIBUTE(attribute)
#endif

// A class that is a lock, and one that holds a lock for a scope.
#define STM_LOCK_CLASS STM_LOCK_ATTRIBUTE(capability("lock"))
#define STM_LOCK_SCOPE_CLASS STM_LOCK_ATTRIBUTE(scoped_lockable)

// Data, and what a pointer points to, that are touched under a lock alone.
#define STM_GUARDED_BY(lock) STM_LOCK_ATTRIBUTE(guarded_by(lock))

// The caller of a function has the lock, and keeps it; or must not have it.
#define STM_REQUIRES(...) STM_LOCK_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define STM_REQUIRES_SHARED(...) STM_LOCK_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define STM_EXCLUDES(...) STM_LOCK_ATTRIBUTE(locks_excluded(__VA_ARGS__))

// A function locks or unlocks; the caller has the lock, or not, from then on.
#define STM_ACQUIRES(...) STM_LOCK_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define STM_ACQUIRES_SHARED(...) STM_LOCK_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define STM_RELEASES(...) STM_LOCK_ATTRIBUTE(release_capability(__VA_ARGS__))
#define STM_RELEASES_ANY(...) STM_LOCK_ATTRIBUTE(release_generic_capability(__VA_ARGS__))
#define STM_TRIES(result, ...)                                                                     \
    STM_LOCK_ATTRIBUTE(try_acquire_capability(result __VA_OPT__(, ) __VA_ARGS__))

// A function whose result is that lock.
#define STM_RETURNS_LOCK(lock) STM_LOCK_ATTRIBUTE(lock_returned(lock))
// From the call on the analysis believes that the lock is held.
#define STM_ASSERTS(...) STM_LOCK_ATTRIBUTE(assert_capability(__VA_ARGS__))

#define STM_NO_LOCK_ANALYSIS STM_LOCK_ATTRIBUTE(no_thread_safety_analysis)
