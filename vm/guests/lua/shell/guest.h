/* Included before every source: what Lua would ask the machine for is fixed here. */
#ifndef weft_guest_h
#define weft_guest_h

#include <stddef.h>
/* As its own files do: luaconf.h gives them more. */
#define LUA_CORE
#define LUA_LIB
#include "luaconf.h"

/* The seed of string hashes: the order of `pairs` over strings is part of the state. */
#define luai_makeseed(L) 0x5eed1234u
/* The pivot of `table.sort`, which takes the clock otherwise. */
#define l_randomizePivot() 0u

/* Lua writes nothing: `print` is the prelude's. */
#define lua_writestring(text, length) ((void)(text), (void)(length))
#define lua_writeline() ((void)0)
#define lua_writestringerror(format, value) ((void)(format), (void)(value))

/* Slots of one Lua stack: recursion ends at 3 MiB of it, not at 16. */
#undef LUAI_MAXSTACK
#define LUAI_MAXSTACK 200000

#endif
