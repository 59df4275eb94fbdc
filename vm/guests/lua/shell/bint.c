/* Big integers as programs know them from lua-bint: `require(".bint")(256)` gives a module of that
   many bits, whose numbers wrap around. Every function has the module as its upvalue. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "lauxlib.h"
#include "text.h"

#define MODULE lua_upvalueindex(1)
#define WORDS lua_upvalueindex(2)

static size_t words(lua_State *L) { return (size_t)lua_tointeger(L, WORDS); }

/* The number at `index` if it is one of this module's. */
static uint32_t *own(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
  int same = lua_rawequal(L, -1, MODULE);
  lua_pop(L, 1);
  return same ? lua_touserdata(L, index) : NULL;
}

static uint32_t *fresh(lua_State *L) {
  uint32_t *x = lua_newuserdatauv(L, words(L) * sizeof *x, 0);
  lua_pushvalue(L, MODULE);
  lua_setmetatable(L, -2);
  return x;
}

static int copy(lua_State *L, const uint32_t *x) {
  memcpy(fresh(L), x, words(L) * sizeof *x);
  return 1;
}

static int digit_of(char c) {
  int value = isdigit((unsigned char)c) ? c - '0' : isalpha((unsigned char)c) ? (c | 32) - 'a' + 10 : 99;
  return value;
}

static int parse(uint32_t *to, const char *s, size_t length, unsigned base, size_t n) {
  const char *end = s + length;
  int negative = s < end && *s == '-';
  if (s < end && (*s == '-' || *s == '+')) s++;
  if (s == end) return 0;
  memset(to, 0, n * sizeof *to);
  for (; s < end; s++) {
    int digit = digit_of(*s);
    if (digit >= (int)base) return 0;
    big_scale(to, base, (uint32_t)digit, n);
  }
  if (negative) big_negate(to, to, n);
  return 1;
}

/* Decimal digits, or 0x or 0b and digits; each with an optional sign. */
static int parse_any(uint32_t *to, const char *s, size_t length, size_t n) {
  size_t sign = length > 0 && (*s == '-' || *s == '+');
  if (length > sign + 2 && s[sign] == '0' && (s[sign + 1] | 32) != 'e' && isalpha((unsigned char)s[sign + 1])) {
    unsigned base = (s[sign + 1] | 32) == 'x' ? 16 : (s[sign + 1] | 32) == 'b' ? 2 : 0;
    if (base == 0 || !parse(to, s + sign + 2, length - sign - 2, base, n)) return 0;
    if (*s == '-') big_negate(to, to, n);
    return !strchr("+-", s[sign + 2]);
  }
  return parse(to, s, length, 10, n);
}

/* The whole number at `index`, in `room` if it is none of ours; NULL if it is no whole number. */
static const uint32_t *whole(lua_State *L, int index, uint32_t *room) {
  const uint32_t *known = own(L, index);
  if (known != NULL) return known;
  int exact;
  if (lua_type(L, index) == LUA_TNUMBER) {
    lua_Integer value = lua_tointegerx(L, index, &exact);
    if (!exact) return NULL;
    big_from(room, value, words(L));
    return room;
  }
  if (lua_type(L, index) == LUA_TSTRING) {
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    return parse_any(room, text, length, words(L)) ? room : NULL;
  }
  return NULL;
}

static const uint32_t *need(lua_State *L, int index, uint32_t *room) {
  const uint32_t *x = whole(L, index, room);
  if (x == NULL) luaL_error(L, "this %s is no whole number", luaL_typename(L, index));
  return x;
}

static lua_Integer need_small(lua_State *L, int index) {
  const uint32_t *x = own(L, index);
  if (x == NULL) return luaL_checkinteger(L, index);
  uint32_t same[BIG_WORDS_MAX];
  uint64_t low = x[0] | (words(L) > 1 ? (uint64_t)x[1] << 32 : big_is_negative(x, words(L)) ? ~0ull << 32 : 0);
  big_from(same, (int64_t)low, words(L));
  if (big_compare(same, x, words(L)) != 0) luaL_error(L, "this number is too large here");
  return (lua_Integer)low;
}

/* Pushes the number at `index` as one of Lua's. */
static void push_float(lua_State *L, int index) {
  const uint32_t *x = own(L, index);
  if (x != NULL) lua_pushnumber(L, big_to_double(x, words(L)));
  else if (lua_isnumber(L, index)) lua_pushnumber(L, lua_tonumber(L, index));
  else luaL_error(L, "a %s is no number", luaL_typename(L, index));
}

