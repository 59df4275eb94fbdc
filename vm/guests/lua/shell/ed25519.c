/* Checks Ed25519 signatures (RFC 8032). Nothing here is secret, so the time may depend on the data. */
#include <string.h>

#include "big.h"
#include "hash.h"

/* A number modulo 2^255 - 19: 16 digits of 16 bits, each with room for sums. */
typedef int64_t Field[16];
/* Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z. */
typedef struct Point {
  Field x, y, z, t;
} Point;

static const Field ZERO = {0}, ONE = {1};
static const Field D = {0x78a3, 0x1359, 0x4dca, 0x75eb, 0xd8ab, 0x4141, 0x0a4d, 0x0070,
                        0xe898, 0x7779, 0x4079, 0x8cc7, 0xfe73, 0x2b6f, 0x6cee, 0x5203};
static const Field D2 = {0xf159, 0x26b2, 0x9b94, 0xebd6, 0xb156, 0x8283, 0x149a, 0x00e0,
                         0xd130, 0xeef3, 0x80f2, 0x198e, 0xfce7, 0x56df, 0xd9dc, 0x2406};
/* A square root of -1. */
static const Field ROOT = {0xa0b0, 0x4a0e, 0x1b27, 0xc4ee, 0xe478, 0xad2f, 0x1806, 0x2f43,
                           0xd7a7, 0x3dfb, 0x0099, 0x2b4d, 0xdf0b, 0x4fc1, 0x2480, 0x2b83};
static const Field BASE_X = {0xd51a, 0x8f25, 0x2d60, 0xc956, 0xa7b2, 0x9525, 0xc760, 0x692c,
                             0xdc5c, 0xfdd6, 0xe231, 0xc0a4, 0x53fe, 0xcd6e, 0x36d3, 0x2169};
static const Field BASE_Y = {0x6658, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666,
                             0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666};
/* The order of the base point, as words. */
static const uint32_t ORDER[16] = {0x5cf5d3ed, 0x5812631a, 0xa2f79cd6, 0x14def9de, 0, 0, 0, 0x10000000};

static void carry(Field to) {
  for (int i = 0; i < 16; i++) {
    int64_t over = to[i] >> 16;
    to[i] -= over * 65536;
    if (i < 15) to[i + 1] += over;
    else to[0] += 38 * over;
  }
}

static void add(Field to, const Field a, const Field b) {
  for (int i = 0; i < 16; i++) to[i] = a[i] + b[i];
}

static void subtract(Field to, const Field a, const Field b) {
  for (int i = 0; i < 16; i++) to[i] = a[i] - b[i];
}

static void multiply(Field to, const Field a, const Field b) {
  int64_t product[31] = {0};
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) product[i + j] += a[i] * b[j];
  for (int i = 0; i < 15; i++) product[i] += 38 * product[i + 16];
  memcpy(to, product, sizeof(Field));
  carry(to);
  carry(to);
}

/* Its one form below the modulus, as bytes. */
static void pack(unsigned char out[32], const Field a) {
  Field t;
  memcpy(t, a, sizeof t);
  carry(t), carry(t), carry(t);
  for (int round = 0; round < 2; round++) {
    Field m;
    m[0] = t[0] - 0xffed;
    for (int i = 1; i < 16; i++) {
      m[i] = t[i] - (i < 15 ? 0xffff : 0x7fff) - ((m[i - 1] >> 16) & 1);
      m[i - 1] &= 0xffff;
    }
    if (!((m[15] >> 16) & 1)) memcpy(t, m, sizeof t);
  }
  for (int i = 0; i < 16; i++) {
    out[2 * i] = (unsigned char)t[i];
    out[2 * i + 1] = (unsigned char)(t[i] >> 8);
  }
}

static int equal(const Field a, const Field b) {
  unsigned char x[32], y[32];
  pack(x, a);
  pack(y, b);
  return memcmp(x, y, sizeof x) == 0;
}

static int is_odd(const Field a) {
  unsigned char x[32];
  pack(x, a);
  return x[0] & 1;
}

/* To the power whose bits from `highest` on are all set but the `skipped` ones; one more is above them. */
static void power(Field to, const Field a, int highest, int skipped) {
  Field c;
  memcpy(c, a, sizeof c);
  for (int bit = highest; bit >= 0; bit--) {
    multiply(c, c, c);
    if (bit > 31 || !(skipped >> bit & 1)) multiply(c, c, a);
  }
  memcpy(to, c, sizeof c);
}
/* 2^255 - 21: all bits but 2 and 4. */
static void invert(Field to, const Field a) { power(to, a, 253, 1 << 2 | 1 << 4); }
/* 2^252 - 3: all bits but 1. */
static void root_power(Field to, const Field a) { power(to, a, 250, 1 << 1); }

