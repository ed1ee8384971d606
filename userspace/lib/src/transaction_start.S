/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stm_start and stm_try_start, which return twice, and the way back to them. The layout is that of
 * struct Registers in thread_state.hpp.
 */
#ifndef __x86_64__
#error "libstm: stm_start is written for x86-64 only"
#endif

#define RBX 0
#define RBP 8
#define R12 16
#define R13 24
#define R14 32
#define R15 40
#define RSP 48
#define RIP 56
#define MXCSR 64
#define X87 68
#define SSP 72
#define SIZE 80

#define WAY_BACK SIZE /* of a ThreadTransaction, which begins with Registers */

#define FD SIZE
#define FRAME (SIZE + 8) /* with the return address a multiple of 16 */

	.text
	.hidden stm_library_start
	.hidden stm_library_restarted
	.hidden stm_library_just_begun
	.hidden stm_library_has_tsan

/* int stm_try_start(int fd); void stm_start(int fd) */
	.globl stm_try_start
	.type stm_try_start, @function
	.p2align 4
stm_try_start:
	.cfi_startproc
	endbr64
	movl $1, %esi
	jmp .Lstart
	.cfi_endproc
	.size stm_try_start, . - stm_try_start

	.globl stm_start
	.type stm_start, @function
	.p2align 4
stm_start:
	.cfi_startproc
	endbr64
	xorl %esi, %esi
.Lstart:
	leaq 8(%rsp), %rax /* the caller's stack, once this has returned */
	movq (%rsp), %rcx  /* where it returns to */
	subq $FRAME, %rsp
	.cfi_adjust_cfa_offset FRAME
	movq %rbx, RBX(%rsp)
	movq %rbp, RBP(%rsp)
	movq %r12, R12(%rsp)
	movq %r13, R13(%rsp)
	movq %r14, R14(%rsp)
	movq %r15, R15(%rsp)
	movq %rax, RSP(%rsp)
	movq %rcx, RIP(%rsp)
	stmxcsr MXCSR(%rsp)
	fnstcw X87(%rsp)
	/* The shadow stack pointer, or 0: without a shadow stack this instruction does nothing. */
	xorl %eax, %eax
	rdsspq %rax
	movq %rax, SSP(%rsp)
	movq %rsp, %rdx
	movl %edi, FD(%rsp)
	call stm_library_start
	cmpl $0, stm_library_has_tsan(%rip)
	jne .Ltell_tsan
.Lreturn:
	addq $FRAME, %rsp
	.cfi_adjust_cfa_offset -FRAME
	ret
	.cfi_adjust_cfa_offset FRAME

	/*
	 * The thread sanitizer takes this for a call of setjmp by our caller: setjmp is called with
	 * the stack that the caller has when we have returned. When the transaction begins again,
	 * longjmp comes back to it, and the sanitizer counts calls from here on.
	 */
.Ltell_tsan:
	testl %eax, %eax
	jnz .Lreturn
	movl FD(%rsp), %edi
	call stm_library_just_begun
	testq %rax, %rax
	movq %rax, %rcx
	movl $0, %eax
	jz .Lreturn
	movq %rcx, %rbx
	addq $(FRAME + 8), %rsp
	.cfi_undefined rip
	movq WAY_BACK(%rbx), %rdi
	call _setjmp@PLT /* over our return address */
	testl %eax, %eax
	jnz .Ltold_tsan
	movq RIP(%rbx), %rcx
	pushq %rcx
	movq RBX(%rbx), %rbx
	ret
	.cfi_endproc
	.size stm_start, . - stm_start

/*
 * [[noreturn]] void stm_library_resume(ThreadTransaction* transaction)
 *
 * Gives up everything that the thread did since stm_start, begins the transaction again and returns
 * from stm_start once more. The library calls it, and the return from a signal handler enters it,
 * with any content of the other registers. Nothing below the caller's stack pointer is used any
 * more.
 */
	.globl stm_library_resume
	.hidden stm_library_resume
	.type stm_library_resume, @function
	.p2align 4
stm_library_resume:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	movq %rdi, %rbx
	movq RSP(%rbx), %rsp
	cld
	fninit
	fldcw X87(%rbx)
	ldmxcsr MXCSR(%rbx)

	/*
	 * Pop the calls since then, and stm_start's return address, from the shadow stack: 255 at
	 * most at a time.
	 */
	movq SSP(%rbx), %rcx
	testq %rcx, %rcx
	jz .Lunwound
	xorl %eax, %eax
	rdsspq %rax
	testq %rax, %rax
	jz .Lunwound
	subq %rax, %rcx
	jb .Lunwound
	shrq $3, %rcx
	incq %rcx
	movl $255, %edx
.Lunwind:
	cmpq %rdx, %rcx
	cmovbq %rcx, %rdx
	incsspq %rdx
	subq %rdx, %rcx
	ja .Lunwind
.Lunwound:
	movq WAY_BACK(%rbx), %rdi
	testq %rdi, %rdi
	jz .Ltold_tsan
	movl $1, %esi
	call longjmp@PLT /* to after setjmp above, with the same rbx */
.Ltold_tsan:
	movq %rbx, %rdi
	call stm_library_restarted
	/* eax: what stm_try_start returns */
	movq RBP(%rbx), %rbp
	movq R12(%rbx), %r12
	movq R13(%rbx), %r13
	movq R14(%rbx), %r14
	movq R15(%rbx), %r15
	movq RIP(%rbx), %rdx
	movq RBX(%rbx), %rbx
	jmp *%rdx
	.cfi_endproc
	.size stm_library_resume, . - stm_library_resume

	.section .note.GNU-stack, "", @progbits
