/* Answers lines of standard input with JSON on standard output: the label and the probability of each class.

   Texts: a line is a text. Series: a line is a series, the values of its first step, then of the second and so on, with
   spaces between them; nan where one is missing. This file alone needs a C library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grunlock_model.h"

static grunlock_state state;

static void print_string(const char *text) {
  putchar('"');
  for (; *text != '\0'; ++text) {
    if (*text == '"' || *text == '\\') {
      printf("\\%c", *text);
    } else if ((unsigned char)*text < 0x20) {
      printf("\\u%04x", (unsigned)*text);
    } else {
      putchar(*text);
    }
  }
  putchar('"');
}

static void print_answer(int error, const float *probabilities) {
  static const char *const kErrors[] = {"", "empty", "too long", "invalid"};
  int k, best = 0;
  if (error != GRUNLOCK_OK) {
    printf("{\"error\": \"%s\"}\n", kErrors[error]);
    return;
  }
  for (k = 1; k < GRUNLOCK_NUM_CLASSES; ++k) {
    best = probabilities[k] > probabilities[best] ? k : best;
  }
  printf("{\"label\": ");
  print_string(grunlock_labels[best]);
  printf(", \"probabilities\": [");
  for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
    printf("%s%.9g", k == 0 ? "" : ", ", (double)probabilities[k]);
  }
  printf("]}\n");
}

#if GRUNLOCK_READS_TEXT

/* Reads up to the end of a line; returns whether there was one. */
static int read_line(void) {
  int character = getchar(), found = character != EOF;
  for (; character != EOF && character != '\n'; character = getchar()) {
    const char byte = (char)character;
    grunlock_step_text(&state, &byte, 1);
  }
  return found;
}

#else

static int is_space(int character) {
  return character == ' ' || character == '\t' || character == '\r' || character == '\n' || character == EOF;
}

/* Reads up to the end of a line; returns whether there was one. */
static int read_line(void) {
  float step[GRUNLOCK_NUM_CHANNELS];
  char number[64];
  int length = 0, channel = 0, character = getchar();
  if (character == EOF) {
    return 0;
  }
  for (;; character = getchar()) {
    if (!is_space(character)) {
      if (length < (int)sizeof number - 1) {
        number[length++] = (char)character;
      }
    } else if (length > 0) {
      number[length] = '\0';
      step[channel++] = strtof(number, NULL);
      length = 0;
    }
    if (channel == GRUNLOCK_NUM_CHANNELS) {
      grunlock_step_values(&state, step);
      channel = 0;
    }
    if (character == '\n' || character == EOF) {
      return 1;
    }
  }
}

#endif

int main(void) {
  float probabilities[GRUNLOCK_NUM_CLASSES];
  grunlock_init(&state);
  while (read_line()) {
    print_answer(grunlock_finish(&state, probabilities), probabilities);
  }
  return 0;
}
