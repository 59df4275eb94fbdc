/* The exports of `wasm32-weft-plain`: a message and its environment go to the prelude's handler. */
#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "heap.h"
#include "lauxlib.h"

#define EXPORT(name) __attribute__((export_name(name)))

/* The host takes no longer result. */
#define RESULT_MAX (10 << 20)
/* What an input buffer keeps for the next message. */
#define INPUT_KEPT 65536

/* Things that have a number, see `guest_topointer`. */
static lua_Integer serials;
/* The buffer that is next: the message's, then the environment's. */
static unsigned turn;

EXPORT("alloc") void *guest_alloc(size_t length) {
  Text *text = &input[turn];
  turn ^= 1;
  text->length = 0;
  if (length > text->room || (text->room > INPUT_KEPT && length <= INPUT_KEPT)) {
    free(text->bytes);
    text->room = length < 1024 ? 1024 : length;
    text->bytes = malloc(text->room);
    if (text->bytes == NULL) {
      heap_release();
      text->bytes = malloc(text->room);
    }
    if (text->bytes == NULL) __builtin_trap();
  }
  return text->bytes;
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
  if (output.room > INPUT_KEPT) text_shrink(&output);
  lua_pushcfunction(lua, evaluate);
  lua_pushlightuserdata(lua, &call);
  if (lua_pcall(lua, 1, 0, 0) != LUA_OK) {
    lua_pushcfunction(lua, refuse);
    lua_insert(lua, -2);
    if (lua_pcall(lua, 1, 0, 0) != LUA_OK) __builtin_trap();
  }
  lua_settop(lua, 0);
  settle();
  turn = 0;
  return (unsigned long long)(size_t)output.bytes << 32 | output.length;
}
