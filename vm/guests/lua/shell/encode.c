/* Lua values to JSON, in one order for all: object keys sorted by their bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "lauxlib.h"
#include "text.h"

/* Tables within tables: more is a cycle or a mistake. */
#define DEPTH_MAX 100
/* Keys that are sorted on the C stack; objects with more take memory of Lua's. */
#define KEYS_NEAR 16
/* What a text keeps for the next message. */
#define ROOM_KEPT 65536

/* A key of an object, and where on the stack its value is. */
typedef struct Key {
  const char *bytes;
  size_t length;
  int value;
} Key;

void text_add(lua_State *L, Text *text, const char *bytes, size_t length) {
  if (length > text->room - text->length) {
    size_t room = text->room < 1024 ? 1024 : text->room;
    while (room - text->length < length) {
      if (room > (size_t)1 << 30) luaL_error(L, "not enough memory");
      room *= 2;
    }
    char *grown = realloc(text->bytes, room);
    if (grown == NULL) {
      heap_release();
      grown = realloc(text->bytes, room);
    }
    if (grown == NULL) luaL_error(L, "not enough memory");
    text->bytes = grown;
    text->room = room;
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

void text_shrink(Text *text) {
  if (text->room > ROOM_KEPT) {
    free(text->bytes);
    text->bytes = NULL;
    text->room = 0;
  }
  text->length = 0;
}

static void add_char(lua_State *L, Text *out, char c) { text_add(L, out, &c, 1); }

/* Bytes of the UTF-8 character that begins here, or 0 if none does. */
static size_t character(const unsigned char *s, size_t left) {
  unsigned char c = s[0];
  size_t count = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
  if (count == 0 || count > left) return 0;
  for (size_t i = 1; i < count; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f)) return 0;
  if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f)) return 0;
  return count;
}

static void add_escape(lua_State *L, Text *out, unsigned char c) {
  static const char hex[] = "0123456789abcdef";
  const char *at = c ? strchr("\"\\\bb\ff\nn\rr\tt", c) : NULL;
  char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
  if (c == '"' || c == '\\') {
    escape[1] = (char)c;
    text_add(L, out, escape, 2);
  } else if (at != NULL) {
    escape[1] = at[1];
    text_add(L, out, escape, 2);
  } else {
    text_add(L, out, escape, 6);
  }
}

static void encode_string(lua_State *L, const char *bytes, size_t length, Text *out, int clean) {
  const unsigned char *s = (const unsigned char *)bytes;
  size_t from = 0, at = 0;
  add_char(L, out, '"');
  while (at < length) {
    size_t count = 1;
    if (s[at] >= 0x20 && s[at] != '"' && s[at] != '\\') {
      if (s[at] < 0x80 || !clean || (count = character(s + at, length - at)) > 0) {
        at += count;
        continue;
      }
    }
    text_add(L, out, bytes + from, at - from);
    if (count == 0) text_add(L, out, "\xef\xbf\xbd", 3);
    else add_escape(L, out, s[at]);
    from = ++at;
  }
  text_add(L, out, bytes + from, length - from);
  add_char(L, out, '"');
}

static void encode_integer(lua_State *L, lua_Integer number, Text *out) {
  char digits[24], *at = digits + sizeof digits;
  lua_Unsigned left = number < 0 ? 0 - (lua_Unsigned)number : (lua_Unsigned)number;
  do *--at = (char)('0' + left % 10);
  while (left /= 10);
  if (number < 0) *--at = '-';
  text_add(L, out, at, (size_t)(digits + sizeof digits - at));
}

static void encode_number(lua_State *L, int index, Text *out) {
  char digits[40];
  double number = lua_tonumber(L, index);
  if (!isfinite(number)) luaL_error(L, "unexpected number value '%s'", luaL_tolstring(L, index, NULL));
  int count = snprintf(digits, sizeof digits, "%.14g", number);
  if (strtod(digits, NULL) != number) count = snprintf(digits, sizeof digits, "%.17g", number);
  text_add(L, out, digits, (size_t)count);
}

static void encode(lua_State *L, int index, Text *out, int clean, int depth);

static void encode_array(lua_State *L, int index, lua_Unsigned count, Text *out, int clean, int depth) {
  add_char(L, out, '[');
  for (lua_Unsigned i = 1; i <= count; i++) {
    if (i > 1) add_char(L, out, ',');
    lua_rawgeti(L, index, (lua_Integer)i);
    encode(L, lua_gettop(L), out, clean, depth + 1);
    lua_pop(L, 1);
  }
  add_char(L, out, ']');
}

static int by_bytes(const void *a, const void *b) {
  const Key *x = a, *y = b;
  int order = memcmp(x->bytes, y->bytes, x->length < y->length ? x->length : y->length);
  return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int of_an_object(lua_State *L) {
  if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "invalid table: mixed or invalid key types");
  return lua_type(L, -1) != LUA_TFUNCTION;
}

