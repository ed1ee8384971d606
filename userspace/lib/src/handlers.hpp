// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a thread is in a signal handler of the program. A restart would leave the handler half
// done, with its signal blocked forever. So restarts wait for the handler's end, and a fault in it
// is its own.
//
// A program may leave a handler by longjmp, and nothing tells the library. So the library keeps the
// place on the stack where the outermost handler began. That counts only as long as the stack is
// still that deep and holds there what it held. No transaction begins in a handler, so each start
// forgets it.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ucontext.h>

namespace stm::library {

/** The outermost handler of a thread. All zeros: none. */
struct OutermostHandler {
    // A word in the frame of call_handler(), and what it holds as long as that frame exists.
    const volatile std::uint64_t* mark;
    std::uint64_t value;
    // The thread's alternate stack at the time.
    const char* alternate;
    std::size_t alternate_bytes;
};
// The initial-exec model: see this_thread in thread_state.hpp.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local OutermostHandler outermost;

/** Whether code of the calling thread with its stack pointer at `stack` belongs to a handler of the
 * program. */
[[nodiscard]] bool is_in_handler(const void* stack);
[[nodiscard]] bool is_in_handler(const ucontext_t& interrupted);
/** The caller is in no handler: any handler that had begun has been left. */
inline void forget_handlers() {
    outermost.mark = nullptr;
}

/** Calls the handler of `action` as the kernel would. */
void call_handler(const struct sigaction& action, int signal, siginfo_t* info,
                  ucontext_t* interrupted);

} // namespace stm::library
