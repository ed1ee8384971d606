/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hooks that the runtime needs from its environment. The kernel glue and the host tests each
 * define them.
 */
#ifndef STM_RUNTIME_SUPPORT_HOST_H
#define STM_RUNTIME_SUPPORT_HOST_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Returns @bytes (at least 1) of memory with indeterminate contents, aligned to 8 bytes at least,
 * or a null pointer. May sleep: never called from atomic context. Any thread, no signal handler.
 */
void *stm_allocate(__SIZE_TYPE__ bytes);

/* Frees the memory of stm_allocate; does nothing with a null pointer. Context as for stm_allocate.
 * */
void stm_free(void *memory);

/*
 * Reports a broken invariant with a constant message that names it, and ends the program or the
 * kernel thread. Any context.
 *
 * It must not return, but is not marked noreturn on purpose. objtool knows the noreturn functions
 * of Linux from a fixed list, and reports that a caller of any other one falls through into the
 * next function. Callers stop by themselves after it (see assert.hpp).
 */
void stm_panic(const char *message);

#ifdef __cplusplus
}
#endif

#endif
