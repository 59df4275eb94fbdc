/* JSON to Lua values, straight into tables. `null` is absent; integers stay integers. */
#include <stdlib.h>
#include <string.h>

#include "lauxlib.h"
#include "text.h"

/* Values within values. */
#define DEPTH_MAX 100

typedef struct Reader {
  const char *start, *at, *end;
} Reader;

/* Strings with escapes are put together here. */
static Text scratch;

static int fail(lua_State *L, const Reader *r, const char *at, const char *what) {
  int line = 1, column = 1;
  for (const char *c = r->start; c < at; c++) {
    column++;
    if (*c == '\n') line++, column = 1;
  }
  return luaL_error(L, "%s at line %d col %d", what, line, column);
}

static void skip_space(Reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')) r->at++;
}

static long hex4(const Reader *r, const char *at) {
  long value = 0;
  if (r->end - at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static void add_point(lua_State *L, long point) {
  char utf8[4];
  size_t count = 0;
  if (point < 0x80) {
    utf8[count++] = (char)point;
  } else {
    if (point >= 0x10000) {
      utf8[count++] = (char)(0xf0 | point >> 18);
      utf8[count++] = (char)(0x80 | (point >> 12 & 63));
    } else if (point >= 0x800) {
      utf8[count++] = (char)(0xe0 | point >> 12);
    }
    if (point >= 0x800) utf8[count++] = (char)(0x80 | (point >> 6 & 63));
    else utf8[count++] = (char)(0xc0 | point >> 6);
    utf8[count++] = (char)(0x80 | (point & 63));
  }
  text_add(L, &scratch, utf8, count);
}

/* Reads what follows `\u`; half a pair becomes U+FFFD. */
static const char *unicode(lua_State *L, const Reader *r, const char *at) {
  long point = hex4(r, at);
  if (point < 0) fail(L, r, at - 2, "invalid unicode escape in string");
  at += 4;
  if (point >= 0xd800 && point < 0xdc00 && r->end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
    long low = hex4(r, at + 2);
    if (low >= 0xdc00 && low < 0xe000) {
      add_point(L, 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00));
      return at + 6;
    }
  }
  add_point(L, point >= 0xd800 && point < 0xe000 ? 0xfffd : point);
  return at;
}

static const char *escape(lua_State *L, const Reader *r, const char *at) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  const char *name;
  if (at < r->end && *at == 'u') return unicode(L, r, at + 1);
  name = at < r->end && *at ? strchr(names, *at) : NULL;
  if (name == NULL) fail(L, r, at - 1, "invalid escape char in string");
  text_add(L, &scratch, values + (name - names), 1);
  return at + 1;
}

static void decode_string(lua_State *L, Reader *r) {
  const char *open = r->at, *from = open + 1, *at = from;
  int plain = 1;
  scratch.length = 0;
  for (; at < r->end; at++) {
    if (*at == '"') {
      if (plain) {
        lua_pushlstring(L, from, (size_t)(at - from));
      } else {
        text_add(L, &scratch, from, (size_t)(at - from));
        lua_pushlstring(L, scratch.bytes, scratch.length);
        text_shrink(&scratch);
      }
      r->at = at + 1;
      return;
    }
    if ((unsigned char)*at < 0x20) fail(L, r, at, "control character in string");
    if (*at == '\\') {
      plain = 0;
      text_add(L, &scratch, from, (size_t)(at - from));
      from = escape(L, r, at + 1);
      at = from - 1;
    }
  }
  fail(L, r, open, "expected closing quote for string");
}

static int is_digit(const Reader *r, const char *at) { return at < r->end && *at >= '0' && *at <= '9'; }

static const char *digits(const Reader *r, const char *at) {
  while (is_digit(r, at)) at++;
  return at;
}

