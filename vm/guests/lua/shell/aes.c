/* AES of FIPS 197, in the modes of SP 800-38A. Nothing is secret here: whoever computes a process sees its keys, so
   that no care is taken of how long anything takes. */
#include <string.h>

#include "hash.h"
#include "lauxlib.h"
#include "text.h"

#define BLOCK 16

static const unsigned char sbox[256] = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76,
    0xca, 0x82, 0xc9, 0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0,
    0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f, 0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15,
    0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07, 0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75,
    0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3, 0x29, 0xe3, 0x2f, 0x84,
    0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58, 0xcf,
    0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8,
    0x51, 0xa3, 0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2,
    0xcd, 0x0c, 0x13, 0xec, 0x5f, 0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73,
    0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88, 0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb,
    0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac, 0x62, 0x91, 0x95, 0xe4, 0x79,
    0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a, 0xae, 0x08,
    0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a,
    0x70, 0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e,
    0xe1, 0xf8, 0x98, 0x11, 0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf,
    0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42, 0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16,
};

typedef struct Aes {
  unsigned char round_keys[15][BLOCK];
  int rounds;
} Aes;

static unsigned char twice(unsigned char x) { return (unsigned char)(x << 1 ^ (x >> 7) * 0x1b); }

static void expand(Aes *aes, const unsigned char *key, size_t length) {
  unsigned char *w = aes->round_keys[0], constant = 1;
  aes->rounds = (int)(length / 4) + 6;
  memcpy(w, key, length);
  for (size_t at = length; at < (size_t)(aes->rounds + 1) * BLOCK; at += 4) {
    unsigned char word[4];
    memcpy(word, w + at - 4, 4);
    if (at % length == 0) {
      unsigned char first = word[0];
      for (int i = 0; i < 3; i++) word[i] = sbox[word[i + 1]];
      word[3] = sbox[first];
      word[0] ^= constant;
      constant = twice(constant);
    } else if (length == 32 && at % length == 16) {
      for (int i = 0; i < 4; i++) word[i] = sbox[word[i]];
    }
    for (int i = 0; i < 4; i++) w[at + i] = w[at + i - length] ^ word[i];
  }
}

static void add(unsigned char *block, const unsigned char *other) {
  for (int i = 0; i < BLOCK; i++) block[i] ^= other[i];
}

/* Row r of the four columns moves by r places to the left. */
static void shift_rows(unsigned char *block) {
  unsigned char from[BLOCK];
  memcpy(from, block, BLOCK);
  for (int i = 0; i < BLOCK; i++) block[i] = from[(i + 4 * (i % 4)) % BLOCK];
}

static void mix_columns(unsigned char *block) {
  for (unsigned char *c = block; c < block + BLOCK; c += 4) {
    unsigned char first = c[0], all = c[0] ^ c[1] ^ c[2] ^ c[3];
    for (int i = 0; i < 3; i++) c[i] ^= all ^ twice(c[i] ^ c[i + 1]);
    c[3] ^= all ^ twice(c[3] ^ first);
  }
}

static void encrypt(const Aes *aes, unsigned char *block) {
  add(block, aes->round_keys[0]);
  for (int round = 1; round <= aes->rounds; round++) {
    for (int i = 0; i < BLOCK; i++) block[i] = sbox[block[i]];
    shift_rows(block);
    if (round < aes->rounds) mix_columns(block);
    add(block, aes->round_keys[round]);
  }
}

static void decrypt(const Aes *aes, const unsigned char *inverse, unsigned char *block) {
  for (int round = aes->rounds; round > 0; round--) {
    add(block, aes->round_keys[round]);
    /* Four times is the identity, so three times is the way back. */
    if (round < aes->rounds)
      for (int i = 0; i < 3; i++) mix_columns(block);
    for (int i = 0; i < 3; i++) shift_rows(block);
    for (int i = 0; i < BLOCK; i++) block[i] = inverse[block[i]];
  }
  add(block, aes->round_keys[0]);
}

static void count_on(unsigned char *counter) {
  for (int i = BLOCK - 1; i >= 0 && ++counter[i] == 0; i--) continue;
}

enum Mode { ECB, CBC, CFB, OFB, CTR };

/* One block in place; `chain` is what the mode carries from block to block. */
static void step(const Aes *aes, const unsigned char *inverse, enum Mode mode, int back, unsigned char *block,
                 unsigned char *chain) {
  unsigned char given[BLOCK];
  memcpy(given, block, BLOCK);
  switch (mode) {
    case ECB:
      if (back) decrypt(aes, inverse, block);
      else encrypt(aes, block);
      return;
    case CBC:
      if (back) {
        decrypt(aes, inverse, block);
        add(block, chain);
      } else {
        add(block, chain);
        encrypt(aes, block);
      }
      memcpy(chain, back ? given : block, BLOCK);
      return;
    case CFB:
      encrypt(aes, chain);
      add(block, chain);
      memcpy(chain, back ? given : block, BLOCK);
      return;
    case OFB:
      encrypt(aes, chain);
      add(block, chain);
      return;
    case CTR:
      memcpy(given, chain, BLOCK);
      encrypt(aes, given);
      add(block, given);
      count_on(chain);
      return;
  }
}

/* `aes(data, key, iv, mode, back)`, bytes all: what is no whole block is filled up with zeros. */
int guest_aes(lua_State *L) {
  static const char *const modes[] = {"ECB", "CBC", "CFB", "OFB", "CTR", NULL};
  size_t length, key_length, iv_length;
  const char *data = luaL_checklstring(L, 1, &length);
  const unsigned char *key = (const unsigned char *)luaL_checklstring(L, 2, &key_length);
  const char *iv = luaL_checklstring(L, 3, &iv_length);
  enum Mode mode = (enum Mode)luaL_checkoption(L, 4, NULL, modes);
  int back = lua_toboolean(L, 5);
  luaL_argcheck(L, key_length == 16 || key_length == 24 || key_length == 32, 2, "a key has 16, 24 or 32 bytes");
  luaL_argcheck(L, iv_length == BLOCK, 3, "an initialization vector has 16 bytes");
  Aes aes;
  unsigned char chain[BLOCK], inverse[256];
  expand(&aes, key, key_length);
  for (int i = 0; i < 256; i++) inverse[sbox[i]] = (unsigned char)i;
  memcpy(chain, iv, BLOCK);
  luaL_Buffer out;
  size_t whole = (length + BLOCK - 1) / BLOCK * BLOCK;
  unsigned char *bytes = (unsigned char *)luaL_buffinitsize(L, &out, whole);
  memcpy(bytes, data, length);
  memset(bytes + length, 0, whole - length);
  for (size_t at = 0; at < whole; at += BLOCK) step(&aes, inverse, mode, back, bytes + at, chain);
  luaL_pushresultsize(&out, whole);
  return 1;
}
