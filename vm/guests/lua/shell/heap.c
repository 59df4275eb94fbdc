/* Memory for Lua, given so that a message writes to few pages.

   Small blocks lie in fields of 16 KiB, one behind the other, in the gaps that a field has. After each message the
   garbage is collected and the search begins in front again: the next message writes where the last one did. Gaps
   that are small are passed over, for each may be in a page of its own, until a quarter of all fields is free.
   Which grains are taken is written apart, for all fields together.

   All of this is state: the same messages find the same gaps. */
#include <stdlib.h>
#include <string.h>

#include "heap.h"

/* What blocks are rounded up to. */
#define GRAIN 8
/* Larger blocks are libc's. */
#define SMALL_MAX 2048
/* Bytes of a field, which begins at a multiple of them. The last grain is libc's. */
#define FIELD 16384
#define GRAINS (FIELD / GRAIN)
#define WORDS (GRAINS / 64)
/* Grains of the least gap that is worth a page. */
#define WIDE 32
/* Longest gap of a field: not known since something was freed. What is longer than `ROOMY` is written as that. */
#define UNKNOWN 255
#define ROOMY 254

typedef unsigned long long Word;

typedef struct Field {
  /* Its first grain holds its number. */
  char *start;
  /* Grains that are not taken; those of the gap in use are. */
  unsigned left;
  /* Grains of its longest gap, at most. */
  unsigned char room;
  Word taken[WORDS];
} Field;
/* What a field has when it is empty: all but its first and its last grain. */
#define EMPTY (GRAINS - 2)
/* Fields of which a page tells. */
#define FIELDS_NEAR 15

/* All fields, in the order in which they are looked through. */
static Field *fields;
static unsigned count, capacity;
/* Which addresses are fields, by number of 16 KiB: blocks that libc gave are known by it. */
static Word is_field[(1ull << 32) / FIELD / 64];
/* Grains that are not taken, in all fields. */
static size_t left;
/* No field in front of this one has a wide gap. */
static unsigned first;
/* The gap in use, in the field `where`, and whether narrow ones are taken. */
static char *at, *end;
static unsigned where, from;
static int narrow;

static Field *field_of(const void *block) {
  return &fields[*(unsigned *)((size_t)block & ~(size_t)(FIELD - 1))];
}

static int lies_in_field(const void *block) {
  size_t number = (size_t)block / FIELD;
  return is_field[number / 64] >> number % 64 & 1;
}

static unsigned grain_of(const Field *field, const void *block) {
  return (unsigned)((size_t)((const char *)block - field->start) / GRAIN);
}

static size_t grains(size_t size) { return (size + GRAIN - 1) / GRAIN; }

/* The grains of a word from `bit` on, `length` of them at most. */
static Word mask(unsigned bit, unsigned length) { return (length < 64 ? ((Word)1 << length) - 1 : ~(Word)0) << bit; }

static void set(Field *field, unsigned grain, unsigned length, int taken) {
  while (length > 0) {
    unsigned bit = grain % 64, here = length < 64 - bit ? length : 64 - bit;
    if (taken) field->taken[grain / 64] |= mask(bit, here);
    else field->taken[grain / 64] &= ~mask(bit, here);
    grain += here;
    length -= here;
  }
}

/* The next grain that is taken, or that is not; `GRAINS` behind the last. */
static unsigned next(const Field *field, unsigned grain, int taken) {
  while (grain < GRAINS) {
    Word word = (taken ? field->taken[grain / 64] : ~field->taken[grain / 64]) >> grain % 64;
    if (word != 0) return grain + (unsigned)__builtin_ctzll(word);
    grain = (grain | 63) + 1;
  }
  return GRAINS;
}

/* Makes the gap in use what is left of it for others. */
static void leave(void) {
  unsigned length = (unsigned)((size_t)(end - at) / GRAIN);
  if (length > 0) {
    Field *field = field_of(at);
    set(field, grain_of(field, at), length, 0);
    field->left += length;
    left += length;
    // Blocks in front of a gap are added to it when they are freed.
    if (length > field->room) field->room = (unsigned char)(length < ROOMY ? length : ROOMY);
    if (length >= WIDE && field < fields + first) first = (unsigned)(field - fields);
  }
  at = end = NULL;
}

/* Uses the next gap of so many grains in the field `where`, from `from` on. */
static int enter(unsigned least) {
  Field *field = &fields[where];
  unsigned begin = from, longest = 0;
  for (unsigned grain = next(field, from, 0); grain < GRAINS; grain = next(field, from, 0)) {
    from = next(field, grain, 1);
    unsigned length = from - grain;
    if (length > longest) longest = length;
    if (length < least) continue;
    set(field, grain, length, 1);
    field->left -= length;
    left -= length;
    at = field->start + grain * GRAIN;
    end = field->start + from * GRAIN;
    return 1;
  }
  if (begin == 0) field->room = (unsigned char)(longest < ROOMY ? longest : ROOMY);
  return 0;
}

