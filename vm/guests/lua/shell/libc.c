/* What Lua and libc would ask the system for. A guest has no files, clock or chance. */
#include <setjmp.h>
#include <stdio.h>
#include <time.h>

/* With these here the linker takes nothing from libc that imports. */
time_t time(time_t *out) {
  if (out) *out = 0;
  return 0;
}
clock_t clock(void) { return 0; }
_Noreturn void abort(void) { __builtin_trap(); }
_Noreturn void _Exit(int code) {
  (void)code;
  __builtin_trap();
}
char *strerror(int number) {
  (void)number;
  return "";
}
FILE *fopen(const char *path, const char *mode) { return (void)path, (void)mode, NULL; }
FILE *freopen(const char *path, const char *mode, FILE *file) {
  return (void)path, (void)mode, (void)file, NULL;
}
int fclose(FILE *file) { return (void)file, EOF; }
int getc(FILE *file) { return (void)file, EOF; }
int feof(FILE *file) { return (void)file, 1; }
int ferror(FILE *file) { return (void)file, 1; }
size_t fread(void *to, size_t size, size_t count, FILE *file) {
  return (void)to, (void)size, (void)count, (void)file, 0;
}
#undef stdin
FILE *const stdin = NULL;
size_t __stdio_read(FILE *file, unsigned char *to, size_t length) {
  return (void)file, (void)to, (void)length, 0;
}
size_t __stdio_write(FILE *file, const unsigned char *from, size_t length) {
  return (void)file, (void)from, length;
}
int __stdio_close(FILE *file) { return (void)file, 0; }
long long __stdio_seek(FILE *file, long long offset, int whence) {
  return (void)file, (void)offset, (void)whence, -1;
}

#ifdef __wasm__
/* The three functions that LLVM calls for setjmp and longjmp: see its WebAssembly backend. */
void __wasm_setjmp(void *environment, unsigned label, void *function) {
  struct JumpBuffer *jump = environment;
  jump->function = function;
  jump->label = label;
}
unsigned __wasm_setjmp_test(void *environment, void *function) {
  struct JumpBuffer *jump = environment;
  return jump->function == function ? jump->label : 0;
}
_Noreturn void __wasm_longjmp(void *environment, int value) {
  struct JumpBuffer *jump = environment;
  jump->argument.environment = environment;
  jump->argument.value = value ? value : 1;
  __builtin_wasm_throw(1, &jump->argument);
}
#endif
