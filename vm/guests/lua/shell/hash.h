/* Hashes and signatures, as bytes to bytes. */
#ifndef weft_hash_h
#define weft_hash_h

#include <stddef.h>
#include <stdint.h>

struct lua_State;

typedef struct Sha512 {
  uint64_t state[8];
  uint64_t length;
  unsigned char last[128];
} Sha512;

void sha512_start(Sha512 *h);
void sha512_add(Sha512 *h, const unsigned char *p, size_t length);
void sha512_end(Sha512 *h, unsigned char out[64]);

/* Whether this is the key's signature of the message: strictly, so that nobody can make a second
   one of a first, and no key signs for everything. */
int ed25519_verify(const unsigned char key[32], const unsigned char signature[64], const unsigned char *message,
                   size_t length);

/* Functions of Lua's: see their places. */
int guest_aes(struct lua_State *L);
int guest_md2(struct lua_State *L);
int guest_md4(struct lua_State *L);
int guest_md5(struct lua_State *L);
int guest_blake2b(struct lua_State *L);

#endif
