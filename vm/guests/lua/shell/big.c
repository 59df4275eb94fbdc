/* Arithmetic on words; division is Knuth's algorithm D. */
#include "big.h"

#include <string.h>

int big_is_zero(const uint32_t *x, size_t n) {
  while (n > 0)
    if (x[--n] != 0) return 0;
  return 1;
}

int big_is_negative(const uint32_t *x, size_t n) { return (int)(x[n - 1] >> 31); }

int big_compare(const uint32_t *x, const uint32_t *y, size_t n) {
  while (n-- > 0)
    if (x[n] != y[n]) return x[n] < y[n] ? -1 : 1;
  return 0;
}

void big_from(uint32_t *to, int64_t value, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = i < 2 ? (uint32_t)((uint64_t)value >> 32 * i) : value < 0 ? ~0u : 0;
}

void big_add(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n) {
  uint64_t carry = 0;
  for (size_t i = 0; i < n; i++, carry >>= 32) {
    carry += (uint64_t)x[i] + y[i];
    to[i] = (uint32_t)carry;
  }
}

void big_subtract(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n) {
  uint64_t borrow = 0;
  for (size_t i = 0; i < n; i++) {
    uint64_t left = (uint64_t)x[i] - y[i] - borrow;
    to[i] = (uint32_t)left;
    borrow = left >> 63;
  }
}

void big_negate(uint32_t *to, const uint32_t *x, size_t n) {
  uint64_t carry = 1;
  for (size_t i = 0; i < n; i++, carry >>= 32) {
    carry += (uint32_t)~x[i];
    to[i] = (uint32_t)carry;
  }
}

static size_t used(const uint32_t *x, size_t n) {
  while (n > 0 && x[n - 1] == 0) n--;
  return n;
}

void big_multiply(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n) {
  size_t high = used(x, n), wide = used(y, n);
  memset(to, 0, n * sizeof *to);
  for (size_t i = 0; i < high; i++) {
    uint64_t carry = 0;
    size_t j = 0;
    for (; j < wide && i + j < n; j++, carry >>= 32) {
      carry += (uint64_t)x[i] * y[j] + to[i + j];
      to[i + j] = (uint32_t)carry;
    }
    if (i + j < n) to[i + j] = (uint32_t)carry;
  }
}

void big_left(uint32_t *to, const uint32_t *x, size_t bits, size_t n) {
  size_t words = bits / 32;
  unsigned rest = (unsigned)(bits % 32);
  for (size_t i = n; i-- > 0;) {
    uint32_t high = i >= words ? x[i - words] : 0, low = i > words ? x[i - words - 1] : 0;
    to[i] = rest == 0 ? high : high << rest | low >> (32 - rest);
  }
}

void big_right(uint32_t *to, const uint32_t *x, size_t bits, size_t n) {
  size_t words = bits / 32;
  unsigned rest = (unsigned)(bits % 32);
  for (size_t i = 0; i < n; i++) {
    uint32_t low = i + words < n ? x[i + words] : 0, high = i + words + 1 < n ? x[i + words + 1] : 0;
    to[i] = rest == 0 ? low : low >> rest | high << (32 - rest);
  }
}

void big_scale(uint32_t *x, uint32_t factor, uint32_t more, size_t n) {
  uint64_t carry = more;
  for (size_t i = 0; i < n; i++, carry >>= 32) {
    carry += (uint64_t)x[i] * factor;
    x[i] = (uint32_t)carry;
  }
}

uint32_t big_shrink(uint32_t *x, uint32_t by, size_t n) {
  uint64_t rest = 0;
  for (size_t i = n; i-- > 0;) {
    rest = rest << 32 | x[i];
    x[i] = (uint32_t)(rest / by);
    rest %= by;
  }
  return (uint32_t)rest;
}

/* One digit of the quotient: subtracts it times `v` from the words of `u` at `j`. */
static uint32_t digit(uint32_t *u, const uint32_t *v, size_t j, size_t m) {
  uint64_t top = (uint64_t)u[j + m] << 32 | u[j + m - 1], guess = top / v[m - 1], rest = top % v[m - 1];
  while (guess >> 32 || guess * v[m - 2] > (rest << 32 | u[j + m - 2])) {
    guess--;
    rest += v[m - 1];
    if (rest >> 32) break;
  }
  uint64_t carry = 0, borrow = 0;
  for (size_t i = 0; i < m; i++) {
    carry += guess * v[i];
    uint64_t left = (uint64_t)u[i + j] - (uint32_t)carry - borrow;
    u[i + j] = (uint32_t)left;
    borrow = left >> 63;
    carry >>= 32;
  }
  uint64_t left = (uint64_t)u[j + m] - carry - borrow;
  u[j + m] = (uint32_t)left;
  if (left >> 63) {
    guess--;
    uint64_t back = 0;
    for (size_t i = 0; i < m; i++, back >>= 32) {
      back += (uint64_t)u[i + j] + v[i];
      u[i + j] = (uint32_t)back;
    }
    u[j + m] += (uint32_t)back;
  }
  return (uint32_t)guess;
}

int big_divide(uint32_t *quotient, uint32_t *remainder, const uint32_t *x, const uint32_t *y, size_t n) {
  uint32_t u[BIG_WORDS_MAX + 1], v[BIG_WORDS_MAX], q[BIG_WORDS_MAX];
  size_t wide = used(x, n), m = used(y, n);
  if (m == 0) return 0;
  if (m == 1) {
    uint32_t by = y[0];
    memmove(quotient, x, n * sizeof *x);
    uint32_t rest = big_shrink(quotient, by, n);
    memset(remainder, 0, n * sizeof *remainder);
    remainder[0] = rest;
    return 1;
  }
  memset(q, 0, n * sizeof *q);
  /* The divisor's highest bit is set; the room of one word takes what comes out of the number. */
  unsigned shift = (unsigned)__builtin_clz(y[m - 1]);
  big_left(v, y, shift, m);
  u[wide] = shift == 0 || wide == 0 ? 0 : x[wide - 1] >> (32 - shift);
  big_left(u, x, shift, wide);
  for (size_t j = wide >= m ? wide - m + 1 : 0; j-- > 0;) q[j] = digit(u, v, j, m);
  memset(remainder, 0, n * sizeof *remainder);
  size_t left = wide < m ? wide : m;
  big_right(remainder, u, shift, left);
  if (shift != 0 && wide < m && wide > 0) remainder[wide - 1] |= u[wide] << (32 - shift);
  memcpy(quotient, q, n * sizeof *q);
  return 1;
}

double big_to_double(const uint32_t *x, size_t n) {
  uint32_t positive[BIG_WORDS_MAX];
  int negative = big_is_negative(x, n);
  if (negative) {
    big_negate(positive, x, n);
    x = positive;
  }
  double value = 0;
  for (size_t i = n; i-- > 0;) value = value * 4294967296.0 + x[i];
  return negative ? -value : value;
}
