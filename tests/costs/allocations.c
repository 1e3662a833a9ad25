/* Counts how often memory is asked for. A program runs with it by LD_PRELOAD, and asks allocations(); with
   PYTHONMALLOC=malloc all of CPython's requests come here. For glibc. */

#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static unsigned long count;

static void note(void) { __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED); }

void *malloc(size_t size) {
    note();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    note();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    note();
    return __libc_realloc(old, size);
}

unsigned long allocations(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
