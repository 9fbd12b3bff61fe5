/* SPDX-License-Identifier: MIT */
/*
 * Finding names. The symbol table is read front to back in chunks; each function symbol looks up, by binary
 * search, which of the wanted addresses it covers, and competes with what was found for them before. Of two
 * functions that cover an address the one that begins later wins (it is the inner one), of two names for the
 * same function the better one:
 *
 *   global or weak before local (other files know it by that name),
 *   plain before one that begins with an underscore, unless that begins a mangled C++ or Rust name,
 *   shorter before longer.
 *
 * Names are read one by one from the string table, only those that compete. Work and memory do not depend on
 * the table's size except for reading through it.
 */
#include "proto/symbols.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "proto/elf_image.h"

/* Larger tables are not read: that much is a damaged header rather than a program. */
#define TABLE_MAX ((uint64_t)512 << 20)
/* Symbols per read: about 64 KiB. */
#define CHUNK 2730
/* Nearly all names fit the first read; longer ones are read again up to the maximum, beyond it not at all. */
#define NAME_FIRST ((size_t)256)
#define NAME_MAX_SIZE ((size_t)16 << 10)

#define RANK_LOCAL ((uint32_t)1 << 31)
#define RANK_UNDERSCORE ((uint32_t)1 << 30)

#define DEBUG_PREFIX "/usr/lib/debug/.build-id"
#define DEBUG_PATH_MAX (sizeof(DEBUG_PREFIX) + HA_BUILD_ID_TEXT + sizeof("//.debug"))

/* The best function so far for the symbol of the same index. */
struct candidate {
  uint64_t value; /* virtual address of its beginning; 0: none */
  uint64_t name_at;
  uint32_t rank; /* less is better */
};

struct search {
  struct ha_scratch *scratch;
  const struct ha_elf *elf;
  const struct ha_mapping *mapping;
  struct ha_symbol *symbols;
  struct candidate *candidates;
  uint32_t count;
  Elf64_Shdr table;
  Elf64_Shdr names;
  char *name; /* NAME_MAX_SIZE bytes */
};

/* A linker may append the symbol's version ("@@GLIBC_2.34"), which demanglers do not expect. */
static size_t cut_version(const char *name, size_t length) {
  const char *version = memchr(name, '@', length);
  return version != NULL ? (size_t)(version - name) : length;
}

/* Reads the name at an offset of the string table into search->name. Returns its length, 0: none that fits.
 */
static size_t read_name(const struct search *search, uint64_t at) {
  if (at >= search->names.sh_size) {
    return 0;
  }
  uint64_t left = search->names.sh_size - at;
  for (size_t size = NAME_FIRST; size <= NAME_MAX_SIZE; size *= NAME_MAX_SIZE / NAME_FIRST) {
    size_t part = left < size ? (size_t)left : size;
    if (ha_elf_read(search->elf, search->names.sh_offset + at, search->name, part) != 0) {
      return 0;
    }
    size_t length = strnlen(search->name, part);
    if (length < part) {
      return cut_version(search->name, length);
    }
  }
  return 0;
}

static bool is_mangled(const char *name) {
  return name[0] == '_' && (name[1] == 'Z' || name[1] == 'R');
}

/* UINT32_MAX: the symbol has no usable name. */
static uint32_t rank_symbol(const struct search *search, const Elf64_Sym *symbol) {
  size_t length = read_name(search, symbol->st_name);
  if (length == 0) {
    return UINT32_MAX;
  }
  uint32_t rank = (uint32_t)length;
  if (ELF64_ST_BIND(symbol->st_info) == STB_LOCAL) {
    rank |= RANK_LOCAL;
  }
  if (search->name[0] == '_' && !is_mangled(search->name)) {
    rank |= RANK_UNDERSCORE;
  }
  return rank;
}

