/* SPDX-License-Identifier: MIT */
/*
 * Reading ELF images. One range check, in ha_elf_read(), stands before every byte; the rest of the file may
 * therefore trust no field and still needs no checks of its own, apart from loops, which are bounded by
 * the number of headers or by NOTES_MAX.
 */
#include "proto/elf_image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"

/* Notes of a segment beyond this are not looked at; real segments have a few hundred bytes. */
#define NOTES_MAX ((uint64_t)64 << 10)
#define NOTE_ALIGN 4
/* .note.gnu.property asks for eight in a segment of its own. */
#define NOTE_ALIGN_WIDE 8
static const char gnu_owner[] = "GNU";

int ha_elf_read(const struct ha_elf *elf, uint64_t offset, void *out, size_t size) {
  if (offset > elf->size || size > elf->size - offset) {
    return -ENOEXEC;
  }
  char *to = out;
  while (size > 0) {
    ssize_t got = pread(elf->fd, to, size, (off_t)(elf->base + offset));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return got < 0 ? -errno : -EIO;
    }
    to += got;
    offset += (uint64_t)got;
    size -= (size_t)got;
  }
  return 0;
}

static bool is_native(const Elf64_Ehdr *header) {
  return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == ELFCLASS64 &&
         header->e_ident[EI_DATA] == ELFDATA2LSB && header->e_phentsize == sizeof(Elf64_Phdr);
}

static int read_header(struct ha_elf *elf) {
  Elf64_Ehdr header;
  int error = ha_elf_read(elf, 0, &header, sizeof(header));
  if (error != 0) {
    return error;
  }
  if (!is_native(&header)) {
    return -ENOEXEC;
  }
  elf->program_offset = header.e_phoff;
  elf->program_count = header.e_phnum;
  elf->section_offset = header.e_shoff;
  elf->section_count = header.e_shentsize == sizeof(Elf64_Shdr) ? header.e_shnum : 0;
  Elf64_Shdr first;
  /* With more sections than e_shnum can say, the first header says how many. */
  if (header.e_shnum == 0 && header.e_shoff != 0 && header.e_shentsize == sizeof(first) &&
      ha_elf_read(elf, header.e_shoff, &first, sizeof(first)) == 0 && first.sh_size <= UINT32_MAX) {
    elf->section_count = (uint32_t)first.sh_size;
  }
  return 0;
}

int ha_elf_open_file(struct ha_elf *ret_elf, const char *path) {
  /* By now the path may name something else, even a FIFO that would block. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    return -errno;
  }
  struct stat status;
  int error = fstat(fd, &status) != 0 ? -errno : S_ISREG(status.st_mode) ? 0 : -ENOEXEC;
  struct ha_elf elf = {.fd = fd, .owns_fd = true};
  if (error == 0) {
    elf.size = (uint64_t)status.st_size;
    elf.inode = status.st_ino;
    error = read_header(&elf);
  }
  if (error == 0) {
    *ret_elf = elf;
  } else {
    close(fd);
  }
  return error;
}

int ha_elf_open_memory(struct ha_elf *ret_elf, int memory_fd, uintptr_t start, uintptr_t limit) {
  if (memory_fd < 0 || limit <= start) {
    return -EBADF;
  }
  struct ha_elf elf = {.fd = memory_fd, .base = start, .size = limit - start};
  int error = read_header(&elf);
  if (error == 0) {
    *ret_elf = elf;
  }
  return error;
}

void ha_elf_close(struct ha_elf *elf) {
  if (elf->owns_fd) {
    close(elf->fd);
  }
  elf->fd = -1;
  elf->owns_fd = false;
}

/* One entry of a header table; a table whose end would wrap around has none. */
static int read_entry(const struct ha_elf *elf, uint64_t table, uint32_t index, void *out, size_t size) {
  uint64_t offset;
  if (__builtin_add_overflow(table, (uint64_t)index * size, &offset)) {
    return -ENOEXEC;
  }
  return ha_elf_read(elf, offset, out, size);
}

int ha_elf_program(const struct ha_elf *elf, uint32_t index, Elf64_Phdr *ret_program) {
  if (index >= elf->program_count) {
    return -ENOENT;
  }
  return read_entry(elf, elf->program_offset, index, ret_program, sizeof(*ret_program));
}

int ha_elf_section(const struct ha_elf *elf, uint32_t index, Elf64_Shdr *ret_section) {
  if (index >= elf->section_count) {
    return -ENOENT;
  }
  return read_entry(elf, elf->section_offset, index, ret_section, sizeof(*ret_section));
}

static void write_hex(char *text, const unsigned char *bytes, size_t count) {
  static const char digits[] = "0123456789abcdef";
  const unsigned nibble_bits = 4, nibble_mask = 15;
  for (size_t i = 0; i < count; i++) {
    *text++ = digits[bytes[i] >> nibble_bits];
    *text++ = digits[bytes[i] & nibble_mask];
  }
  *text = '\0';
}

/* Is the note at offset the build id? Then its text, else "" and where the next note begins. */
static bool read_note(const struct ha_elf *elf, uint64_t *offset, uint64_t align, char *text) {
  Elf64_Nhdr note;
  char owner[sizeof(gnu_owner)];
  unsigned char id[HA_BUILD_ID_MAX];
  if (ha_elf_read(elf, *offset, &note, sizeof(note)) != 0) {
    return false;
  }
  uint64_t name_at = *offset + sizeof(note);
  uint64_t id_at = name_at + ha_align_up(note.n_namesz, align);
  *offset = id_at + ha_align_up(note.n_descsz, align);
  if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != sizeof(owner) || note.n_descsz > sizeof(id)) {
    return true;
  }
  if (ha_elf_read(elf, name_at, owner, sizeof(owner)) == 0 && memcmp(owner, gnu_owner, sizeof(owner)) == 0 &&
      ha_elf_read(elf, id_at, id, note.n_descsz) == 0) {
    write_hex(text, id, note.n_descsz);
  }
  return true;
}

void ha_elf_build_id(const struct ha_elf *elf, char text[HA_BUILD_ID_TEXT]) {
  Elf64_Phdr program;
  text[0] = '\0';
  for (uint32_t i = 0; ha_elf_program(elf, i, &program) == 0; i++) {
    if (program.p_type != PT_NOTE || program.p_offset > elf->size) {
      continue;
    }
    uint64_t align = program.p_align == NOTE_ALIGN_WIDE ? NOTE_ALIGN_WIDE : NOTE_ALIGN;
    uint64_t end = program.p_offset + (program.p_filesz < NOTES_MAX ? program.p_filesz : NOTES_MAX);
    uint64_t offset = program.p_offset;
    while (offset < end && text[0] == '\0' && read_note(elf, &offset, align, text)) {
    }
    if (text[0] != '\0') {
      return;
    }
  }
}
