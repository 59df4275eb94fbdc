/* Lua with the prelude, as the build left it in memory. */
#ifndef weft_boot_h
#define weft_boot_h

#include "lua.h"
#include "text.h"

/* Made by the build, before there is a message. */
extern lua_State *lua;

/* The shell's own buffers, each with room for a small message. They lie side by side, so that a message
   writes to few pages. */
extern Text input[2], output, known;

/* After each message. */
void settle(void);

#endif
