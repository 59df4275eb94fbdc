/* wasi-libc has no setjmp: LLVM's, on native exceptions. */
#ifndef weft_setjmp_h
#define weft_setjmp_h
struct JumpBuffer {
  void *function;
  unsigned label;
  struct {
    void *environment;
    int value;
  } argument;
};
typedef struct JumpBuffer jmp_buf[1];
int setjmp(jmp_buf buffer) __attribute__((returns_twice));
_Noreturn void longjmp(jmp_buf buffer, int value);
#endif
