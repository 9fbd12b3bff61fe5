/* SPDX-License-Identifier: MIT */
/* Compiled without unwind tables: NAME with or without frame pointers. */
void leaf(void);
void NAME(void);
__attribute__((noinline)) static void bare_inner(int n) {
  char bytes[56];
  __asm__ volatile("" : : "r"(bytes) : "memory");
  leaf();
  __asm__ volatile("" : : "r"(bytes), "r"(n) : "memory");
}
void NAME(void) {
  bare_inner(1);
  __asm__ volatile("" ::: "memory");
}
