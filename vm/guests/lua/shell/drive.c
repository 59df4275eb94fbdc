/* Items of the weave that a message may read: those with a slot in the log, and the one booted from. */
#include "lauxlib.h"
#include "text.h"

__attribute__((import_module("weft"), import_name("read_item"))) long long weft_read_item(const char *id,
                                                                                           size_t length, void *out,
                                                                                           size_t room);

/* `getData(id)`: the item's data, or nil and a text. Where the bytes are not here the host waits for them. */
static int get_data(lua_State *L) {
  size_t length;
  const char *id = luaL_checklstring(L, 1, &length);
  long long size = weft_read_item(id, length, NULL, 0);
  if (size < 0) {
    lua_pushnil(L);
    lua_pushliteral(L, "this process may not read such an item");
    return 2;
  }
  if (size > 1 << 30) return luaL_error(L, "not enough memory");
  luaL_Buffer buffer;
  char *room = luaL_buffinitsize(L, &buffer, (size_t)size);
  weft_read_item(id, length, room, (size_t)size);
  luaL_pushresultsize(&buffer, (size_t)size);
  return 1;
}

int luaopen_drive(lua_State *L) {
  static const luaL_Reg functions[] = {{"getData", get_data}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushliteral(L, "0.1.0");
  lua_setfield(L, -2, "_version");
  return 1;
}