/* What is left where one side has a fraction: Lua's own arithmetic. */
static int in_floats(lua_State *L, int operation) {
  push_float(L, 1);
  push_float(L, 2);
  lua_arith(L, operation);
  return 1;
}

typedef void (*Combine)(uint32_t *, const uint32_t *, const uint32_t *, size_t);

static int combine(lua_State *L, Combine with, int operation) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a), *y = whole(L, 2, b);
  if (x == NULL || y == NULL) return in_floats(L, operation);
  with(fresh(L), x, y, words(L));
  return 1;
}
static int add(lua_State *L) { return combine(L, big_add, LUA_OPADD); }
static int subtract(lua_State *L) { return combine(L, big_subtract, LUA_OPSUB); }
static int multiply(lua_State *L) { return combine(L, big_multiply, LUA_OPMUL); }

static void and_words(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = x[i] & y[i];
}
static void or_words(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = x[i] | y[i];
}
static void xor_words(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = x[i] ^ y[i];
}
static int bits(lua_State *L, Combine with) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a), *y = need(L, 2, b);
  with(fresh(L), x, y, words(L));
  return 1;
}
static int band(lua_State *L) { return bits(L, and_words); }
static int bor(lua_State *L) { return bits(L, or_words); }
static int bxor(lua_State *L) { return bits(L, xor_words); }
static int bnot(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a);
  uint32_t *to = fresh(L);
  for (size_t i = 0; i < words(L); i++) to[i] = ~x[i];
  return 1;
}
static int unm(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a);
  big_negate(fresh(L), x, words(L));
  return 1;
}

/* Left for a positive number of bits; what goes over the edge is lost. */
static int shift(lua_State *L, lua_Integer by) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a);
  lua_Integer width = (lua_Integer)words(L) * 32;
  uint32_t *to = fresh(L);
  if (by <= -width || by >= width) memset(to, 0, words(L) * sizeof *to);
  else if (by >= 0) big_left(to, x, (size_t)by, words(L));
  else big_right(to, x, (size_t)-by, words(L));
  return 1;
}
static lua_Integer opposite(lua_Integer by) { return by == LUA_MININTEGER ? LUA_MAXINTEGER : -by; }
static int shl(lua_State *L) { return shift(L, need_small(L, 2)); }
static int shr(lua_State *L) { return shift(L, opposite(need_small(L, 2))); }

static int rotate(lua_State *L, int left) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a);
  lua_Integer width = (lua_Integer)words(L) * 32, by = need_small(L, 2) % width;
  if (!left) by = -by;
  by = ((by % width) + width) % width;
  uint32_t *to = fresh(L);
  big_left(to, x, (size_t)by, words(L));
  if (by > 0) {
    big_right(b, x, (size_t)(width - by), words(L));
    or_words(to, to, b, words(L));
  }
  return 1;
}
static int brol(lua_State *L) { return rotate(L, 1); }
static int bror(lua_State *L) { return rotate(L, 0); }

static int bwrap(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a);
  lua_Integer keep = need_small(L, 2);
  uint32_t *to = fresh(L);
  for (size_t i = 0; i < words(L); i++) {
    lua_Integer left = keep - (lua_Integer)i * 32;
    to[i] = left >= 32 ? x[i] : left <= 0 ? 0 : x[i] & ((1u << left) - 1);
  }
  return 1;
}

/* How a quotient is rounded. */
enum { UNSIGNED, TRUNCATED, FLOORED };

static void divide(lua_State *L, const uint32_t *x, const uint32_t *y, int rounding) {
  size_t n = words(L);
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX], one[BIG_WORDS_MAX];
  int below = rounding != UNSIGNED && big_is_negative(x, n), under = rounding != UNSIGNED && big_is_negative(y, n);
  if (below) big_negate(a, x, n);
  if (under) big_negate(b, y, n);
  uint32_t *quotient = fresh(L), *rest = fresh(L);
  if (!big_divide(quotient, rest, below ? a : x, under ? b : y, n)) luaL_error(L, "a division by zero");
  if (below != under) big_negate(quotient, quotient, n);
  if (below) big_negate(rest, rest, n);
  if (rounding == FLOORED && below != under && !big_is_zero(rest, n)) {
    big_from(one, 1, n);
    big_subtract(quotient, quotient, one, n);
    big_add(rest, rest, y, n);
  }
}
static int divmod(lua_State *L, int rounding) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a), *y = need(L, 2, b);
  divide(L, x, y, rounding);
  return 2;
}
static int udivmod(lua_State *L) { return divmod(L, UNSIGNED); }
static int udiv(lua_State *L) { return udivmod(L), lua_pop(L, 1), 1; }
static int umod(lua_State *L) { return udivmod(L), 1; }

