/* The exports of `wasm32-weft-plain`, and Lua behind them. The Lua state lives in memory and is
   made by the first message. */
#include <stdlib.h>
#include <string.h>

#include "lauxlib.h"
#include "lualib.h"
#include "text.h"

#define EXPORT(name) __attribute__((export_name(name)))

/* The host takes no longer result. */
#define RESULT_MAX (10 << 20)
/* What an input buffer keeps for the next message. */
#define INPUT_KEPT 65536

/* One chunk of the prelude: `prelude.h` is made by the build. */
typedef struct Chunk {
  const char *name;
  const unsigned char *bytes;
  size_t length;
} Chunk;
#include "prelude.h"

static lua_State *lua;
/* Things that have a number, see `guest_topointer`. */
static lua_Integer serials;
static Text output;
/* The message and the environment, in turn. */
static Text input[2];
static unsigned turn;
/* The environment that the prelude was given last. */
static Text known;

static void *reallocate(void *unused, void *block, size_t old, size_t size) {
  (void)unused, (void)old;
  if (size > 0) return realloc(block, size);
  free(block);
  return NULL;
}

EXPORT("alloc") void *guest_alloc(size_t length) {
  Text *text = &input[turn];
  turn ^= 1;
  text->length = 0;
  if (length > text->room || (text->room > INPUT_KEPT && length <= INPUT_KEPT)) {
    free(text->bytes);
    text->room = length < 1024 ? 1024 : length;
    text->bytes = malloc(text->room);
    if (text->bytes == NULL) __builtin_trap();
  }
  return text->bytes;
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

/* `chunk(name)`: a module of the prelude, compiled; nil if there is none. */
static int load_chunk(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (const Chunk *chunk = chunks; chunk->name != NULL; chunk++) {
    if (strcmp(chunk->name, name) != 0) continue;
    if (luaL_loadbufferx(L, (const char *)chunk->bytes, chunk->length, chunk->name, "t") != LUA_OK)
      return lua_error(L);
    return 1;
  }
  return 0;
}

/* What `tostring` shows of a table or function: the number of the first time that somebody asked.
   Addresses differ from build to build and say where things lie. The build has Lua's libraries call this. */
const void *guest_topointer(lua_State *L, int index) {
  if (lua_topointer(L, index) == NULL) return NULL;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 4, NULL);
  lua_getfield(L, LUA_REGISTRYINDEX, "weft.serials");
  lua_pushvalue(L, index);
  if (lua_rawget(L, -2) != LUA_TNUMBER) {
    lua_pop(L, 1);
    lua_pushinteger(L, ++serials);
    lua_pushvalue(L, index);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  const void *serial = (const void *)(size_t)lua_tointeger(L, -1);
  lua_pop(L, 2);
  return serial;
}

/* Objects with `__gc` are collected like others: see the build. */
struct GCObject;
struct Table;
void guest_no_finalizer(lua_State *L, struct GCObject *object, struct Table *metatable) {
  (void)L, (void)object, (void)metatable;
}

static int traceback(lua_State *L) {
  luaL_traceback(L, L, NULL, (int)luaL_optinteger(L, 1, 1));
  return 1;
}

/* Leaves the prelude's handler in the registry. */
static int boot(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "weft.serials");
  open_libraries(L);
  lua_pushcfunction(L, load_chunk);
  lua_pushliteral(L, "boot");
  lua_call(L, 1, 1);
  lua_pushcfunction(L, load_chunk);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushcfunction(L, traceback);
  lua_call(L, 3, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "weft.handle");
  /* A cycle begins when memory has grown by a third, not doubled: a quarter less of it per process. */
  lua_gc(L, LUA_GCINC, 130, 200, 0);
  return 0;
}

typedef struct Call {
  const char *message, *environment;
  size_t message_length, environment_length;
} Call;

static int is_known(const Call *call) {
  return known.length == call->environment_length && known.length > 0 &&
         memcmp(known.bytes, call->environment, known.length) == 0;
}

static int evaluate(lua_State *L) {
  const Call *call = lua_touserdata(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, "weft.handle");
  json_decode(L, call->message, call->message_length);
  if (is_known(call)) {
    lua_pushnil(L);
  } else {
    json_decode(L, call->environment, call->environment_length);
    known.length = 0;
    text_add(L, &known, call->environment, call->environment_length);
  }
  lua_call(L, 2, 1);
  output.length = 0;
  text_add(L, &output, "{\"ok\":true,\"response\":", 22);
  json_encode(L, -1, &output, 1);
  text_add(L, &output, "}", 1);
  if (output.length > RESULT_MAX) luaL_error(L, "the result has more than 10 MiB");
  return 0;
}

static int refuse(lua_State *L) {
  output.length = 0;
  text_add(L, &output, "{\"ok\":false,\"response\":", 23);
  if (lua_type(L, 1) != LUA_TSTRING) {
    lua_settop(L, 0);
    lua_pushliteral(L, "an error that is no text");
  }
  json_encode(L, 1, &output, 1);
  text_add(L, &output, "}", 1);
  return 0;
}

EXPORT("handle")
unsigned long long guest_handle(const char *message, size_t message_length, const char *environment,
                                size_t environment_length) {
  Call call = {message, environment, message_length, environment_length};
  if (lua == NULL) {
    lua_State *fresh = lua_newstate(reallocate, NULL);
    if (fresh == NULL) __builtin_trap();
    lua_pushcfunction(fresh, boot);
    if (lua_pcall(fresh, 0, 0, 0) != LUA_OK) __builtin_trap();
    lua = fresh;
  }
  if (output.room > INPUT_KEPT) text_shrink(&output);
  lua_pushcfunction(lua, evaluate);
  lua_pushlightuserdata(lua, &call);
  if (lua_pcall(lua, 1, 0, 0) != LUA_OK) {
    lua_pushcfunction(lua, refuse);
    lua_insert(lua, -2);
    if (lua_pcall(lua, 1, 0, 0) != LUA_OK) __builtin_trap();
  }
  lua_settop(lua, 0);
  turn = 0;
  return (unsigned long long)(size_t)output.bytes << 32 | output.length;
}
