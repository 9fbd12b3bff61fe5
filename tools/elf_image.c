/* SPDX-License-Identifier: MIT */
/*
 * Reading ELF headers, program headers and symbol tables in place.
 *
 * at() is the only way to a byte of the file: it answers NULL when the range does not lie inside. Tables
 * whose entries do not have the size of this machine's structures are skipped.
 */
#include "tools/elf_image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define NATIVE_MACHINE EM_AARCH64
#else
#error "halloc supports x86-64 and arm64"
#endif

static const void *at(const struct ha_elf_image *image, uint64_t offset, uint64_t size) {
  if (offset > image->size || size > image->size - offset)
    return NULL;
  return image->bytes + offset;
}

/* Entry `index` of a table; copied, because a file may place it at any alignment. */
static bool read_entry(const struct ha_elf_image *image, uint64_t table, uint64_t index, void *out,
                       size_t size) {
  uint64_t skipped, offset;
  if (__builtin_mul_overflow(index, (uint64_t)size, &skipped) ||
      __builtin_add_overflow(table, skipped, &offset))
    return false;
  const void *entry = at(image, offset, size);
  if (entry == NULL)
    return false;
  memcpy(out, entry, size);
  return true;
}

int ha_elf_open(const char *path, struct ha_elf_image *ret_image) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  struct stat st;
  int error = fstat(fd, &st) < 0 ? -errno : 0;
  void *bytes = NULL;
  if (error == 0 && st.st_size > 0) {
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    error = bytes == MAP_FAILED ? -errno : 0;
  }
  close(fd);
  if (error == 0)
    *ret_image = (struct ha_elf_image){bytes, bytes == NULL ? 0 : (size_t)st.st_size};
  return error;
}

void ha_elf_close(struct ha_elf_image *image) {
  if (image->bytes != NULL)
    munmap((void *)image->bytes, image->size);
  *image = (struct ha_elf_image){NULL, 0};
}

bool ha_elf_is_elf(const struct ha_elf_image *image) {
  return image->size >= EI_NIDENT && memcmp(image->bytes, ELFMAG, SELFMAG) == 0;
}

bool ha_elf_is_native(const struct ha_elf_image *image) {
  Elf64_Ehdr header;
  return ha_elf_is_elf(image) && read_entry(image, 0, 0, &header, sizeof header) &&
         header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB &&
         header.e_machine == NATIVE_MACHINE;
}

const char *ha_elf_interpreter(const struct ha_elf_image *image) {
  Elf64_Ehdr header;
  Elf64_Phdr segment;
  if (!read_entry(image, 0, 0, &header, sizeof header) || header.e_phentsize != sizeof segment)
    return NULL;
  for (unsigned i = 0; i < header.e_phnum; i++) {
    if (!read_entry(image, header.e_phoff, i, &segment, sizeof segment))
      return NULL;
    if (segment.p_type != PT_INTERP)
      continue;
    const char *name = at(image, segment.p_offset, segment.p_filesz);
    bool is_string = name != NULL && segment.p_filesz > 0 && name[segment.p_filesz - 1] == '\0';
    return is_string ? name : NULL;
  }
  return NULL;
}

static bool is_definition(const Elf64_Sym *symbol) {
  unsigned type = ELF64_ST_TYPE(symbol->st_info);
  bool is_code = type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE;
  return is_code && symbol->st_shndx != SHN_UNDEF;
}

static bool table_defines(const struct ha_elf_image *image, const Elf64_Shdr *symbols,
                          const Elf64_Shdr *strings, const char *function) {
  const char *names = at(image, strings->sh_offset, strings->sh_size);
  size_t length = strlen(function) + 1;
  if (names == NULL || symbols->sh_entsize != sizeof(Elf64_Sym))
    return false;
  for (uint64_t i = 0; i < symbols->sh_size / sizeof(Elf64_Sym); i++) {
    Elf64_Sym symbol;
    if (!read_entry(image, symbols->sh_offset, i, &symbol, sizeof symbol))
      return false;
    if (!is_definition(&symbol) || symbol.st_name > strings->sh_size ||
        length > strings->sh_size - symbol.st_name)
      continue;
    if (memcmp(names + symbol.st_name, function, length) == 0)
      return true;
  }
  return false;
}

/* Files with very many sections keep the count in the first one (System V ABI). */
static uint64_t section_count(const struct ha_elf_image *image, const Elf64_Ehdr *header) {
  Elf64_Shdr first;
  if (header->e_shoff == 0 || header->e_shentsize != sizeof first)
    return 0;
  if (header->e_shnum != 0)
    return header->e_shnum;
  return read_entry(image, header->e_shoff, 0, &first, sizeof first) ? first.sh_size : 0;
}

bool ha_elf_defines(const struct ha_elf_image *image, const char *function) {
  Elf64_Ehdr header;
  Elf64_Shdr section, strings;
  if (!read_entry(image, 0, 0, &header, sizeof header))
    return false;
  uint64_t count = section_count(image, &header);
  for (uint64_t i = 0; i < count; i++) {
    if (!read_entry(image, header.e_shoff, i, &section, sizeof section))
      return false;
    if (section.sh_type != SHT_SYMTAB && section.sh_type != SHT_DYNSYM)
      continue;
    if (read_entry(image, header.e_shoff, section.sh_link, &strings, sizeof strings) &&
        table_defines(image, &section, &strings, function))
      return true;
  }
  return false;
}