/* Those of Lua's kind take fractions too. */
static int either(lua_State *L, int rounding, int *done) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a), *y = whole(L, 2, b);
  *done = x != NULL && y != NULL;
  if (*done) divide(L, x, y, rounding);
  return 2;
}
static int idivmod(lua_State *L) {
  int done;
  if (either(L, FLOORED, &done), done) return 2;
  in_floats(L, LUA_OPIDIV);
  in_floats(L, LUA_OPMOD);
  return 2;
}
static int idiv(lua_State *L) { return idivmod(L), lua_pop(L, 1), 1; }
static int mod(lua_State *L) { return idivmod(L), 1; }
static int tdivmod(lua_State *L) {
  int done;
  if (either(L, TRUNCATED, &done), done) return 2;
  push_float(L, 1);
  push_float(L, 2);
  double x = lua_tonumber(L, -2), y = lua_tonumber(L, -1);
  lua_pushnumber(L, trunc(x / y));
  lua_pushnumber(L, fmod(x, y));
  return 2;
}
static int tdiv(lua_State *L) { return tdivmod(L), lua_pop(L, 1), 1; }
static int tmod(lua_State *L) { return tdivmod(L), 1; }
static int divide_floats(lua_State *L) { return in_floats(L, LUA_OPDIV); }
static int power_floats(lua_State *L) { return in_floats(L, LUA_OPPOW); }

/* By squaring; `modulus` of NULL wraps around instead. A negative exponent is a large one. */
static int power(lua_State *L, const uint32_t *x, const uint32_t *y, const uint32_t *modulus) {
  size_t n = words(L);
  uint32_t base[BIG_WORDS_MAX], exponent[BIG_WORDS_MAX], product[BIG_WORDS_MAX], unused[BIG_WORDS_MAX];
  memcpy(base, x, n * sizeof *x);
  memcpy(exponent, y, n * sizeof *y);
  uint32_t *to = fresh(L);
  big_from(to, 1, n);
  if (modulus != NULL && !big_divide(unused, to, to, modulus, n)) luaL_error(L, "a division by zero");
  if (modulus != NULL) big_divide(unused, base, base, modulus, n);
  while (!big_is_zero(exponent, n)) {
    for (int squares = 0; squares < 2; squares++) {
      if (squares == 0 && !(exponent[0] & 1)) continue;
      big_multiply(product, squares ? base : to, base, n);
      memcpy(squares ? base : to, product, n * sizeof *product);
      if (modulus != NULL) big_divide(unused, squares ? base : to, squares ? base : to, modulus, n);
    }
    big_right(exponent, exponent, 1, n);
  }
  return 1;
}
static int ipow(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  return power(L, need(L, 1, a), need(L, 2, b), NULL);
}
static int upowmod(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX], c[BIG_WORDS_MAX];
  return power(L, need(L, 1, a), need(L, 2, b), need(L, 3, c));
}

static int order(lua_State *L, const uint32_t *x, const uint32_t *y, int with_sign) {
  size_t n = words(L);
  int below = big_is_negative(x, n), under = big_is_negative(y, n);
  return with_sign && below != under ? under - below : big_compare(x, y, n);
}
static int compare(lua_State *L, int operation) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a), *y = whole(L, 2, b);
  if (x != NULL && y != NULL) {
    int found = order(L, x, y, 1);
    lua_pushboolean(L, operation == LUA_OPEQ ? found == 0 : operation == LUA_OPLT ? found < 0 : found <= 0);
    return 1;
  }
  if (operation == LUA_OPEQ && (!lua_isnumber(L, 1) || !lua_isnumber(L, 2)) && !(own(L, 1) && lua_isnumber(L, 2)) &&
      !(own(L, 2) && lua_isnumber(L, 1))) {
    lua_pushboolean(L, lua_rawequal(L, 1, 2));
    return 1;
  }
  push_float(L, 1);
  push_float(L, 2);
  lua_pushboolean(L, lua_compare(L, -2, -1, operation));
  return 1;
}
static int eq(lua_State *L) { return compare(L, LUA_OPEQ); }
static int lt(lua_State *L) { return compare(L, LUA_OPLT); }
static int le(lua_State *L) { return compare(L, LUA_OPLE); }
static int ult(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a), *y = need(L, 2, b);
  lua_pushboolean(L, order(L, x, y, 0) < 0);
  return 1;
}
static int ule(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a), *y = need(L, 2, b);
  lua_pushboolean(L, order(L, x, y, 0) <= 0);
  return 1;
}
static int pick(lua_State *L, int larger) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a), *y = whole(L, 2, b);
  if (x != NULL && y != NULL) return copy(L, (order(L, x, y, 1) > 0) == larger ? x : y);
  push_float(L, 1);
  push_float(L, 2);
  if (lua_compare(L, -2, -1, LUA_OPLT) == larger) return 1;
  lua_pop(L, 1);
  return 1;
}
static int max(lua_State *L) { return pick(L, 1); }
static int min(lua_State *L) { return pick(L, 0); }

