/* SPDX-License-Identifier: MIT */
/* Code without unwind tables, with and without a frame pointer; one with tables, that faults at its start. */
	.text
	.globl asm_with_frame
	.type asm_with_frame, @function
asm_with_frame:
	push %rbp
	mov %rsp, %rbp
	call *%rdi
	pop %rbp
	ret
	.size asm_with_frame, . - asm_with_frame

	.globl asm_without_frame
	.type asm_without_frame, @function
asm_without_frame:
	push %rbp
	push %rbx
	push %r12
	mov $0x5555, %ebp
	call *%rdi
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.size asm_without_frame, . - asm_without_frame

/* Its last byte is right before the next function, and its tables do not fit there. */
	.type before_the_fault, @function
before_the_fault:
	.cfi_startproc
	.cfi_def_cfa_offset 4104
	ret
	.cfi_endproc
	.size before_the_fault, . - before_the_fault

	.globl faults_at_its_start
	.type faults_at_its_start, @function
faults_at_its_start:
	.cfi_startproc
	ud2
	ret
	.cfi_endproc
	.size faults_at_its_start, . - faults_at_its_start
	.section .note.GNU-stack, "", @progbits
