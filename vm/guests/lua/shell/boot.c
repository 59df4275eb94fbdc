/* Starting Lua and the prelude. It is done once, when the guest is built (see `snapshot.mjs`): what is in
   memory afterwards are the module's data, and no process ever starts anything.

   Strings and code, which nobody changes, lie together, and the collector leaves them alone. What it marks
   lies together too, and so does what messages write to. So few pages change from message to message, and
   processes share all others. */
#include <stdlib.h>
#include <string.h>

#include "ldo.h"
#include "lgc.h"
#include "lstate.h"
#include "ltable.h"

#include "lauxlib.h"
#include "lualib.h"

#include "boot.h"
#include "heap.h"

#define EXPORT(name) __attribute__((export_name(name)))

/* What each of the shell's buffers begins with. */
#define ROOM 2040
/* More chunks than the prelude has. */
#define CHUNKS_MAX 64
/* Slots of Lua's stack that the shell has at hand: a stack that shrank after each message would move with each. */
#define STACK 60
/* What changes of memory are counted in. */
#define PAGE 4096

/* One chunk of the prelude: `prelude.h` is made by the build. */
typedef struct Chunk {
  const char *name;
  unsigned char *bytes;
  size_t length;
} Chunk;
#include "prelude.h"

/* Of memory in use, in bytes. What has at most so much is collected as one generation after the other. */
#define LARGE (2 << 20)
/* A process with at most so much of its own is collected after nearly each message: when garbage is a 16th of it, and
   a quarter where there is more. */
#define SMALL (1 << 19)
/* By how much memory grows until all of it is looked through, beside half of what the process has of its own. */
#define GROWTH 65536
/* Within a message: by how many percent memory grows until what is new, and what has become old, is looked through. */
#define YOUNG 25
#define OLD 100

/* A part of memory that is given away from its beginning and from its end, and never taken back. */
typedef struct Arena {
  char *start;
  size_t used, room;
  /* Given away from the end. */
  size_t back;
} Arena;

lua_State *lua;
Text input[2], output, known;

/* Strings and code; what messages change, and at its end what only the collector does. */
static Arena still, busy;
/* Whether a chunk is read; whether what there is moves to where it stays. */
static int loading, gathering;
/* What is in use before there is a message, and what was when garbage was collected last. */
static lu_mem begins_with, rests;
/* The chunks as the build compiled them, while it starts them. */
static const char *compiled[CHUNKS_MAX];
static size_t compiled_length[CHUNKS_MAX];

/* Writes zeros, also to what is freed right after: compilers leave that out. */
static void clear(void *block, size_t size) {
  memset(block, 0, size);
  __asm__ volatile("" : : "r"(block) : "memory");
}

static int lies_in(const Arena *arena, const void *block) {
  return (size_t)((const char *)block - arena->start) < arena->room;
}

static void *reallocate(void *unused, void *block, size_t old, size_t size) {
  (void)unused;
  if (block == NULL || (!lies_in(&still, block) && !lies_in(&busy, block))) return heap_move(block, old, size);
  void *moved = size > 0 ? heap_move(NULL, 0, size) : NULL;
  if (moved != NULL) memcpy(moved, block, old < size ? old : size);
  return moved;
}

/* Rounded up to what a block of this size may need. */
static size_t aligned(size_t at, size_t size, size_t kind) {
  size_t to = kind == LUA_TSTRING ? 4 : size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : 1;
  return (at + to - 1) & ~(to - 1);
}

static void *take(Arena *arena, size_t size, size_t kind) {
  size_t at = aligned(arena->used, size, kind);
  if (at + arena->back > arena->room || size > arena->room - arena->back - at) __builtin_trap();
  arena->used = at + size;
  return arena->start + at;
}

static void *take_last(Arena *arena, size_t size) {
  size_t back = (arena->back + size + 7) & ~(size_t)7;
  if (arena->used + back > arena->room) __builtin_trap();
  arena->back = back;
  return arena->start + arena->room - back;
}

/* While the prelude starts: every thing in its place, and zeros where something was. `old` of a new block
   says what it is for. */
static void *place(void *unused, void *block, size_t old, size_t size) {
  (void)unused;
  if (block == NULL) {
    if (size == 0) return NULL;
    if (old == LUA_TTABLE || old == LUA_TTHREAD) return take(&busy, size, old);
    if (old == LUA_TFUNCTION || old == LUA_TUPVAL) return take_last(&busy, size);
    if (loading || old == LUA_TSTRING || old == LUA_TPROTO) return take(&still, size, old);
    return malloc(size);
  }
  void *moved = NULL;
  if (size > 0) {
    moved = gathering ? take(&busy, size, 0) : malloc(size);
    if (moved == NULL) __builtin_trap();
    memcpy(moved, block, old < size ? old : size);
  }
  clear(block, old);
  if (!lies_in(&still, block) && !lies_in(&busy, block)) free(block);
  return moved;
}

