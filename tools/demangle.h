/* SPDX-License-Identifier: MIT */
/*
 * Names of C++ functions as a person writes them.
 *
 * The demangler is the one in libstdc++, loaded when first needed; on a machine without it mangled names are
 * shown as they are. Names longer than HA_MANGLED_MAX are not demangled, because the demangler recurses.
 */
#ifndef HA_TOOLS_DEMANGLE_H
#define HA_TOOLS_DEMANGLE_H

#include "base/compiler.h"

#define HA_MANGLED_MAX 4096

/* A new string that the caller frees, or NULL: the name is not mangled or cannot be demangled. */
char *ha_demangle(const char *name);

/*
 * The name without return type, template and call arguments: "void a::f<int>(char)" gives "a::f". This is the
 * form that a profile's drop_frames expression is matched against. A new string that the caller frees.
 */
char *ha_simplify_name(const char *name);

#endif
