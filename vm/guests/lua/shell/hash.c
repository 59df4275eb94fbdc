/* SHA-1, SHA-2, SHA-3 and Keccak, what is made of them, and the functions that Lua sees. */
#include <stdint.h>
#include <string.h>

#include "hash.h"
#include "lauxlib.h"
#include "text.h"

static uint32_t right32(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint64_t left64(uint64_t x, int n) { return n == 0 ? x : x << n | x >> (64 - n); }

static const uint32_t K256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void block256(uint32_t state[8], const unsigned char *p) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++, p += 4)
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  for (int i = 16; i < 64; i++)
    w[i] = w[i - 16] + w[i - 7] + (right32(w[i - 15], 7) ^ right32(w[i - 15], 18) ^ w[i - 15] >> 3) +
           (right32(w[i - 2], 17) ^ right32(w[i - 2], 19) ^ w[i - 2] >> 10);
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t one = s[7] + (right32(s[4], 6) ^ right32(s[4], 11) ^ right32(s[4], 25)) +
                   ((s[4] & s[5]) ^ (~s[4] & s[6])) + K256[i] + w[i];
    uint32_t two = (right32(s[0], 2) ^ right32(s[0], 13) ^ right32(s[0], 22)) +
                   ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += one;
    s[0] = one + two;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void block1(uint32_t state[8], const unsigned char *p) {
  uint32_t w[80], s[5];
  for (int i = 0; i < 16; i++, p += 4)
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  for (int i = 16; i < 80; i++) w[i] = right32(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 31);
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 80; i++) {
    uint32_t mixed = i < 20   ? ((s[1] & s[2]) | (~s[1] & s[3])) + 0x5a827999
                     : i < 40 ? (s[1] ^ s[2] ^ s[3]) + 0x6ed9eba1
                     : i < 60 ? ((s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3])) + 0x8f1bbcdc
                              : (s[1] ^ s[2] ^ s[3]) + 0xca62c1d6;
    uint32_t first = right32(s[0], 27) + mixed + s[4] + w[i];
    s[4] = s[3];
    s[3] = s[2];
    s[2] = right32(s[1], 2);
    s[1] = s[0];
    s[0] = first;
  }
  for (int i = 0; i < 5; i++) state[i] += s[i];
}

#define ROUND 64
#define DIGEST_MAX 32
/* A hash that takes blocks of 64 bytes. */
typedef struct Kind {
  uint32_t start[8];
  size_t size;
  void (*block)(uint32_t state[8], const unsigned char *p);
} Kind;

static const Kind SHA1 = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0, 0, 0, 0}, 20, block1};
static const Kind SHA256 = {
    {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}, 32, block256};

/* The digest of so many bytes that `state` has seen, all of them blocks, and these. */
static void finish(const Kind *kind, const uint32_t state[8], size_t before, const unsigned char *p, size_t length,
                   unsigned char *out) {
  unsigned char last[2 * ROUND] = {0};
  uint32_t now[8];
  uint64_t bits = ((uint64_t)before + length) * 8;
  memcpy(now, state, sizeof now);
  for (; length >= ROUND; p += ROUND, length -= ROUND) kind->block(now, p);
  memcpy(last, p, length);
  last[length] = 0x80;
  size_t total = length < ROUND - 8 ? ROUND : 2 * ROUND;
  for (int i = 0; i < 8; i++) last[total - 1 - i] = (unsigned char)(bits >> 8 * i);
  for (size_t at = 0; at < total; at += ROUND) kind->block(now, last + at);
  for (size_t i = 0; i < kind->size; i++) out[i] = (unsigned char)(now[i / 4] >> (24 - 8 * (i % 4)));
}

static int hashed(lua_State *L, const Kind *kind) {
  unsigned char out[DIGEST_MAX];
  size_t length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  finish(kind, kind->start, 0, p, length, out);
  lua_pushlstring(L, (char *)out, kind->size);
  return 1;
}
static int sha1(lua_State *L) { return hashed(L, &SHA1); }
static int sha256(lua_State *L) { return hashed(L, &SHA256); }

/* HMAC of RFC 2104, after the key. */
typedef struct Mac {
  const Kind *kind;
  uint32_t inner[8], outer[8];
} Mac;

static void mac_start(Mac *mac, const Kind *kind, const unsigned char *key, size_t length) {
  unsigned char block[ROUND] = {0};
  mac->kind = kind;
  if (length > ROUND) finish(kind, kind->start, 0, key, length, block);
  else memcpy(block, key, length);
  for (int i = 0; i < ROUND; i++) block[i] ^= 0x36;
  memcpy(mac->inner, kind->start, sizeof mac->inner);
  kind->block(mac->inner, block);
  for (int i = 0; i < ROUND; i++) block[i] ^= 0x36 ^ 0x5c;
  memcpy(mac->outer, kind->start, sizeof mac->outer);
  kind->block(mac->outer, block);
}

static void mac_of(const Mac *mac, const unsigned char *p, size_t length, unsigned char *out) {
  finish(mac->kind, mac->inner, ROUND, p, length, out);
  finish(mac->kind, mac->outer, ROUND, out, mac->kind->size, out);
}

static const Kind *kind_of(lua_State *L, int index) {
  static const char *const names[] = {"sha1", "sha256", NULL};
  return luaL_checkoption(L, index, "sha1", names) ? &SHA256 : &SHA1;
}

/* `hmac(data, key, name)`. */
static int hmac(lua_State *L) {
  Mac mac;
  unsigned char out[DIGEST_MAX];
  size_t length, key_length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  const unsigned char *key = (const unsigned char *)luaL_checklstring(L, 2, &key_length);
  mac_start(&mac, kind_of(L, 3), key, key_length);
  mac_of(&mac, p, length, out);
  lua_pushlstring(L, (char *)out, mac.kind->size);
  return 1;
}