static int constant(lua_State *L, int64_t value) { return big_from(fresh(L), value, words(L)), 1; }
static int zero(lua_State *L) { return constant(L, 0); }
static int one(lua_State *L) { return constant(L, 1); }
static int most(lua_State *L) {
  uint32_t *x = fresh(L);
  memset(x, 0xff, words(L) * sizeof *x);
  x[words(L) - 1] >>= 1;
  return 1;
}
static int least(lua_State *L) {
  uint32_t *x = fresh(L);
  memset(x, 0, words(L) * sizeof *x);
  x[words(L) - 1] = 1u << 31;
  return 1;
}

static int step(lua_State *L, int64_t by) {
  uint32_t a[BIG_WORDS_MAX], more[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  if (x == NULL) {
    push_float(L, 1);
    lua_pushinteger(L, by);
    lua_arith(L, LUA_OPADD);
    return 1;
  }
  big_from(more, by, words(L));
  big_add(fresh(L), x, more, words(L));
  return 1;
}
static int inc(lua_State *L) { return step(L, 1); }
static int dec(lua_State *L) { return step(L, -1); }
static int absolute(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  if (x == NULL) {
    push_float(L, 1);
    lua_pushnumber(L, fabs(lua_tonumber(L, -1)));
    return 1;
  }
  if (!big_is_negative(x, words(L))) return copy(L, x);
  big_negate(fresh(L), x, words(L));
  return 1;
}

/* From a number with a fraction, rounded so. */
static int rounded(lua_State *L, double (*round)(double)) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  if (x != NULL) return copy(L, x);
  push_float(L, 1);
  double value = round(lua_tonumber(L, -1));
  if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0)) luaL_error(L, "this number is too large");
  return constant(L, (int64_t)value);
}
static int floor_of(lua_State *L) { return rounded(L, floor); }
static int ceil_of(lua_State *L) { return rounded(L, ceil); }
static int trunc_of(lua_State *L) { return rounded(L, trunc); }

static int convert(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  if (x == NULL) lua_pushnil(L);
  else copy(L, x);
  return 1;
}
static int create(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  if (x == NULL) luaL_error(L, "no bint can be made of this %s", luaL_typename(L, 1));
  return copy(L, x);
}
static int parse_number(lua_State *L) {
  if (convert(L), !lua_isnil(L, -1)) return 1;
  if (!lua_isnumber(L, 1)) return 1;
  push_float(L, 1);
  return 1;
}
static int from_unsigned(lua_State *L) {
  int exact;
  lua_Integer value = lua_tointegerx(L, 1, &exact);
  if (!exact) return lua_pushnil(L), 1;
  constant(L, value);
  uint32_t *x = lua_touserdata(L, -1);
  if (words(L) > 2) memset(x + 2, 0, (words(L) - 2) * sizeof *x);
  return 1;
}
static int from_integer(lua_State *L) {
  int exact;
  lua_Integer value = lua_tointegerx(L, 1, &exact);
  if (!exact) return lua_pushnil(L), 1;
  return constant(L, value);
}
static int from_base(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  lua_Integer base = luaL_optinteger(L, 2, 10);
  size_t length;
  if (lua_type(L, 1) != LUA_TSTRING || base < 2 || base > 36) return lua_pushnil(L), 1;
  const char *text = lua_tolstring(L, 1, &length);
  if (!parse(a, text, length, (unsigned)base, words(L))) return lua_pushnil(L), 1;
  return copy(L, a);
}
static int from_string(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) return lua_pushnil(L), 1;
  return convert(L);
}

