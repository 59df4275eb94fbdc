/* Hex, base64 and base64url. */
#include <stdint.h>
#include <string.h>

#include "lauxlib.h"
#include "text.h"

static int to_hex(lua_State *L) {
  static const char hex[] = "0123456789abcdef";
  size_t length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, length * 2);
  for (size_t i = 0; i < length; i++) {
    out[2 * i] = hex[p[i] >> 4];
    out[2 * i + 1] = hex[p[i] & 15];
  }
  luaL_pushresultsize(&b, length * 2);
  return 1;
}

static int hex_digit(unsigned char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int from_hex(lua_State *L) {
  size_t length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  luaL_argcheck(L, length % 2 == 0, 1, "hex has two digits for each byte");
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, length / 2);
  for (size_t i = 0; i < length; i += 2) {
    int high = hex_digit(p[i]), low = hex_digit(p[i + 1]);
    luaL_argcheck(L, high >= 0 && low >= 0, 1, "this is no hex");
    out[i / 2] = (char)(high << 4 | low);
  }
  luaL_pushresultsize(&b, length / 2);
  return 1;
}

static const char PLAIN[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int encode(lua_State *L, const char *letters, int pads) {
  size_t length, written = 0;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, (length + 2) / 3 * 4);
  for (size_t i = 0; i < length; i += 3) {
    size_t here = length - i < 3 ? length - i : 3;
    uint32_t group = (uint32_t)p[i] << 16 | (here > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (here > 2 ? p[i + 2] : 0);
    for (size_t k = 0; k < 4; k++) {
      if (k <= here) out[written++] = letters[group >> (18 - 6 * k) & 63];
      else if (pads) out[written++] = '=';
    }
  }
  luaL_pushresultsize(&b, written);
  return 1;
}
static int to_base64(lua_State *L) { return encode(L, PLAIN, 1); }
static int to_base64url(lua_State *L) { return encode(L, URL, 0); }

static int value_of(char c, const char *letters) {
  const char *found = c == 0 ? NULL : strchr(letters, c);
  return found == NULL ? -1 : (int)(found - letters);
}

/* Padding may be left out; what is left over must be zero, so that bytes have one text. */
static int decode(lua_State *L, const char *letters) {
  size_t length, written = 0;
  const char *p = luaL_checklstring(L, 1, &length);
  for (int pads = 0; pads < 2 && length % 4 == 0 && length > 0 && p[length - 1] == '='; pads++) length--;
  if (length > 0 && p[length - 1] == '=' && length % 4 == 3) length--;
  luaL_argcheck(L, length % 4 != 1, 1, "this is no base64");
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, length);
  uint32_t group = 0;
  int bits = 0;
  for (size_t i = 0; i < length; i++) {
    int value = value_of(p[i], letters);
    luaL_argcheck(L, value >= 0, 1, "this is no base64");
    group = (group << 6 | (uint32_t)value) & 0xffff;
    bits += 6;
    if (bits >= 8) out[written++] = (char)(group >> (bits -= 8));
  }
  luaL_argcheck(L, (group & ((1u << bits) - 1)) == 0, 1, "this is no base64");
  luaL_pushresultsize(&b, written);
  return 1;
}
static int from_base64(lua_State *L) { return decode(L, PLAIN); }
static int from_base64url(lua_State *L) { return decode(L, URL); }

/* `some_name` as `Some-Name`; what is no text as it is. */
static int title(lua_State *L) {
  size_t length;
  lua_settop(L, 1);
  if (lua_type(L, 1) != LUA_TSTRING) return 1;
  const char *from = lua_tolstring(L, 1, &length);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, length);
  for (size_t i = 0; i < length; i++) {
    char c = from[i] == '_' ? '-' : from[i];
    int first = i == 0 || out[i - 1] == '-';
    if (first ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') c ^= 32;
    out[i] = c;
  }
  luaL_pushresultsize(&b, length);
  return 1;
}

int luaopen_codec(lua_State *L) {
  static const luaL_Reg functions[] = {{"to_hex", to_hex},
                                       {"from_hex", from_hex},
                                       {"to_base64", to_base64},
                                       {"from_base64", from_base64},
                                       {"to_base64url", to_base64url},
                                       {"from_base64url", from_base64url},
                                       {"title", title},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
