/* MD2, MD4, MD5 and BLAKE2b: for programs that know them from aos. The first three are broken, and good for
   nothing but reading what others made with them. */
#include <stdint.h>
#include <string.h>

#include "hash.h"
#include "lauxlib.h"

static uint32_t left32(uint32_t x, int n) { return x << n | x >> (32 - n); }
static uint64_t right64(uint64_t x, int n) { return x >> n | x << (64 - n); }

/* RFC 1319: a permutation of bytes by the digits of pi. */
static const unsigned char S2[256] = {
    41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19, 98, 167, 5, 243, 192, 199, 115, 140,
    152, 147, 43, 217, 188, 76, 130, 202, 30, 155, 87, 60, 253, 212, 224, 22, 103, 66, 111, 24, 138, 23, 229, 18,
    190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142, 187, 47, 238, 122, 169, 104, 121, 145, 21, 178, 7, 63,
    148, 194, 16, 137, 11, 34, 95, 33, 128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3,
    255, 25, 48, 179, 72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198, 79, 184, 56, 210, 150, 164, 125, 182,
    118, 252, 107, 226, 156, 116, 4, 241, 69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101, 230, 45, 168, 2,
    27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15, 85, 71, 163, 35, 221, 81, 175, 58,
    195, 92, 249, 206, 186, 197, 234, 38, 44, 83, 13, 110, 133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82,
    106, 220, 55, 200, 108, 193, 171, 250, 36, 225, 123, 8, 12, 189, 177, 74, 120, 136, 149, 139, 227, 99, 232, 109,
    233, 203, 213, 254, 59, 0, 29, 57, 242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
    49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20};

static void block2(unsigned char state[48], unsigned char sum[16], const unsigned char *p) {
  unsigned char last = sum[15], t = 0;
  for (int i = 0; i < 16; i++) {
    last = sum[i] ^= S2[p[i] ^ last];
    state[16 + i] = p[i];
    state[32 + i] = p[i] ^ state[i];
  }
  for (int round = 0; round < 18; round++) {
    for (int i = 0; i < 48; i++) t = state[i] ^= S2[t];
    t = (unsigned char)(t + round);
  }
}

/* `md2(text)`. */
int guest_md2(lua_State *L) {
  unsigned char state[48] = {0}, sum[16] = {0}, last[16];
  size_t length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  for (; length >= 16; p += 16, length -= 16) block2(state, sum, p);
  memset(last, (int)(16 - length), sizeof last);
  memcpy(last, p, length);
  block2(state, sum, last);
  memcpy(last, sum, sizeof last);
  block2(state, sum, last);
  lua_pushlstring(L, (char *)state, 16);
  return 1;
}