static void decode_number(lua_State *L, Reader *r) {
  const char *from = r->at, *at = from + (*from == '-');
  char text[400];
  int sound = is_digit(r, at);
  at = digits(r, at);
  if (at < r->end && *at == '.') {
    sound &= is_digit(r, at + 1);
    at = digits(r, at + 1);
  }
  if (at < r->end && (*at == 'e' || *at == 'E')) {
    at++;
    if (at < r->end && (*at == '+' || *at == '-')) at++;
    sound &= is_digit(r, at);
    at = digits(r, at);
  }
  size_t length = (size_t)(at - from);
  if (!sound || length >= sizeof text) fail(L, r, from, "invalid number");
  memcpy(text, from, length);
  text[length] = 0;
  if (lua_stringtonumber(L, text) == 0) fail(L, r, from, "invalid number");
  r->at = at;
}

static void decode_word(lua_State *L, Reader *r) {
  static const char *words[] = {"true", "false", "null"};
  for (int i = 0; i < 3; i++) {
    size_t length = strlen(words[i]);
    if ((size_t)(r->end - r->at) >= length && memcmp(r->at, words[i], length) == 0) {
      r->at += length;
      if (i == 2) lua_pushnil(L);
      else lua_pushboolean(L, i == 0);
      return;
    }
  }
  fail(L, r, r->at, "invalid literal");
}

static void decode(lua_State *L, Reader *r, int depth);

static void decode_array(lua_State *L, Reader *r, int depth) {
  luaL_checkstack(L, 8, NULL);
  lua_newtable(L);
  r->at++;
  for (lua_Integer i = 1;; i++) {
    skip_space(r);
    if (i == 1 && r->at < r->end && *r->at == ']') break;
    decode(L, r, depth + 1);
    lua_rawseti(L, -2, i);
    skip_space(r);
    if (r->at < r->end && *r->at == ']') break;
    if (r->at >= r->end || *r->at != ',') fail(L, r, r->at, "expected ']' or ','");
    r->at++;
  }
  r->at++;
}

static void decode_object(lua_State *L, Reader *r, int depth) {
  luaL_checkstack(L, 8, NULL);
  lua_newtable(L);
  r->at++;
  for (int first = 1;; first = 0) {
    skip_space(r);
    if (first && r->at < r->end && *r->at == '}') break;
    if (r->at >= r->end || *r->at != '"') fail(L, r, r->at, "expected string for key");
    decode_string(L, r);
    skip_space(r);
    if (r->at >= r->end || *r->at != ':') fail(L, r, r->at, "expected ':' after key");
    r->at++;
    decode(L, r, depth + 1);
    lua_rawset(L, -3);
    skip_space(r);
    if (r->at < r->end && *r->at == '}') break;
    if (r->at >= r->end || *r->at != ',') fail(L, r, r->at, "expected '}' or ','");
    r->at++;
  }
  r->at++;
}

static void decode(lua_State *L, Reader *r, int depth) {
  if (depth > DEPTH_MAX) luaL_error(L, "JSON is nested too deep");
  skip_space(r);
  if (r->at >= r->end) fail(L, r, r->at, "unexpected end");
  switch (*r->at) {
    case '"': decode_string(L, r); return;
    case '[': decode_array(L, r, depth); return;
    case '{': decode_object(L, r, depth); return;
    case 't': case 'f': case 'n': decode_word(L, r); return;
    default:
      if (*r->at != '-' && !is_digit(r, r->at)) fail(L, r, r->at, "unexpected character");
      decode_number(L, r);
  }
}

void json_decode(lua_State *L, const char *bytes, size_t length) {
  Reader r = {bytes, bytes, bytes + length};
  decode(L, &r, 0);
  skip_space(&r);
  if (r.at < r.end) fail(L, &r, r.at, "trailing garbage");
}

static int lua_decode(lua_State *L) {
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  json_decode(L, bytes, length);
  return 1;
}

static int lua_encode(lua_State *L) {
  static Text out;
  luaL_checkany(L, 1);
  out.length = 0;
  json_encode(L, 1, &out, 0);
  lua_pushlstring(L, out.bytes, out.length);
  text_shrink(&out);
  return 1;
}

int luaopen_json(lua_State *L) {
  static const luaL_Reg functions[] = {{"decode", lua_decode}, {"encode", lua_encode}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushliteral(L, "0.2.0");
  lua_setfield(L, -2, "_version");
  return 1;
}
