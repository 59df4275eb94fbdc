/* Lua's state header names this type; a guest has no signals. */
#ifndef weft_signal_h
#define weft_signal_h
typedef int sig_atomic_t;
#endif