static void open_libraries(lua_State *L) {
  static const luaL_Reg libraries[] = {
      {LUA_GNAME, luaopen_base},          {LUA_TABLIBNAME, luaopen_table},
      {LUA_STRLIBNAME, luaopen_string},   {LUA_MATHLIBNAME, luaopen_math},
      {LUA_UTF8LIBNAME, luaopen_utf8},    {LUA_COLIBNAME, luaopen_coroutine},
  };
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
    lua_pop(L, 1);
  }
  luaL_requiref(L, "json", luaopen_json, 0);
  luaL_requiref(L, ".hash", luaopen_hash, 0);
  luaL_requiref(L, ".codec", luaopen_codec, 0);
  luaL_requiref(L, ".bint", luaopen_bint, 0);
  luaL_requiref(L, ".drive", luaopen_drive, 0);
  lua_pop(L, 5);
}

static void load_text(lua_State *L, const Chunk *chunk) {
  if (luaL_loadbufferx(L, (const char *)chunk->bytes, chunk->length, chunk->name, "t") != LUA_OK) lua_error(L);
}

/* `chunk(name)`: a module of the prelude, compiled; nil if there is none. Those that the prelude itself
   began with are there in this form alone. */
static int load_chunk(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, "weft.chunks");
  if (lua_getfield(L, -1, name) != LUA_TNIL) return 1;
  for (size_t i = 0; chunks[i].name != NULL; i++) {
    if (strcmp(chunks[i].name, name) != 0) continue;
    if (compiled[i] == NULL) {
      load_text(L, &chunks[i]);
      return 1;
    }
    loading = 1;
    int failed = luaL_loadbufferx(L, compiled[i], compiled_length[i], name, "b");
    loading = 0;
    if (failed) __builtin_trap();
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    memset(chunks[i].bytes, 0, chunks[i].length);
    return 1;
  }
  return 0;
}

static int traceback(lua_State *L) {
  luaL_traceback(L, L, NULL, (int)luaL_optinteger(L, 1, 1));
  return 1;
}

/* Leaves the prelude's handler in the registry. */
static int start(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "weft.serials");
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "weft.chunks");
  open_libraries(L);
  lua_pushcfunction(L, load_chunk);
  lua_pushliteral(L, "boot");
  lua_call(L, 1, 1);
  lua_pushcfunction(L, load_chunk);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushcfunction(L, traceback);
  lua_call(L, 3, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "weft.handle");
  return 0;
}

/* Takes strings and code out of the collector's list: they are neither marked nor freed from here on. What
   they refer to are strings and code. */
static void fix(lua_State *L) {
  global_State *g = G(L);
  for (GCObject **at = &g->allgc; *at != NULL;) {
    GCObject *object = *at;
    if (object->tt != LUA_VPROTO && object->tt != LUA_VSHRSTR && object->tt != LUA_VLNGSTR) {
      at = &object->next;
      continue;
    }
    *at = object->next;
    resetbits(object->marked, WHITEBITS | bitmask(BLACKBIT) | AGEBITS);
    setage(object, G_OLD);
    object->next = g->fixedgc;
    g->fixedgc = object;
  }
}

/* Bytes that the process has beside those that it began with. */
static lu_mem own(lu_mem bytes) { return bytes > begins_with ? bytes - begins_with : 0; }

/* Collects what the messages since the last time made: what is older is neither marked nor written to, and the next
   message writes where this one did. Tables that were written to are looked through whole, so that it has to be worth
   it. When enough became old everything is looked through. */
static void collect(void) {
  global_State *g = G(lua);
  if (rests > gettotalbytes(g)) rests = gettotalbytes(g);
  if (gettotalbytes(g) < rests + own(rests) / (own(rests) > SMALL ? 4 : 16) && g->lastatomic == 0) return;
  // Within the message everything was looked through in vain: Lua would go on so.
  if (g->lastatomic != 0) lua_gc(lua, LUA_GCGEN, YOUNG, OLD);
  else lua_gc(lua, LUA_GCSTEP, 0);
  if (gettotalbytes(g) > g->GCestimate + GROWTH + own(g->GCestimate) / 2) {
    lua_gc(lua, LUA_GCCOLLECT);
    heap_release();
  }
  rests = gettotalbytes(g);
}

/* What has more than fits is collected bit by bit, as memory grows: no message waits for all of it. */
void settle(void) {
  global_State *g = G(lua);
  if (isdecGCmodegen(g)) {
    collect();
    if (gettotalbytes(g) > LARGE) {
      lua_gc(lua, LUA_GCINC, 130, 200, 0);
      luaE_setdebt(g, -(l_mem)(gettotalbytes(g) / 100 * 30));
    }
  } else if (gettotalbytes(g) <= LARGE / 2) {
    lua_gc(lua, LUA_GCGEN, YOUNG, OLD);
    heap_release();
    rests = gettotalbytes(g);
  }
  heap_rewind();
}

static void make_room(Text *text) {
  text->room = ROOM;
  // The first one begins a page, and what comes next follows it.
  text->bytes = text == input ? aligned_alloc(PAGE, ROOM) : malloc(ROOM);
  if (text->bytes == NULL) __builtin_trap();
}

