/* Memory for Lua, given so that a message writes to few pages. */
#ifndef weft_heap_h
#define weft_heap_h

#include <stddef.h>

/* Of the build: before anything else here. What is given first, enough for a small process, lies beside what the
   build makes around this: behind the prelude's code it would make every process hold a copy of that code's end. */
void heap_prepare(void);

/* As `lua_Alloc`: `block` has `old` bytes, and is to have `size`. NULL where there is no memory. What libc gave
   before is taken back too. */
void *heap_move(void *block, size_t old, size_t size);

/* Has what is given next lie as far in front as it can: for when garbage was collected. */
void heap_rewind(void);

/* Gives libc the fields in which nothing lies. */
void heap_release(void);

#endif