static int from_bytes(lua_State *L, int big_end) {
  size_t length, width = words(L) * 4;
  const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &length);
  uint32_t *x = fresh(L);
  memset(x, 0, width);
  for (size_t i = 0; i < length && i < width; i++)
    x[i / 4] |= (uint32_t)s[big_end ? length - 1 - i : i] << 8 * (i % 4);
  return 1;
}
static int from_le(lua_State *L) { return from_bytes(L, 0); }
static int from_be(lua_State *L) { return from_bytes(L, 1); }

static int to_bytes(lua_State *L, int big_end) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = need(L, 1, a);
  size_t width = words(L) * 4;
  char out[BIG_WORDS_MAX * 4];
  if (lua_toboolean(L, 2))
    while (width > 1 && (x[(width - 1) / 4] >> 8 * ((width - 1) % 4) & 0xff) == 0) width--;
  for (size_t i = 0; i < width; i++) out[big_end ? width - 1 - i : i] = (char)(x[i / 4] >> 8 * (i % 4));
  lua_pushlstring(L, out, width);
  return 1;
}
static int to_le(lua_State *L) { return to_bytes(L, 0); }
static int to_be(lua_State *L) { return to_bytes(L, 1); }

static int to_integer(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  if (x == NULL) return lua_pushnil(L), 1;
  uint64_t low = x[0] | (words(L) > 1 ? (uint64_t)x[1] << 32 : big_is_negative(x, words(L)) ? ~0ull << 32 : 0);
  lua_pushinteger(L, (lua_Integer)low);
  return 1;
}
static int to_number(lua_State *L) {
  const uint32_t *x = own(L, 1);
  uint32_t same[BIG_WORDS_MAX];
  if (x == NULL && !lua_isnumber(L, 1)) return lua_pushnil(L), 1;
  if (x == NULL) return push_float(L, 1), 1;
  to_integer(L);
  big_from(same, lua_tointeger(L, -1), words(L));
  if (big_compare(same, x, words(L)) == 0) return 1;
  lua_pushnumber(L, big_to_double(x, words(L)));
  return 1;
}

/* At most this many digits: of the widest number in base 2, and a sign. */
#define DIGITS_MAX (BIG_WORDS_MAX * 32 + 1)

static int to_base(lua_State *L) {
  static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  lua_Integer base = luaL_optinteger(L, 2, 10);
  if (x == NULL || base < 2 || base > 36) return lua_pushnil(L), 1;
  size_t n = words(L);
  int is_unsigned = lua_isnoneornil(L, 3) ? base != 10 : lua_toboolean(L, 3);
  int negative = !is_unsigned && big_is_negative(x, n);
  if (negative) big_negate(a, x, n);
  else memmove(a, x, n * sizeof *x);
  /* As many digits at once as fit in a word. */
  uint32_t group = (uint32_t)base;
  int each = 1;
  while ((uint64_t)group * (uint64_t)base <= UINT32_MAX) group *= (uint32_t)base, each++;
  char out[DIGITS_MAX], *at = out + sizeof out;
  do {
    uint32_t rest = big_shrink(a, group, n);
    int last = big_is_zero(a, n);
    for (int i = 0; i < each && (!last || rest != 0 || (i == 0 && at == out + sizeof out)); i++) {
      *--at = letters[rest % (uint32_t)base];
      rest /= (uint32_t)base;
    }
  } while (!big_is_zero(a, n));
  if (negative) *--at = '-';
  lua_pushlstring(L, at, (size_t)(out + sizeof out - at));
  return 1;
}
static int to_string(lua_State *L) {
  lua_settop(L, 1);
  return to_base(L);
}