/* Counts the values of an array, all of whose keys are numbers. */
static lua_Unsigned count_array(lua_State *L, int index) {
  lua_Unsigned count = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TNUMBER) luaL_error(L, "invalid table: mixed or invalid key types");
    count++;
  }
  return count;
}

/* Counts the keys of an object whose values are written. */
static size_t count_object(lua_State *L, int index) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) count += (size_t)of_an_object(L);
  return count;
}

/* Leaves one value on the stack, for as long as the table is written. A weak table may lose entries whenever
   memory is taken, and a key that it had may be freed while it is still to be written. What has a metatable is
   written from a copy that holds on to everything. */
static int held(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) {
    lua_pushnil(L);
    return index;
  }
  lua_pop(L, 1);
  lua_newtable(L);
  int copy = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, index);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, copy);
  }
  return copy;
}

static void encode_entry(lua_State *L, const Key *key, int index, Text *out, int clean, int depth) {
  encode_string(L, key->bytes, key->length, out, clean);
  add_char(L, out, ':');
  encode(L, index, out, clean, depth + 1);
}

/* An object of many keys: they are sorted in memory of Lua's, and each value is looked up. */
static void encode_large(lua_State *L, int index, Text *out, int clean, int depth) {
  size_t count = count_object(L, index), filled = 0;
  Key *keys = lua_newuserdatauv(L, count * sizeof *keys, 0);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -1) == LUA_TFUNCTION) continue;
    keys[filled].bytes = lua_tolstring(L, -2, &keys[filled].length);
    filled++;
  }
  qsort(keys, filled, sizeof *keys, by_bytes);
  for (size_t i = 0; i < filled; i++) {
    if (i > 0) add_char(L, out, ',');
    lua_pushlstring(L, keys[i].bytes, keys[i].length);
    lua_rawget(L, index);
    encode_entry(L, &keys[i], lua_gettop(L), out, clean, depth);
    lua_pop(L, 1);
  }
}

/* An object of few keys has its values on the stack, in the order in which they come. */
static void encode_object(lua_State *L, int index, Text *out, int clean, int depth) {
  Key keys[KEYS_NEAR];
  int base = lua_gettop(L), filled = 0, more = 0;
  add_char(L, out, '{');
  for (lua_pushnil(L); lua_next(L, index);) {
    if (!of_an_object(L)) {
      lua_pop(L, 1);
      continue;
    }
    if (filled == KEYS_NEAR) {
      more = 1;
      break;
    }
    Key *key = &keys[filled++];
    key->bytes = lua_tolstring(L, -2, &key->length);
    key->value = base + filled;
    lua_insert(L, -2);
  }
  if (more) {
    lua_settop(L, base);
    encode_large(L, index, out, clean, depth);
  } else {
    for (int i = 1; i < filled; i++) {
      Key key = keys[i];
      int at = i;
      for (; at > 0 && by_bytes(&keys[at - 1], &key) > 0; at--) keys[at] = keys[at - 1];
      keys[at] = key;
    }
    for (int i = 0; i < filled; i++) {
      if (i > 0) add_char(L, out, ',');
      encode_entry(L, &keys[i], keys[i].value, out, clean, depth);
    }
  }
  lua_settop(L, base);
  add_char(L, out, '}');
}

static void encode(lua_State *L, int index, Text *out, int clean, int depth) {
  size_t length;
  const char *bytes;
  if (depth > DEPTH_MAX) luaL_error(L, "circular reference");
  switch (lua_type(L, index)) {
    case LUA_TNIL: text_add(L, out, "null", 4); return;
    case LUA_TBOOLEAN:
      if (lua_toboolean(L, index)) text_add(L, out, "true", 4);
      else text_add(L, out, "false", 5);
      return;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) encode_integer(L, lua_tointeger(L, index), out);
      else encode_number(L, index, out);
      return;
    case LUA_TSTRING:
      bytes = lua_tolstring(L, index, &length);
      encode_string(L, bytes, length, out, clean);
      return;
    case LUA_TTABLE: break;
    default: luaL_error(L, "unexpected type '%s'", luaL_typename(L, index));
  }
  luaL_checkstack(L, KEYS_NEAR + 10, NULL);
  index = held(L, index);
  int first = lua_rawgeti(L, index, 1);
  lua_pop(L, 1);
  lua_pushnil(L);
  int empty = !lua_next(L, index);
  if (!empty) lua_pop(L, 2);
  if (first == LUA_TNIL && !empty) {
    encode_object(L, index, out, clean, depth);
    lua_pop(L, 1);
    return;
  }
  lua_Unsigned count = lua_rawlen(L, index);
  if (count_array(L, index) != count) luaL_error(L, "invalid table: sparse array");
  encode_array(L, index, count, out, clean, depth);
  lua_pop(L, 1);
}

void json_encode(lua_State *L, int index, Text *out, int clean) {
  encode(L, lua_absindex(L, index), out, clean, 0);
}
