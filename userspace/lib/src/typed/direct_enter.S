/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The begin of a direct commit, and the way back to it. A thread whose journal was taken in the
 * middle of a commit is sent to stm_library_direct_resumed. The registers are those of that commit
 * then, and the stack below it may be in use. So the registers that a function keeps, and the stack
 * pointer, are kept in memory of the thread, and the way back stores nothing.
 *
 * The commit, and what follows when it was taken, are called in the place of this function: the
 * return address is on the stack, above everything that the commit uses.
 */
	.section .tbss, "awT", @nobits
	.p2align 3
	.type stm_library_direct_kept, @object
	.size stm_library_direct_kept, 64
stm_library_direct_kept:
	.zero 64

	.text
	.globl stm_library_direct_enter
	.hidden stm_library_direct_enter
	.type stm_library_direct_enter, @function
	.p2align 4
stm_library_direct_enter:
	.cfi_startproc
	endbr64
	movq stm_library_direct_kept@gottpoff(%rip), %rax
	movq %rbx, %fs:(%rax)
	movq %rbp, %fs:8(%rax)
	movq %r12, %fs:16(%rax)
	movq %r13, %fs:24(%rax)
	movq %r14, %fs:32(%rax)
	movq %r15, %fs:40(%rax)
	movq %rsp, %fs:48(%rax)
	movq %rdi, %fs:56(%rax)
	jmp stm_library_direct_commit
	.cfi_endproc
	.size stm_library_direct_enter, . - stm_library_direct_enter

	.globl stm_library_direct_resumed
	.hidden stm_library_direct_resumed
	.type stm_library_direct_resumed, @function
	.p2align 4
stm_library_direct_resumed:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	cld
	movq stm_library_direct_kept@gottpoff(%rip), %rax
	movq %fs:(%rax), %rbx
	movq %fs:8(%rax), %rbp
	movq %fs:16(%rax), %r12
	movq %fs:24(%rax), %r13
	movq %fs:32(%rax), %r14
	movq %fs:40(%rax), %r15
	movq %fs:48(%rax), %rsp
	movq %fs:56(%rax), %rdi
	/* A shadow stack has the calls of the commit, too. Without one rdsspq does nothing. */
	xorl %eax, %eax
	rdsspq %rax
	testq %rax, %rax
	jz 2f
	movq (%rsp), %rcx
	movl $1, %edx
1:
	cmpq %rcx, (%rax)
	je 2f
	incsspq %rdx
	addq $8, %rax
	jmp 1b
2:
	jmp stm_library_direct_taken
	.cfi_endproc
	.size stm_library_direct_resumed, . - stm_library_direct_resumed

	.section .note.GNU-stack, "", @progbits