/* The first wanted address at or above a virtual address. */
static uint32_t lower_bound(const struct search *search, uint64_t value) {
  uint32_t low = 0, high = search->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (search->symbols[middle].address - search->mapping->bias < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static void try_symbol(struct search *search, const Elf64_Sym *symbol) {
  unsigned type = ELF64_ST_TYPE(symbol->st_info);
  if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0 ||
      symbol->st_size == 0) {
    return;
  }
  uint32_t rank = 0; /* 0: not read yet; a name has at least one byte */
  for (uint32_t i = lower_bound(search, symbol->st_value); i < search->count; i++) {
    struct candidate *best = &search->candidates[i];
    if (search->symbols[i].address - search->mapping->bias - symbol->st_value >= symbol->st_size) {
      return;
    }
    if (symbol->st_value < best->value) {
      continue;
    }
    if (rank == 0) {
      rank = rank_symbol(search, symbol);
    }
    if (rank == UINT32_MAX) {
      return;
    }
    if (symbol->st_value > best->value || rank < best->rank) {
      *best = (struct candidate){.value = symbol->st_value, .name_at = symbol->st_name, .rank = rank};
    }
  }
}

static int scan_table(struct search *search) {
  size_t size = CHUNK * sizeof(Elf64_Sym);
  Elf64_Sym *chunk = ha_scratch_alloc(search->scratch, size);
  if (chunk == NULL) {
    return -ENOMEM;
  }
  uint64_t left = search->table.sh_size / sizeof(*chunk);
  uint64_t at = search->table.sh_offset;
  while (left > 0) {
    size_t part = left < CHUNK ? (size_t)left : CHUNK;
    if (ha_elf_read(search->elf, at, chunk, part * sizeof(*chunk)) != 0) {
      return 0;
    }
    for (size_t i = 0; i < part; i++) {
      try_symbol(search, &chunk[i]);
    }
    at += part * sizeof(*chunk);
    left -= part;
  }
  return 0;
}

/* Copies the names that won. Neighbouring addresses of one function share one copy. */
static int take_names(struct search *search) {
  for (uint32_t i = 0; i < search->count; i++) {
    const struct candidate *best = &search->candidates[i];
    struct ha_symbol *symbol = &search->symbols[i];
    if (best->value == 0) {
      continue;
    }
    symbol->entry = best->value + search->mapping->bias;
    if (i > 0 && best[-1].value == best->value && best[-1].name_at == best->name_at) {
      symbol->name = symbol[-1].name;
      continue;
    }
    size_t length = read_name(search, best->name_at);
    if (length == 0) {
      continue;
    }
    symbol->name = ha_scratch_copy_text(search->scratch, search->name, length);
    if (symbol->name == NULL) {
      return -ENOMEM;
    }
  }
  return 0;
}

/* Finds the table of a type together with its names. */
static bool find_table(struct search *search, uint32_t type) {
  Elf64_Shdr *table = &search->table;
  for (uint32_t i = 0; ha_elf_section(search->elf, i, table) == 0; i++) {
    if (table->sh_type != type) {
      continue;
    }
    return table->sh_entsize == sizeof(Elf64_Sym) && table->sh_size <= TABLE_MAX &&
           ha_elf_section(search->elf, table->sh_link, &search->names) == 0 &&
           search->names.sh_type == SHT_STRTAB && search->names.sh_size <= TABLE_MAX;
  }
  return false;
}

/* *ret_found: the image has a table of that type, whatever it named. */
static int search_image(struct search *search, const struct ha_elf *elf, uint32_t type, bool *ret_found) {
  search->elf = elf;
  *ret_found = find_table(search, type);
  if (!*ret_found) {
    return 0;
  }
  int error = scan_table(search);
  return error != 0 ? error : take_names(search);
}

/* Opens the separate debug file of a build id: its first byte names a directory. */
static int open_debug_file(struct ha_elf *elf, const char *build_id) {
  const size_t directory_digits = 2;
  char path[DEBUG_PATH_MAX];
  if (strlen(build_id) <= directory_digits) {
    return -ENOENT;
  }
  ha_format(path, sizeof(path), "%s/%c%c/%s.debug", DEBUG_PREFIX, build_id[0], build_id[1],
            build_id + directory_digits);
  return ha_elf_open_file(elf, path);
}

/* Opens the mapping's file if it is still the one that is mapped. */
static int open_mapped_file(struct ha_elf *elf, const struct ha_mapping *mapping) {
  if (mapping->path[0] != '/') {
    return -ENOENT;
  }
  int error = ha_elf_open_file(elf, mapping->path);
  if (error != 0) {
    return error;
  }
  if (elf->inode == mapping->inode && !mapping->is_deleted) {
    return 0;
  }
  char build_id[HA_BUILD_ID_TEXT];
  ha_elf_build_id(elf, build_id);
  /* Without build ids an inode that differs means nothing on layered file systems, but a deletion does. */
  if (strcmp(build_id, mapping->build_id) == 0 && (build_id[0] != '\0' || !mapping->is_deleted)) {
    return 0;
  }
  ha_elf_close(elf);
  return -ESTALE;
}

static int search_files(struct search *search) {
  struct ha_elf file, debug;
  bool has_file = open_mapped_file(&file, search->mapping) == 0, is_found = false;
  int error = has_file ? search_image(search, &file, SHT_SYMTAB, &is_found) : 0;
  if (error == 0 && !is_found && open_debug_file(&debug, search->mapping->build_id) == 0) {
    error = search_image(search, &debug, SHT_SYMTAB, &is_found);
    ha_elf_close(&debug);
  }
  if (error == 0 && !is_found && has_file) {
    error = search_image(search, &file, SHT_DYNSYM, &is_found);
  }
  if (has_file) {
    ha_elf_close(&file);
  }
  return error;
}

int ha_symbols_find(struct ha_scratch *scratch, const struct ha_mapping *mapping, struct ha_symbol *symbols,
                    uint32_t count) {
  if (count == 0 || !mapping->has_bias) {
    return 0;
  }
  struct search search = {.scratch = scratch, .mapping = mapping, .symbols = symbols, .count = count};
  search.candidates = ha_scratch_zalloc(scratch, count, sizeof(*search.candidates));
  search.name = ha_scratch_alloc(scratch, NAME_MAX_SIZE);
  if (search.candidates == NULL || search.name == NULL) {
    return -ENOMEM;
  }
  return search_files(&search);
}
