/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the kernel sends a thread whose journal was taken in the middle of a commit. The registers
 * are those of that commit, and the stack below it may be in use, so nothing is stored here. Goes
 * back to where the commit began: __builtin_longjmp() to stm_library_direct_begin.
 */
	.text
	.hidden stm_library_direct_begin
	.globl stm_library_direct_resumed
	.hidden stm_library_direct_resumed
	.type stm_library_direct_resumed, @function
	.p2align 4
stm_library_direct_resumed:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	cld
	movq stm_library_direct_begin@gottpoff(%rip), %rax
	movq %fs:(%rax), %rbp
	movq %fs:16(%rax), %rsp
	movq %fs:8(%rax), %rax
	jmpq *%rax
	.cfi_endproc
	.size stm_library_direct_resumed, . - stm_library_direct_resumed

	.section .note.GNU-stack, "", @progbits
