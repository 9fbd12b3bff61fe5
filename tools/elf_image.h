/* SPDX-License-Identifier: MIT */
/*
 * A program file mapped for reading, and the few facts about it that decide whether LD_PRELOAD works.
 *
 * Every offset in the file is checked against its size before it is followed, so a damaged or hostile file
 * gives an answer and never a fault. Only the word size and byte order of the machine halloc was built for
 * are read.
 */
#ifndef HA_TOOLS_ELF_IMAGE_H
#define HA_TOOLS_ELF_IMAGE_H

#include "base/compiler.h"

struct ha_elf_image {
  const unsigned char *bytes;
  size_t size;
};

/* 0 or -errno. An empty file maps to size 0. */
int ha_elf_open(const char *path, struct ha_elf_image *ret_image);
void ha_elf_close(struct ha_elf_image *image);

bool ha_elf_is_elf(const struct ha_elf_image *image);
/* Word size, byte order and machine are those of halloc itself. */
bool ha_elf_is_native(const struct ha_elf_image *image);
/* The dynamic linker the program asks for, or NULL: the program is static. */
const char *ha_elf_interpreter(const struct ha_elf_image *image);
/* A function of that name is defined in the symbol tables of the file. */
bool ha_elf_defines(const struct ha_elf_image *image, const char *function);

#endif
