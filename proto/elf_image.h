/* SPDX-License-Identifier: MIT */
/*
 * An ELF image, read piece by piece from a file or from the memory of this process.
 *
 * Nothing is mapped and no address is touched: every byte comes through pread(2), for memory from
 * /proc/self/mem. A file that shrinks or a library that is unloaded meanwhile is a failed read, not a signal.
 * Every offset and size in the image is checked against its end, so a truncated or hostile image is an error
 * too. Only images of this machine's word size and byte order are read (64 bits, little endian).
 */
#ifndef HA_PROTO_ELF_IMAGE_H
#define HA_PROTO_ELF_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Linkers write 8, 16, 20 or 32 bytes. */
#define HA_BUILD_ID_MAX 64
#define HA_BUILD_ID_TEXT (2 * HA_BUILD_ID_MAX + 1)

struct ha_elf {
  int fd;
  bool owns_fd;
  uint64_t base; /* where in fd the image begins */
  uint64_t size; /* of the image: nothing at or behind it is read */
  ino_t inode;   /* of the file, 0 for memory */
  uint64_t program_offset;
  uint32_t program_count;
  uint64_t section_offset;
  uint32_t section_count;
};

/* Both return 0 or -errno; -ENOEXEC: not an image of this machine. */
int ha_elf_open_file(struct ha_elf *ret_elf, const char *path);
/* The image begins at start, where a mapping of file offset 0 lies; memory_fd stays the caller's. */
int ha_elf_open_memory(struct ha_elf *ret_elf, int memory_fd, uintptr_t start, uintptr_t limit);
void ha_elf_close(struct ha_elf *elf);

/* All of it or -errno. */
int ha_elf_read(const struct ha_elf *elf, uint64_t offset, void *out, size_t size);
int ha_elf_program(const struct ha_elf *elf, uint32_t index, Elf64_Phdr *ret_program);
int ha_elf_section(const struct ha_elf *elf, uint32_t index, Elf64_Shdr *ret_section);

/* The build id as lowercase hex; "" when there is none. */
void ha_elf_build_id(const struct ha_elf *elf, char text[HA_BUILD_ID_TEXT]);

#endif
