/* SPDX-License-Identifier: MIT */
/*
 * halloc's functions as weak references, so that one program can be linked with the library, or without it
 * and run under LD_PRELOAD.
 */
#ifndef TESTS_API_LABELS_H
#define TESTS_API_LABELS_H

#pragma weak hp_add_labels
#pragma weak hp_current_labels
#pragma weak hp_do
#pragma weak hp_do_arg
#pragma weak hp_label
#pragma weak hp_labels
#pragma weak hp_set_labels
#pragma weak hp_set_mem_profile_rate
#pragma weak hp_write_heap_profile

#include "halloc.h"

#endif