static void make_arena(Arena *arena, size_t room) {
  arena->start = malloc(room);
  arena->room = room;
  arena->back = 0;
  if (arena->start == NULL) __builtin_trap();
}

static void *moved(void *block, size_t size, int last) {
  void *to = last ? take_last(&busy, size) : take(&busy, size, 0);
  memcpy(to, block, size);
  clear(block, size);
  free(block);
  return to;
}

/* Tables that messages write to lie in front. */
enum { COUNTS, OTHERS, LIBRARIES };

/* A table that holds functions, texts and flags alone, as those of libraries do, is written to by nobody; one with
   a number that begins at 0 by nearly each message. */
static int kind_of(Table *table) {
  int kind = luaH_realasize(table) == 0 ? LIBRARIES : OTHERS;
  for (int i = 0; i < sizenode(table); i++) {
    const TValue *value = gval(gnode(table, i));
    if (ttisinteger(value) && ivalue(value) == 0) return COUNTS;
    if (!isempty(value) && !ttisfunction(value) && !ttisstring(value) && !ttisboolean(value)) kind = OTHERS;
  }
  return kind;
}

/* Brings together what tables of a kind have that grew here and there. */
static void gather_tables(const global_State *g, int kind) {
  int last = kind == LIBRARIES;
  for (GCObject *object = g->allgc; object != NULL; object = object->next) {
    if (object->tt != LUA_VTABLE || kind_of(gco2t(object)) != kind) continue;
    Table *table = gco2t(object);
    unsigned size = luaH_realasize(table);
    if (size > 0) table->array = moved(table->array, size * sizeof *table->array, last);
    if (isdummy(table)) continue;
    ptrdiff_t free_from = table->lastfree - table->node;
    table->node = moved(table->node, sizenode(table) * sizeof *table->node, last);
    table->lastfree = table->node + free_from;
  }
}

/* The same for all tables, Lua's stack, and the table of strings. */
static void gather(lua_State *L) {
  global_State *g = G(L);
  lua_checkstack(L, STACK);
  gathering = 1;
  luaD_reallocstack(L, stacksize(L), 0);
  gathering = 0;
  gather_tables(g, COUNTS);
  gather_tables(g, OTHERS);
  gather_tables(g, LIBRARIES);
  busy.used += -(size_t)(busy.start + busy.used) % PAGE;
  g->strt.hash = moved(g->strt.hash, (size_t)g->strt.size * sizeof *g->strt.hash, 0);
}

static int write_text(lua_State *L, const void *bytes, size_t length, void *text) {
  text_add(L, text, bytes, length);
  return 0;
}

static int dump(lua_State *L) {
  load_text(L, lua_touserdata(L, 1));
  output.length = 0;
  return lua_dump(L, write_text, &output, 0);
}

/* Of the build: one chunk, compiled; 0 behind the last one. */
EXPORT("compile") unsigned long long guest_compile(size_t number) {
  if (chunks[number].name == NULL) return 0;
  heap_prepare();
  lua_State *L = lua_newstate(reallocate, NULL);
  lua_pushcfunction(L, dump);
  lua_pushlightuserdata(L, &chunks[number]);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) __builtin_trap();
  return (unsigned long long)(size_t)output.bytes << 32 | output.length;
}

/* Of the build: room behind the memory that Lua is given, which is settled when it is first asked for some. */
EXPORT("room") size_t guest_room(size_t length) {
  make_room(&input[0]);
  make_room(&output);
  return __builtin_wasm_memory_grow(0, (length + 65535) / 65536) * 65536;
}

/* Of the build: starts Lua with chunks that were compiled before, each behind its length. Both arenas take
   so many bytes; gives how many of each were used. */
EXPORT("boot")
unsigned long long guest_boot(const char *code, size_t still_bytes, size_t busy_bytes) {
  make_arena(&busy, busy_bytes);
  heap_prepare();
  make_room(&input[1]);
  make_room(&known);
  make_arena(&still, still_bytes);
  for (size_t i = 0; chunks[i].name != NULL; i++) {
    unsigned length;
    memcpy(&length, code, sizeof length);
    compiled[i] = code + sizeof length;
    compiled_length[i] = length;
    code = compiled[i] + length;
  }
  lua_State *L = lua_newstate(place, NULL);
  if (L == NULL) __builtin_trap();
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, start);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK) __builtin_trap();
  lua_settop(L, 0);
  memset(compiled, 0, sizeof compiled);
  memset(compiled_length, 0, sizeof compiled_length);
  lua_gc(L, LUA_GCCOLLECT);
  fix(L);
  gather(L);
  lua_gc(L, LUA_GCGEN, YOUNG, OLD);
  lua_gc(L, LUA_GCRESTART);
  lua_setallocf(L, reallocate, NULL);
  lua = L;
  begins_with = rests = gettotalbytes(G(L));
  return (unsigned long long)still.used << 32 | ((busy.used + 7) & ~(size_t)7) + busy.back;
}
