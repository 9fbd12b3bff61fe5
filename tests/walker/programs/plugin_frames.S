/* SPDX-License-Identifier: MIT */
/* Two libraries from one source: the same code at the same offsets, with frames of different size (FRAME). */
	.text
	.type inner, @function
inner:
	.cfi_startproc
	sub $FRAME, %rsp
	.cfi_def_cfa_offset FRAME + 8
	call malloc@PLT
	add $FRAME, %rsp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size inner, . - inner

	.globl allocate
	.type allocate, @function
allocate:
	.cfi_startproc
	sub $FRAME + 16, %rsp
	.cfi_def_cfa_offset FRAME + 24
	call inner
	add $FRAME + 16, %rsp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size allocate, . - allocate
	.section .note.GNU-stack, "", @progbits
