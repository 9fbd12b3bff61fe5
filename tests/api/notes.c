/* SPDX-License-Identifier: MIT */
#include "tests/api/notes.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#define NT_STAPSDT 3

struct file {
  const unsigned char *data;
  size_t size;
  uintptr_t bias; /* from the file's addresses to those of this process */
};

struct text_note {
  uint64_t pc, base, semaphore;
  const char *provider, *name, *arguments;
};

static const Elf64_Ehdr *header_of(const struct file *file) {
  return (const Elf64_Ehdr *)file->data;
}

static struct file open_file_of_halloc(void) {
  Dl_info info;
  struct link_map *map;
  void *function = dlsym(RTLD_DEFAULT, "hp_memstats_read");
  CHECK(function != NULL && dladdr1(function, &info, (void **)&map, RTLD_DL_LINKMAP) != 0,
        "halloc is not in this process");
  int fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
  struct stat stat;
  CHECK(fd >= 0 && fstat(fd, &stat) == 0, "%s: %s", info.dli_fname, strerror(errno));
  void *data = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(data != MAP_FAILED, "%s cannot be mapped", info.dli_fname);
  close(fd);
  return (struct file){data, (size_t)stat.st_size, map->l_addr};
}

static const Elf64_Shdr *find_section(const struct file *file, const char *name) {
  const Elf64_Ehdr *header = header_of(file);
  const Elf64_Shdr *sections = (const Elf64_Shdr *)(file->data + header->e_shoff);
  const char *names = (const char *)file->data + sections[header->e_shstrndx].sh_offset;
  for (int i = 0; i < header->e_shnum; i++) {
    if (strcmp(names + sections[i].sh_name, name) == 0) {
      return &sections[i];
    }
  }
  test_fail(__FILE__, __LINE__, "there is no section %s", name);
}

/* The note at *at, which is moved behind it. False if it is of another kind. */
static bool take_note(const unsigned char **at, struct text_note *note) {
  Elf64_Nhdr header;
  memcpy(&header, *at, sizeof header);
  const unsigned char *name = *at + sizeof header;
  const unsigned char *content = name + (header.n_namesz + 3) / 4 * 4;
  *at = content + (header.n_descsz + 3) / 4 * 4;
  if (header.n_type != NT_STAPSDT || strcmp((const char *)name, "stapsdt") != 0) {
    return false;
  }
  uint64_t addresses[3];
  memcpy(addresses, content, sizeof addresses);
  note->pc = addresses[0];
  note->base = addresses[1];
  note->semaphore = addresses[2];
  note->provider = (const char *)content + sizeof addresses;
  note->name = note->provider + strlen(note->provider) + 1;
  note->arguments = note->name + strlen(note->name) + 1;
  return true;
}

struct probe_note note_find(const char *provider, const char *name) {
  struct file file = open_file_of_halloc();
  const Elf64_Shdr *notes = find_section(&file, ".note.stapsdt");
  uint64_t moved = find_section(&file, ".stapsdt.base")->sh_addr;
  const unsigned char *at = file.data + notes->sh_offset;
  const unsigned char *end = at + notes->sh_size;
  struct probe_note found = {0};
  unsigned count = 0;
  struct text_note note;
  while (at < end) {
    if (take_note(&at, &note) && strcmp(note.provider, provider) == 0 && strcmp(note.name, name) == 0) {
      uintptr_t bias = file.bias + moved - note.base;
      found.pc = note.pc + bias;
      found.semaphore = note.semaphore != 0 ? note.semaphore + bias : 0;
      snprintf(found.arguments, sizeof found.arguments, "%s", note.arguments);
      count++;
    }
  }
  munmap((void *)(uintptr_t)file.data, file.size);
  CHECK(count == 1, "there are %u probes %s:%s", count, provider, name);
  return found;
}
