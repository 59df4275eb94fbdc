/* A counter: `Increment` counts, everything else is told the count; `Ping` is answered with a message. */
#include "weft.h"

/* What lasts. */
static unsigned long long count;

/* Called for the message, then for the environment. */
WEFT_EXPORT(alloc) char *alloc(unsigned length) { return weft_room(length); }

WEFT_EXPORT(handle)
unsigned long long handle(const char *bytes, unsigned length, const char *environment, unsigned environment_length) {
  (void)environment, (void)environment_length;
  weft_text message = {bytes, length}, action = weft_tag(message, "Action");
  weft_begin();
  if (weft_is(action, "Increment")) count++;
  weft_put("{\"ok\":true,\"response\":{\"Output\":\"");
  weft_put_number(count);
  weft_put("\",\"Messages\":[");
  if (weft_is(action, "Ping")) {
    weft_put("{\"Target\":");
    weft_put_text(weft_field(message, "From"));
    weft_put(",\"Data\":\"");
    weft_put_number(count);
    weft_put("\",\"Anchor\":\"00000000000000000000000000000000\",\"Tags\":[{\"name\":\"Action\",\"value\":\"Pong\"}]}");
  }
  weft_put("],\"Spawns\":[],\"Assignments\":[]}}");
  return weft_answer();
}
