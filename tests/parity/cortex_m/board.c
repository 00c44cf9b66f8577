/* A board without an operating system that asks the model a few texts and prints the bits of its answers.

   texts.h: static const char *const texts[]. What it prints goes through the debugger (semihosting). */
#include <string.h>

#include "grunlock_model.h"
#include "texts.h"

#define FLOATING_POINT (*(volatile uint32_t *)0xe000ed88) /* coprocessor access control */
#define WRITE_TEXT 4
#define EXIT 0x18
#define EXIT_WELL 0x20026

extern uint32_t stack_top;
void start(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {&stack_top, (const void *)start};

static grunlock_state state;

static void ask_debugger(int what, const void *argument) {
  register int number __asm__("r0") = what;
  register const void *pointer __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(number) : "r"(pointer) : "memory");
}

static void print_bits(float value) {
  char line[9];
  uint32_t bits;
  int i;
  memcpy(&bits, &value, sizeof bits);
  for (i = 0; i < 8; ++i) {
    line[i] = "0123456789abcdef"[bits >> (28 - 4 * i) & 15];
  }
  line[8] = '\0';
  ask_debugger(WRITE_TEXT, line);
  ask_debugger(WRITE_TEXT, "\n");
}

void start(void) {
  float probabilities[GRUNLOCK_NUM_CLASSES];
  uint32_t i, k;
#if defined(__ARM_FP)
  FLOATING_POINT |= 0xfu << 20;
  __asm__ volatile("dsb\n isb" ::: "memory");
#endif
  grunlock_init(&state);
  for (i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    grunlock_step_text(&state, texts[i], strlen(texts[i]));
    grunlock_finish(&state, probabilities);
    for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
      print_bits(probabilities[k]);
    }
  }
  ask_debugger(EXIT, (const void *)EXIT_WELL);
}