/* `pbkdf2(password, salt, iterations, length, name)`, of RFC 8018. */
static int pbkdf2(lua_State *L) {
  Mac mac;
  size_t password_length, salt_length;
  const unsigned char *password = (const unsigned char *)luaL_checklstring(L, 1, &password_length);
  const char *salt = luaL_checklstring(L, 2, &salt_length);
  lua_Integer iterations = luaL_checkinteger(L, 3), length = luaL_checkinteger(L, 4);
  luaL_argcheck(L, iterations > 0, 3, "there is at least one iteration");
  luaL_argcheck(L, length > 0 && length <= 65536, 4, "a key has 1 to 65536 bytes");
  mac_start(&mac, kind_of(L, 5), password, password_length);
  size_t size = mac.kind->size;
  unsigned char *first = lua_newuserdatauv(L, salt_length + 4, 0);
  memcpy(first, salt, salt_length);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  for (uint32_t number = 1; luaL_bufflen(&out) < (size_t)length; number++) {
    unsigned char last[DIGEST_MAX], sum[DIGEST_MAX];
    for (int i = 0; i < 4; i++) first[salt_length + i] = (unsigned char)(number >> (24 - 8 * i));
    mac_of(&mac, first, salt_length + 4, last);
    memcpy(sum, last, size);
    for (lua_Integer round = 1; round < iterations; round++) {
      mac_of(&mac, last, size, last);
      for (size_t i = 0; i < size; i++) sum[i] ^= last[i];
    }
    luaL_addlstring(&out, (char *)sum, size);
  }
  luaL_pushresult(&out);
  lua_pushlstring(L, lua_tostring(L, -1), (size_t)length);
  return 1;
}

static void keccak(uint64_t a[25]) {
  static const unsigned char turns[24] = {1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44};
  static const unsigned char lanes[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};
  unsigned char shift = 1;
  for (int round = 0; round < 24; round++) {
    uint64_t c[5], moved;
    for (int x = 0; x < 5; x++) c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (int i = 0; i < 25; i++) a[i] ^= c[(i + 4) % 5] ^ left64(c[(i + 1) % 5], 1);
    moved = a[1];
    for (int i = 0; i < 24; i++) {
      uint64_t kept = a[lanes[i]];
      a[lanes[i]] = left64(moved, turns[i]);
      moved = kept;
    }
    for (int y = 0; y < 25; y += 5) {
      memcpy(c, a + y, sizeof c);
      for (int x = 0; x < 5; x++) a[y + x] = c[x] ^ (~c[(x + 1) % 5] & c[(x + 2) % 5]);
    }
    /* The round constant: bits 2^j - 1 from the linear feedback register. */
    for (int j = 0; j < 7; j++) {
      if (shift & 1) a[0] ^= (uint64_t)1 << ((1 << j) - 1);
      shift = (unsigned char)(shift << 1 ^ (shift >> 7) * 0x71);
    }
  }
}

static int sponge(lua_State *L, unsigned char pad, size_t out) {
  uint64_t state[25] = {0};
  unsigned char digest[64];
  size_t length, rate = 200 - 2 * out, at = 0;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  for (size_t i = 0; i < length; i++) {
    state[at / 8] ^= (uint64_t)p[i] << 8 * (at % 8);
    if (++at == rate) keccak(state), at = 0;
  }
  state[at / 8] ^= (uint64_t)pad << 8 * (at % 8);
  state[(rate - 1) / 8] ^= (uint64_t)0x80 << 8 * ((rate - 1) % 8);
  keccak(state);
  for (size_t i = 0; i < out; i++) digest[i] = (unsigned char)(state[i / 8] >> 8 * (i % 8));
  lua_pushlstring(L, (char *)digest, out);
  return 1;
}
static int sha3_256(lua_State *L) { return sponge(L, 0x06, 32); }
static int sha3_512(lua_State *L) { return sponge(L, 0x06, 64); }
static int keccak256(lua_State *L) { return sponge(L, 0x01, 32); }
static int keccak512(lua_State *L) { return sponge(L, 0x01, 64); }

static int sha512(lua_State *L) {
  Sha512 hash;
  unsigned char digest[64];
  size_t length;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &length);
  sha512_start(&hash);
  sha512_add(&hash, p, length);
  sha512_end(&hash, digest);
  lua_pushlstring(L, (char *)digest, sizeof digest);
  return 1;
}

/* `ed25519_verify(key, signature, message)`, all bytes. */
static int verify(lua_State *L) {
  size_t key_length, signature_length, length;
  const unsigned char *key = (const unsigned char *)luaL_checklstring(L, 1, &key_length);
  const unsigned char *signature = (const unsigned char *)luaL_checklstring(L, 2, &signature_length);
  const unsigned char *message = (const unsigned char *)luaL_checklstring(L, 3, &length);
  luaL_argcheck(L, key_length == 32, 1, "a key has 32 bytes");
  luaL_argcheck(L, signature_length == 64, 2, "a signature has 64 bytes");
  lua_pushboolean(L, ed25519_verify(key, signature, message, length));
  return 1;
}

int luaopen_hash(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"sha1", sha1},           {"sha256", sha256},       {"sha512", sha512},         {"sha3_256", sha3_256},
      {"sha3_512", sha3_512},   {"keccak256", keccak256}, {"keccak512", keccak512},   {"hmac", hmac},
      {"pbkdf2", pbkdf2},       {"aes", guest_aes},       {"ed25519_verify", verify}, {"md2", guest_md2},
      {"md4", guest_md4},       {"md5", guest_md5},       {"blake2b", guest_blake2b},  {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
