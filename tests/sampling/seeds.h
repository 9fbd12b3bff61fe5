/* SPDX-License-Identifier: MIT */
/*
 * What a test of sampling holds fixed: the seeds of halloc's generators, which it otherwise takes from the
 * kernel, so that a run can be repeated; and what it can plant: weights that are wrong.
 */
#ifndef TESTS_SAMPLING_SEEDS_H
#define TESTS_SAMPLING_SEEDS_H

#include <stddef.h>
#include <stdint.h>

/* From now on the n-th seed follows from this one and n. Heaps keep theirs. */
void seeds_set(uint64_t seed);

/* Weights of blocks of this size (0: of any) are larger by this share. */
void seeds_plant_bias(double share, size_t block_size);

#endif
