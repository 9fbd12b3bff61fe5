/* SPDX-License-Identifier: MIT */
/*
 * Function names for code addresses, from the symbol tables of the mapped files.
 *
 * The full table (.symtab) is taken if there is one, in the file itself or in the separate debug file that
 * distributions install by build id; else the dynamic one. An address is named only if a function with a
 * known size covers it: no name is better than the wrong one. A file that is not the mapped one any more
 * (another build id) names nothing. Costs one pass over the table and a small read per function found; no
 * table is kept in memory.
 */
#ifndef HA_PROTO_SYMBOLS_H
#define HA_PROTO_SYMBOLS_H

#include "proto/mappings.h"
#include "proto/scratch.h"

struct ha_symbol {
  uintptr_t address; /* in: within the function */
  const char *name;  /* out: as in the symbol table, NULL if unknown */
  uintptr_t entry;   /* out: where the function begins, if there is a name */
};

/*
 * Names what it can; symbols are in ascending order of address, all within the mapping, and have no names
 * yet. 0 or -ENOMEM; an unreadable or malformed file only leaves them without names.
 */
int ha_symbols_find(struct ha_scratch *scratch, const struct ha_mapping *mapping, struct ha_symbol *symbols,
                    uint32_t count);

#endif
