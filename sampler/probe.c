/* SPDX-License-Identifier: MIT */
/*
 * The probe sites and their notes.
 *
 * A note lies in .note.stapsdt, which is not loaded: tools read it from the file. It says where the nop is,
 * where the semaphore is, and in which registers the arguments are; for these the registers of a call are
 * taken (rdi, rsi, rdx), since some tools read no other. The section .stapsdt.base is one byte whose address
 * every note repeats, so that tools notice when a file's addresses were moved after the notes were written;
 * it is one for all objects of a link, and others that have probes bring the same.
 */
#include "sampler/probe.h"

#include "sampler/interval.h"

/* In a section that is loaded from the file and stays writable, where the kernel can raise them. */
#define SEMAPHORE __attribute__((section(".probes"), used))
SEMAPHORE volatile uint16_t ha_probe_alloc_semaphore;
SEMAPHORE volatile uint16_t ha_probe_free_semaphore;

/* One site: a nop, and a note of type 3 with the three addresses and the three texts. The relocation of the
 * nop changes nothing; it is for linkers that would take .stapsdt.base for unused, since notes do not count. */
#define PROBE(name, arguments)                                                                               \
  "990: nop\n"                                                                                               \
  ".reloc 990b, R_X86_64_NONE, _.stapsdt.base\n"                                                             \
  ".pushsection .note.stapsdt, \"\", \"note\"\n"                                                             \
  ".balign 4\n"                                                                                              \
  ".4byte 992f - 991f, 994f - 993f, 3\n"                                                                     \
  "991: .asciz \"stapsdt\"\n"                                                                                \
  "992: .balign 4\n"                                                                                         \
  "993: .8byte 990b, _.stapsdt.base, ha_probe_" name "_semaphore\n"                                          \
  ".asciz \"otel_memory\"\n"                                                                                 \
  ".asciz \"" name "\"\n"                                                                                    \
  ".asciz \"" arguments "\"\n"                                                                               \
  "994: .balign 4\n"                                                                                         \
  ".popsection\n"                                                                                            \
  ".ifndef _.stapsdt.base\n"                                                                                 \
  ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"                                \
  ".weak _.stapsdt.base\n"                                                                                   \
  ".hidden _.stapsdt.base\n"                                                                                 \
  "_.stapsdt.base: .space 1\n"                                                                               \
  ".size _.stapsdt.base, 1\n"                                                                                \
  ".popsection\n"                                                                                            \
  ".endif\n"

HA_COLD void ha_probe_fire_alloc(const void *block, size_t block_size, uint64_t weight) {
  uint64_t weighted_bytes = (uint64_t)(((unsigned __int128)weight * block_size) >> HA_WEIGHT_SHIFT);
  __asm__ volatile(PROBE("alloc", "8@%%rdi 8@%%rsi 8@%%rdx")
                   :
                   : "D"(block), "S"(block_size), "d"(weighted_bytes)
                   : "memory");
}

HA_COLD void ha_probe_fire_free(const void *block) {
  __asm__ volatile(PROBE("free", "8@%%rdi") : : "D"(block) : "memory");
}
