/* SPDX-License-Identifier: MIT */
/* malloc called with registers and stacks that no compiler makes. */
	.text
/* void *bare_fp(size_t size, void *frame_pointer): no unwind tables. */
	.globl bare_fp
	.type bare_fp, @function
bare_fp:
	push %rbp
	mov %rsi, %rbp
	call malloc@PLT
	pop %rbp
	ret
	.size bare_fp, . - bare_fp

/* void *bare_stack(size_t size, void *frame_pointer, void *stack_pointer): the same on another stack. */
	.globl bare_stack
	.type bare_stack, @function
bare_stack:
	push %rbx
	push %rbp
	mov %rsp, %rbx
	mov %rsi, %rbp
	mov %rdx, %rsp
	call malloc@PLT
	mov %rbx, %rsp
	pop %rbp
	pop %rbx
	ret
	.size bare_stack, . - bare_stack

/* As bare_stack, with tables that lie: the CFA is ... */
	.macro lying name, offset, cfi:vararg
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	push %rbx
	push %rbp
	mov %rsp, %rbx
	mov %rsi, %rbp
	mov %rdx, %rsp
	\cfi
	.ifnc \offset, 0
	.cfi_offset rbp, \offset
	.endif
	call malloc@PLT
	mov %rbx, %rsp
	pop %rbp
	pop %rbx
	ret
	.cfi_endproc
	.size \name, . - \name
	.endm
	lying cfa_by_frame, 0, .cfi_def_cfa rbp, 16
	lying cfa_by_frame_saved, -0x40000, .cfi_def_cfa rbp, 16
	lying cfa_near, 0, .cfi_def_cfa rsp, 8
	lying cfa_far, 0, .cfi_def_cfa rsp, 4096
	lying cfa_huge, 0, .cfi_def_cfa rsp, 0x1fff0000
	lying cfa_below, 0, .cfi_def_cfa rsp, -64
	lying cfa_here, 0, .cfi_def_cfa rsp, 0
/* ... the word at rbp - 8; another register; nothing that can be evaluated. */
	lying cfa_loaded, 0, .cfi_escape 0x0f, 3, 0x76, 0x78, 0x06
	lying cfa_other, 0, .cfi_def_cfa r15, 8
	lying cfa_nonsense, 0, .cfi_escape 0x0f, 2, 0x22, 0x06
	.section .note.GNU-stack, "", @progbits
