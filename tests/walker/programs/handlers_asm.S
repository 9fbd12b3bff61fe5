/* SPDX-License-Identifier: MIT */
/* Spins with a frame pointer that holds a counter; its tables are right, its frame pointer leads nowhere. */
	.text
	.globl computes_in_asm
	.type computes_in_asm, @function
computes_in_asm:
	.cfi_startproc
	push %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset rbp, -16
	sub $40, %rsp
	.cfi_def_cfa_offset 56
1:	add $24, %rbp
	cmpl $0, (%rdi)
	je 1b
	add $40, %rsp
	.cfi_def_cfa_offset 16
	pop %rbp
	.cfi_restore rbp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size computes_in_asm, . - computes_in_asm
	.section .note.GNU-stack, "", @progbits
