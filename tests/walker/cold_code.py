#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes assembly of many small functions with unwind tables, called in chains that end in malloc.

usage: cold_code.py COUNT OUT.s

Function i is entered by chain(i): it calls function i / 2 until 0 is reached, so that 20,000 functions
give 20,000 different stacks of up to 15 frames. Assembly, since a compiler would take a minute for it.
"""
import sys

count = int(sys.argv[1])
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write("\t.text\n")
    for i in range(count):
        pad = 8 + 16 * (i % 5)
        target = f"f{i // 2}" if i > 0 else "malloc@PLT"
        # Every third one keeps a frame pointer, every fifth has a large frame.
        with_frame = i % 3 == 0
        out.write(f"\t.type f{i}, @function\nf{i}:\n\t.cfi_startproc\n")
        if with_frame:
            out.write("\tpush %rbp\n\t.cfi_def_cfa_offset 16\n\t.cfi_offset rbp, -16\n\tmov %rsp, %rbp\n"
                      f"\t.cfi_def_cfa_register rbp\n\tsub ${pad + 8}, %rsp\n\tcall {target}\n\tleave\n"
                      "\t.cfi_def_cfa rsp, 8\n")
        else:
            out.write(f"\tsub ${pad}, %rsp\n\t.cfi_def_cfa_offset {pad + 8}\n\tcall {target}\n"
                      f"\tadd ${pad}, %rsp\n\t.cfi_def_cfa_offset 8\n")
        out.write(f"\tret\n\t.cfi_endproc\n\t.size f{i}, . - f{i}\n")
    out.write("\t.section .data.rel.ro, \"aw\"\n\t.globl cold_functions\n\t.type cold_functions, @object\n"
              "cold_functions:\n")
    out.writelines(f"\t.quad f{i}\n" for i in range(count))
    out.write(f"\t.size cold_functions, {8 * count}\n\t.globl cold_count\n\t.type cold_count, @object\n"
              f"cold_count:\n\t.quad {count}\n\t.size cold_count, 8\n"
              "\t.section .note.GNU-stack, \"\", @progbits\n")
