/* Whole numbers of a fixed width: `n` words of 32 bits, the lowest first, in two's complement. */
#ifndef weft_big_h
#define weft_big_h

#include <stddef.h>
#include <stdint.h>

/* The widest number: 16,384 bits. */
#define BIG_WORDS_MAX 512

int big_is_zero(const uint32_t *x, size_t n);
int big_is_negative(const uint32_t *x, size_t n);
/* Below 0, 0 or above: without signs. */
int big_compare(const uint32_t *x, const uint32_t *y, size_t n);
void big_from(uint32_t *to, int64_t value, size_t n);
void big_add(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n);
void big_subtract(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n);
void big_negate(uint32_t *to, const uint32_t *x, size_t n);
/* The lower half of the product; `to` is neither factor. */
void big_multiply(uint32_t *to, const uint32_t *x, const uint32_t *y, size_t n);
/* Quotient and remainder without signs; 0 when `y` is zero. The results may be the arguments. */
int big_divide(uint32_t *quotient, uint32_t *remainder, const uint32_t *x, const uint32_t *y, size_t n);
/* By fewer bits than the width; zeros come in. */
void big_left(uint32_t *to, const uint32_t *x, size_t bits, size_t n);
void big_right(uint32_t *to, const uint32_t *x, size_t bits, size_t n);
/* `x = x * factor + more`. */
void big_scale(uint32_t *x, uint32_t factor, uint32_t more, size_t n);
/* `x = x / by`; gives what remains. */
uint32_t big_shrink(uint32_t *x, uint32_t by, size_t n);
double big_to_double(const uint32_t *x, size_t n);

#endif
