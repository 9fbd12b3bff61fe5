/* SPDX-License-Identifier: MIT */
/* Thread-local data that ld.so allocates when a thread first touches it. */
static __thread char data[5000];
void touch(void);
void touch(void) {
  data[0] = 1;
  __asm__ volatile("" : : "r"(data) : "memory");
}