static void add_points(Point *to, const Point *p, const Point *q) {
  Field a, b, c, d, e, f, g, h;
  subtract(a, p->y, p->x);
  subtract(b, q->y, q->x);
  multiply(a, a, b);
  add(b, p->x, p->y);
  add(c, q->x, q->y);
  multiply(b, b, c);
  multiply(c, p->t, q->t);
  multiply(c, c, D2);
  multiply(d, p->z, q->z);
  add(d, d, d);
  subtract(e, b, a);
  subtract(f, d, c);
  add(g, d, c);
  add(h, b, a);
  multiply(to->x, e, f);
  multiply(to->y, h, g);
  multiply(to->z, g, f);
  multiply(to->t, e, h);
}

static void point_to_bytes(unsigned char out[32], const Point *p) {
  Field inverse, x, y;
  invert(inverse, p->z);
  multiply(x, p->x, inverse);
  multiply(y, p->y, inverse);
  pack(out, y);
  out[31] ^= (unsigned char)(is_odd(x) << 7);
}

/* The point of 32 bytes, negated; 0 if there is none. */
static int negated_point(Point *to, const unsigned char in[32]) {
  Field numerator, denominator, check, power4;
  for (int i = 0; i < 16; i++) to->y[i] = in[2 * i] + ((int64_t)in[2 * i + 1] << 8);
  to->y[15] &= 0x7fff;
  memcpy(to->z, ONE, sizeof ONE);
  multiply(numerator, to->y, to->y);
  multiply(denominator, numerator, D);
  subtract(numerator, numerator, ONE);
  add(denominator, denominator, ONE);
  /* x = n d^3 (n d^7)^((p-5)/8), and that times a root of -1 if its square is -n/d. */
  multiply(power4, denominator, denominator);
  multiply(check, power4, power4);
  multiply(check, check, power4);
  multiply(check, check, numerator);
  multiply(check, check, denominator);
  root_power(check, check);
  multiply(check, check, numerator);
  multiply(check, check, power4);
  multiply(to->x, check, denominator);
  multiply(check, to->x, to->x);
  multiply(check, check, denominator);
  if (!equal(check, numerator)) multiply(to->x, to->x, ROOT);
  multiply(check, to->x, to->x);
  multiply(check, check, denominator);
  if (!equal(check, numerator)) return 0;
  if (equal(to->x, ZERO) && in[31] >> 7) return 0;
  if (is_odd(to->x) == in[31] >> 7) subtract(to->x, ZERO, to->x);
  multiply(to->t, to->x, to->y);
  return 1;
}

/* Whether eight times the point is nothing. */
static int is_small(const Point *p) {
  Point sum = *p;
  for (int i = 0; i < 3; i++) add_points(&sum, &sum, &sum);
  return equal(sum.x, ZERO) && equal(sum.y, sum.z);
}

static void words_of(uint32_t *to, const unsigned char *bytes, size_t count) {
  for (size_t i = 0; i < count; i++)
    to[i] = bytes[4 * i] | (uint32_t)bytes[4 * i + 1] << 8 | (uint32_t)bytes[4 * i + 2] << 16 |
            (uint32_t)bytes[4 * i + 3] << 24;
}

/* a P + b B. */
static void combine(Point *to, const uint32_t a[8], const Point *p, const uint32_t b[8]) {
  Point base, both, sum = {{0}, {1}, {1}, {0}};
  memcpy(base.x, BASE_X, sizeof BASE_X);
  memcpy(base.y, BASE_Y, sizeof BASE_Y);
  memcpy(base.z, ONE, sizeof ONE);
  multiply(base.t, base.x, base.y);
  add_points(&both, &base, p);
  for (int bit = 255; bit >= 0; bit--) {
    int of_a = a[bit / 32] >> (bit % 32) & 1, of_b = b[bit / 32] >> (bit % 32) & 1;
    add_points(&sum, &sum, &sum);
    if (of_a || of_b) add_points(&sum, &sum, of_a && of_b ? &both : of_a ? p : &base);
  }
  *to = sum;
}

int ed25519_verify(const unsigned char key[32], const unsigned char signature[64], const unsigned char *message,
                   size_t length) {
  uint32_t s[8], h[16], unused[16];
  unsigned char digest[64], bytes[32];
  Point negated, first;
  Sha512 hash;
  words_of(s, signature + 32, 8);
  if (big_compare(s, ORDER, 8) >= 0) return 0;
  if (!negated_point(&negated, key) || is_small(&negated)) return 0;
  if (!negated_point(&first, signature) || is_small(&first)) return 0;
  sha512_start(&hash);
  sha512_add(&hash, signature, 32);
  sha512_add(&hash, key, 32);
  sha512_add(&hash, message, length);
  sha512_end(&hash, digest);
  words_of(h, digest, 16);
  big_divide(unused, h, h, ORDER, 16);
  combine(&first, h, &negated, s);
  point_to_bytes(bytes, &first);
  return memcmp(bytes, signature, sizeof bytes) == 0;
}