static int is_value(lua_State *L, int64_t value) {
  uint32_t a[BIG_WORDS_MAX], b[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  big_from(b, value, words(L));
  lua_pushboolean(L, x != NULL && big_compare(x, b, words(L)) == 0);
  return 1;
}
static int is_zero(lua_State *L) { return is_value(L, 0); }
static int is_one(lua_State *L) { return is_value(L, 1); }
static int is_minus_one(lua_State *L) { return is_value(L, -1); }
static int is_bint(lua_State *L) { return lua_pushboolean(L, own(L, 1) != NULL), 1; }
static int is_integral(lua_State *L) {
  lua_pushboolean(L, own(L, 1) != NULL || lua_isinteger(L, 1));
  return 1;
}
static int is_numeric(lua_State *L) {
  lua_pushboolean(L, own(L, 1) != NULL || lua_type(L, 1) == LUA_TNUMBER);
  return 1;
}
static int type_of(lua_State *L) {
  if (own(L, 1)) lua_pushliteral(L, "bint");
  else if (lua_type(L, 1) != LUA_TNUMBER) lua_pushnil(L);
  else lua_pushstring(L, lua_isinteger(L, 1) ? "integer" : "float");
  return 1;
}
static int is_neg(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  lua_pushboolean(L, x != NULL ? big_is_negative(x, words(L)) : lua_tonumber(L, 1) < 0);
  return 1;
}
static int is_pos(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  const uint32_t *x = whole(L, 1, a);
  lua_pushboolean(L, x != NULL ? !big_is_negative(x, words(L)) && !big_is_zero(x, words(L)) : lua_tonumber(L, 1) > 0);
  return 1;
}
static int is_even(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  lua_pushboolean(L, !(need(L, 1, a)[0] & 1));
  return 1;
}
static int is_odd(lua_State *L) {
  uint32_t a[BIG_WORDS_MAX];
  lua_pushboolean(L, need(L, 1, a)[0] & 1);
  return 1;
}

/* `bint(x)`. */
static int call(lua_State *L) {
  lua_remove(L, 1);
  return create(L);
}

static const luaL_Reg FUNCTIONS[] = {
    {"__add", add}, {"__sub", subtract}, {"__mul", multiply}, {"__div", divide_floats}, {"__idiv", idiv},
    {"__mod", mod}, {"__pow", power_floats}, {"__unm", unm}, {"__band", band}, {"__bor", bor},
    {"__bxor", bxor}, {"__bnot", bnot}, {"__shl", shl}, {"__shr", shr}, {"__eq", eq}, {"__lt", lt},
    {"__le", le}, {"__tostring", to_string}, {"eq", eq}, {"ult", ult}, {"ule", ule}, {"max", max},
    {"min", min}, {"zero", zero}, {"one", one}, {"maxinteger", most}, {"mininteger", least}, {"inc", inc},
    {"dec", dec}, {"abs", absolute}, {"floor", floor_of}, {"ceil", ceil_of}, {"trunc", trunc_of},
    {"new", create}, {"tobint", convert}, {"parse", parse_number}, {"fromuinteger", from_unsigned},
    {"frominteger", from_integer}, {"frombase", from_base}, {"fromstring", from_string}, {"fromle", from_le},
    {"frombe", from_be}, {"tole", to_le}, {"tobe", to_be}, {"tointeger", to_integer},
    {"touinteger", to_integer}, {"tonumber", to_number}, {"tobase", to_base}, {"iszero", is_zero},
    {"isone", is_one}, {"isminusone", is_minus_one}, {"isbint", is_bint}, {"isintegral", is_integral},
    {"isnumeric", is_numeric}, {"type", type_of}, {"isneg", is_neg}, {"ispos", is_pos}, {"iseven", is_even},
    {"isodd", is_odd}, {"bwrap", bwrap}, {"brol", brol}, {"bror", bror}, {"udivmod", udivmod},
    {"udiv", udiv}, {"umod", umod}, {"tdivmod", tdivmod}, {"tdiv", tdiv}, {"tmod", tmod},
    {"idivmod", idivmod}, {"ipow", ipow}, {"upowmod", upowmod}, {NULL, NULL}};

/* `require(".bint")(bits)`: one module for each width, made when it is first asked for. */
static int module_of(lua_State *L) {
  lua_Integer width = luaL_checkinteger(L, 1);
  if (width < 32 || width % 32 != 0 || width > BIG_WORDS_MAX * 32)
    return luaL_error(L, "bint: bits must be a multiple of 32, at most %d", BIG_WORDS_MAX * 32);
  if (lua_rawgeti(L, lua_upvalueindex(1), width) == LUA_TTABLE) return 1;
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_pushinteger(L, width / 32);
  luaL_setfuncs(L, FUNCTIONS, 2);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushinteger(L, width);
  lua_setfield(L, -2, "bits");
  lua_newtable(L);
  lua_pushvalue(L, -2);
  lua_pushinteger(L, width / 32);
  lua_pushcclosure(L, call, 2);
  lua_setfield(L, -2, "__call");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawseti(L, lua_upvalueindex(1), width);
  return 1;
}

int luaopen_bint(lua_State *L) {
  lua_newtable(L);
  lua_pushcclosure(L, module_of, 1);
  return 1;
}