static int look(unsigned least) {
  unsigned bound = least < ROOMY ? least : ROOMY;
  for (; where < count; where++, from = 0) {
    if (fields[where].room >= bound && enter(least)) return 1;
    if (where == first && fields[where].room < WIDE) first++;
  }
  return 0;
}

static void begin(unsigned number) {
  where = number;
  from = 0;
}

static int add_field(void) {
  if (count == capacity) {
    unsigned more = capacity * 2;
    Field *grown = realloc(fields, more * sizeof *grown);
    if (grown == NULL) return 0;
    fields = grown;
    capacity = more;
  }
  char *start = aligned_alloc(FIELD, FIELD - GRAIN);
  if (start == NULL) return 0;
  size_t number = (size_t)start / FIELD;
  is_field[number / 64] |= (Word)1 << number % 64;
  *(unsigned *)start = count;
  Field *field = &fields[count];
  *field = (Field){.start = start, .left = EMPTY, .room = ROOMY};
  set(field, 0, 1, 1);
  set(field, GRAINS - 1, 1, 1);
  left += EMPTY;
  begin(count++);
  return 1;
}

void heap_prepare(void) {
  if (fields != NULL) return;
  capacity = FIELDS_NEAR;
  fields = aligned_alloc(4096, capacity * sizeof *fields);
  if (fields == NULL || !add_field()) __builtin_trap();
}

/* Looks on from here; then, where a quarter of all is free, from the first field, and then into narrow gaps too. */
static int find_gap(unsigned least) {
  leave();
  unsigned wide = least > WIDE ? least : WIDE;
  if (look(narrow ? least : wide)) return 1;
  if (left >= (size_t)count * (GRAINS / 4)) {
    if (!narrow) {
      begin(first);
      if (look(wide)) return 1;
    }
    narrow = 1;
    begin(0);
    if (look(least)) return 1;
  }
  if (add_field()) return look(least);
  begin(0);
  return look(least);
}

static void *give(size_t size) {
  if (size > SMALL_MAX) {
    void *block = malloc(size);
    if (block != NULL) return block;
    heap_release();
    return malloc(size);
  }
  size_t length = grains(size) * GRAIN;
  if ((size_t)(end - at) < length && !find_gap((unsigned)(length / GRAIN))) return NULL;
  void *block = at;
  at += length;
  return block;
}

static void take_back(void *block, size_t size) {
  if (!lies_in_field(block)) {
    free(block);
    return;
  }
  size_t length = grains(size);
  if ((char *)block + length * GRAIN == at) {
    at = block;
    return;
  }
  Field *field = field_of(block);
  set(field, grain_of(field, block), (unsigned)length, 0);
  field->left += (unsigned)length;
  left += length;
  field->room = UNKNOWN;
  if (field < fields + first) first = (unsigned)(field - fields);
}

/* Whether a block could be made larger or smaller where it is. */
static int resized(char *block, size_t old, size_t size) {
  if (size > SMALL_MAX || !lies_in_field(block)) return 0;
  size_t before = grains(old) * GRAIN, after = grains(size) * GRAIN;
  if (block + before == at && (size_t)(end - block) >= after) {
    at = block + after;
    return 1;
  }
  if (after > before) return 0;
  if (after < before) take_back(block + after, before - after);
  return 1;
}

void *heap_move(void *block, size_t old, size_t size) {
  if (block == NULL) return size > 0 ? give(size) : NULL;
  if (size == 0) {
    take_back(block, old);
    return NULL;
  }
  if (resized(block, old, size)) return block;
  if (size > SMALL_MAX && !lies_in_field(block)) {
    void *moved = realloc(block, size);
    if (moved != NULL) return moved;
    heap_release();
    return realloc(block, size);
  }
  void *moved = give(size);
  if (moved == NULL) return NULL;
  memcpy(moved, block, old < size ? old : size);
  take_back(block, old);
  return moved;
}

void heap_rewind(void) {
  leave();
  narrow = 0;
  begin(first);
}

void heap_release(void) {
  leave();
  unsigned kept = 0;
  for (unsigned i = 0; i < count; i++) {
    char *start = fields[i].start;
    if (fields[i].left < EMPTY) {
      *(unsigned *)start = kept;
      if (i > kept) fields[kept] = fields[i];
      kept++;
      continue;
    }
    size_t number = (size_t)start / FIELD;
    is_field[number / 64] &= ~((Word)1 << number % 64);
    left -= EMPTY;
    free(start);
  }
  count = kept;
  first = 0;
  begin(0);
}
