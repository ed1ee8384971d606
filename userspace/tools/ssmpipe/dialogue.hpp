// SPDX-License-Identifier: GPL-2.0
// ssmpipe's conversation: create, write and read segments by answering questions.
#pragma once

namespace stm::tools {

/**
 * Asks on standard output and reads answers from standard input, a line each, until that ends. What
 * was attached stays so until the program ends, so that other processes find the segments.
 */
void hold_dialogue();

/**
 * Attaches, for the program's whole life, a segment that is made if need be. Prints "create
 * success!" and the address, or "create failed!" and the reason on standard error. Whether it was
 * attached is the result.
 */
[[nodiscard]] bool create_segment(const char* name, unsigned long long length);

/**
 * The string in the segment attached at `address`, in memory that is the caller's to free(); null
 * with errno.
 */
[[nodiscard]] char* read_segment(void* address);

} // namespace stm::tools