static uint32_t word(const unsigned char *p) {
  return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* RFC 1320. */
static void block4(uint32_t state[4], const unsigned char *p) {
  static const unsigned char order[3][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                             {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
                                             {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15}};
  static const unsigned char turns[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
  static const uint32_t added[3] = {0, 0x5a827999, 0x6ed9eba1};
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  for (int i = 0; i < 48; i++) {
    int round = i / 16;
    uint32_t mixed = round == 0 ? (b & c) | (~b & d) : round == 1 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    uint32_t next = left32(a + mixed + word(p + 4 * order[round][i % 16]) + added[round], turns[round][i % 4]);
    a = d, d = c, c = b, b = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

/* RFC 1321. */
static const uint32_t K5[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static void block5(uint32_t state[4], const unsigned char *p) {
  static const unsigned char turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  for (int i = 0; i < 64; i++) {
    int round = i / 16, at = round == 0 ? i : round == 1 ? 5 * i + 1 : round == 2 ? 3 * i + 5 : 7 * i;
    uint32_t mixed = round == 0   ? (b & c) | (~b & d)
                     : round == 1 ? (b & d) | (c & ~d)
                     : round == 2 ? b ^ c ^ d
                                  : c ^ (b | ~d);
    uint32_t next = b + left32(a + mixed + K5[i] + word(p + 4 * (at % 16)), turns[round][i % 4]);
    a = d, d = c, c = b, b = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

/* A digest of blocks of 64 bytes that ends in the number of bits, the lowest byte first. */
static int little(lua_State *L, void (*block)(uint32_t state[4], const unsigned char *p)) {
  uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  unsigned char last[128] = {0}, out[16];
  size_t length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  uint64_t bits = (uint64_t)length * 8;
  for (; length >= 64; p += 64, length -= 64) block(state, p);
  memcpy(last, p, length);
  last[length] = 0x80;
  size_t total = length < 56 ? 64 : 128;
  for (int i = 0; i < 8; i++) last[total - 8 + i] = (unsigned char)(bits >> 8 * i);
  for (size_t at = 0; at < total; at += 64) block(state, last + at);
  for (int i = 0; i < 16; i++) out[i] = (unsigned char)(state[i / 4] >> 8 * (i % 4));
  lua_pushlstring(L, (char *)out, sizeof out);
  return 1;
}
int guest_md4(lua_State *L) { return little(L, block4); }
int guest_md5(lua_State *L) { return little(L, block5); }

/* RFC 7693. */
static const uint64_t IV[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                               0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
static const unsigned char SIGMA[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static void block2b(uint64_t state[8], const unsigned char *p, uint64_t count, int last) {
  static const unsigned char lanes[8][4] = {{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
                                            {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14}};
  uint64_t v[16], m[16];
  memcpy(v, state, 64);
  memcpy(v + 8, IV, 64);
  v[12] ^= count;
  if (last) v[14] = ~v[14];
  for (int i = 0; i < 16; i++) m[i] = (uint64_t)word(p + 8 * i + 4) << 32 | word(p + 8 * i);
  for (int round = 0; round < 12; round++)
    for (int i = 0; i < 8; i++) {
      const unsigned char *at = lanes[i], *s = SIGMA[round % 10] + 2 * i;
      uint64_t *a = v + at[0], *b = v + at[1], *c = v + at[2], *d = v + at[3];
      *a += *b + m[s[0]], *d = right64(*d ^ *a, 32), *c += *d, *b = right64(*b ^ *c, 24);
      *a += *b + m[s[1]], *d = right64(*d ^ *a, 16), *c += *d, *b = right64(*b ^ *c, 63);
    }
  for (int i = 0; i < 8; i++) state[i] ^= v[i] ^ v[i + 8];
}

/* `blake2b(text, length, key)`: 1 to 64 bytes, with a key of 0 to 64. */
int guest_blake2b(lua_State *L) {
  unsigned char block[128] = {0}, out[64];
  uint64_t state[8], count = 0;
  size_t length, key_length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  lua_Integer size = luaL_checkinteger(L, 2);
  const char *key = luaL_checklstring(L, 3, &key_length);
  luaL_argcheck(L, size >= 1 && size <= 64, 2, "a digest has 1 to 64 bytes");
  luaL_argcheck(L, key_length <= 64, 3, "a key has up to 64 bytes");
  memcpy(state, IV, sizeof state);
  state[0] ^= 0x01010000 ^ (uint64_t)key_length << 8 ^ (uint64_t)size;
  if (key_length > 0) {
    memcpy(block, key, key_length);
    block2b(state, block, count = sizeof block, length == 0);
  }
  for (; length > sizeof block; p += sizeof block, length -= sizeof block)
    block2b(state, p, count += sizeof block, 0);
  if (length > 0 || key_length == 0) {
    memset(block, 0, sizeof block);
    memcpy(block, p, length);
    block2b(state, block, count + length, 1);
  }
  for (int i = 0; i < 64; i++) out[i] = (unsigned char)(state[i / 8] >> 8 * (i % 8));
  lua_pushlstring(L, (char *)out, (size_t)size);
  return 1;
}
