/* Guests of the plain format, `wasm32-weft-plain`, in C. `README.md` has the format and the build.

   A guest has no libc unless it links one. This header has what most need: reading the message,
   and writing the result. Everything in linear memory lasts from message to message; globals of
   WebAssembly do not, which compilers of C use for the stack pointer alone. */
#ifndef weft_h
#define weft_h

#define WEFT_EXPORT(name) __attribute__((export_name(#name)))
#define WEFT_IMPORT(name) __attribute__((import_module("weft"), import_name(#name)))

/* What the host offers; all take addresses and lengths. See `vm/src/format/plain.rs`. */
WEFT_IMPORT(sha256) void weft_sha256(const void *data, unsigned length, void *out32);
WEFT_IMPORT(sha384) void weft_sha384(const void *data, unsigned length, void *out48);
WEFT_IMPORT(keccak256) void weft_keccak256(const void *data, unsigned length, void *out32);
WEFT_IMPORT(blake3) void weft_blake3(const void *data, unsigned length, void *out32);
WEFT_IMPORT(ed25519_verify)
int weft_ed25519_verify(const void *key32, const void *signature64, const void *data, unsigned length);

/* The bytes of the item with this id, and as many of them at `out` as there is room for; -1 if it may not be read. */
WEFT_IMPORT(read_item) long long weft_read_item(const char *id, unsigned length, void *out, unsigned room);

extern unsigned char __heap_base;
static unsigned weft_taken;

/* Room behind the guest's own data, for the message and then the environment. `weft_begin` gives it back. */
static inline char *weft_room(unsigned length) {
  unsigned from = (unsigned)(unsigned long)&__heap_base + weft_taken, pages = __builtin_wasm_memory_size(0);
  unsigned long long end = (unsigned long long)from + length + 8;
  unsigned needed = (unsigned)((end + 65535) / 65536);
  if (needed > pages && __builtin_wasm_memory_grow(0, needed - pages) == (unsigned long)-1) __builtin_trap();
  weft_taken += (length + 7) & ~7u;
  return (char *)(unsigned long)from;
}

/* A part of a text. */
typedef struct weft_text {
  const char *bytes;
  unsigned length;
} weft_text;

static inline int weft_is(weft_text text, const char *word) {
  unsigned i = 0;
  while (i < text.length && word[i] != 0 && text.bytes[i] == word[i]) i++;
  return i == text.length && word[i] == 0;
}

/* The rest of a JSON text after the string that begins here. */
static inline const char *weft_after_string(const char *at, const char *end) {
  for (at++; at < end && *at != '"'; at++)
    if (*at == '\\') at++;
  return at < end ? at + 1 : end;
}

/* Beyond the value that begins here. */
static inline const char *weft_after_value(const char *at, const char *end) {
  int depth = 0;
  for (; at < end; at++) {
    if (*at == '"') at = weft_after_string(at, end) - 1;
    else if (*at == '{' || *at == '[') depth++;
    else if ((*at == '}' || *at == ']') && --depth < 0) return at;
    else if (*at == ',' && depth == 0) return at;
    if (depth == 0 && (*at == '}' || *at == ']' || *at == '"')) return at + 1;
  }
  return end;
}

/* A field of a JSON object, as it stands there: strings with their quotes and escapes. Empty if it has
   none. The node writes JSON without spaces, each field once. */
static inline weft_text weft_field(weft_text object, const char *name) {
  const char *at = object.bytes + 1, *end = object.bytes + object.length;
  while (at < end && *at == '"') {
    weft_text key = {at + 1, 0};
    at = weft_after_string(at, end);
    key.length = (unsigned)(at - key.bytes) - 1;
    const char *value = at + 1;
    at = weft_after_value(value, end);
    if (weft_is(key, name)) return (weft_text){value, (unsigned)(at - value)};
    if (at < end && *at == ',') at++;
  }
  return (weft_text){0, 0};
}

/* A string without its quotes; its escapes stay. */
static inline weft_text weft_unquoted(weft_text text) {
  if (text.length < 2 || text.bytes[0] != '"') return (weft_text){0, 0};
  return (weft_text){text.bytes + 1, text.length - 2};
}

/* The value of the first tag of this name; empty if there is none. */
static inline weft_text weft_tag(weft_text message, const char *name) {
  weft_text tags = weft_field(message, "Tags");
  const char *at = tags.bytes + 1, *end = tags.bytes + tags.length;
  while (tags.length > 0 && at < end && *at == '{') {
    weft_text tag = {at, 0};
    at = weft_after_value(at, end);
    tag.length = (unsigned)(at - tag.bytes);
    if (weft_is(weft_unquoted(weft_field(tag, "name")), name)) return weft_unquoted(weft_field(tag, "value"));
    if (at < end && *at == ',') at++;
  }
  return (weft_text){0, 0};
}

/* The result, as it is written: more than fits traps, and the message is undone. */
static char weft_result[65536];
static unsigned weft_written;

/* Before anything is put. */
static inline void weft_begin(void) { weft_taken = weft_written = 0; }

static inline void weft_put_text(weft_text text) {
  if (text.length > sizeof weft_result - weft_written) __builtin_trap();
  for (unsigned i = 0; i < text.length; i++) weft_result[weft_written++] = text.bytes[i];
}

static inline void weft_put(const char *words) {
  weft_text text = {words, 0};
  while (words[text.length] != 0) text.length++;
  weft_put_text(text);
}

static inline void weft_put_number(unsigned long long number) {
  char digits[20];
  unsigned at = sizeof digits;
  do digits[--at] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  weft_put_text((weft_text){digits + at, sizeof digits - at});
}

/* What `handle` returns. */
static inline unsigned long long weft_answer(void) {
  return (unsigned long long)(unsigned)(unsigned long)weft_result << 32 | weft_written;
}

#endif
