/* A growable text, and JSON to and from Lua values. */
#ifndef weft_text_h
#define weft_text_h

#include <stddef.h>
#include "lua.h"

typedef struct Text {
  char *bytes;
  size_t length;
  size_t room;
} Text;

/* Appends; raises Lua's memory error when there is no room. */
void text_add(lua_State *L, Text *text, const char *bytes, size_t length);

/* Gives back what one large text took. */
void text_shrink(Text *text);

/* Pushes the value of a JSON text, or raises an error that names line and column. */
void json_decode(lua_State *L, const char *bytes, size_t length);

/* Appends the JSON of the value at `index`: keys sorted by bytes. With `clean`, bytes that are no
   UTF-8 become U+FFFD. */
void json_encode(lua_State *L, int index, Text *out, int clean);

int luaopen_json(lua_State *L);
int luaopen_hash(lua_State *L);
int luaopen_codec(lua_State *L);
int luaopen_bint(lua_State *L);
int luaopen_drive(lua_State *L);

#endif
