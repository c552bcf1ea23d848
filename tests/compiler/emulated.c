// Runs a program in its memory, which is read from a file and written back: kernels linked to this (LINKED), or an image of
// them as the loader makes it. The memory holds offsets for addresses. TEAM_… is what stands where in the words of a team.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SIZE, ARENA_SIZE, FRAME, SLOTS, RECORDS, COUNT, THREADS, BASE, CODE_SIZE, NUM_PAGES, RUN, RUN_TEAM, PAGES, HEADER = 32 };
enum { MOST_THREADS = 8 };
typedef int64_t Run(void *frame, void *records, int64_t count);
typedef void RunTeam(void *team, int64_t member);

#ifdef LINKED
extern Run run;
extern RunTeam run_team;
extern int64_t straight(void *frame, int64_t steps) __attribute__((weak));
#include "kernels.h"
#else
static Run *run;
static RunTeam *run_team;
#endif

// What the code may call outside, for the loader.
void *copy(void *to, const void *from, size_t size) { return memcpy(to, from, size); }
void *move(void *to, const void *from, size_t size) { return memmove(to, from, size); }
void *fill(void *to, int byte, size_t size) { return memset(to, byte, size); }

static int64_t team[TEAM_FRAMES + MOST_THREADS] __attribute__((aligned(64)));

static void *member(void *number) {
  run_team(team, (int64_t)number);
  return 0;
}

static int64_t fpcr(void) {
  int64_t now;
  __asm__ volatile("mrs %0, fpcr" : "=r"(now));
  return now;
}

int main(int argc, char **argv) {
  int64_t head[HEADER];
  FILE *file = argc > 1 ? fopen(argv[1], "r+b") : 0;
  if (!file || fread(head, sizeof head, 1, file) != 1) return 2;
  char *memory = aligned_alloc(4096, (head[SIZE] + head[ARENA_SIZE] + 4095) / 4096 * 4096);
  rewind(file);
  if (!memory || fread(memory, head[SIZE], 1, file) != 1) return 3;
  int64_t *frame = (int64_t *)(memory + head[FRAME]), *records = (int64_t *)(memory + head[RECORDS]);
  for (int64_t k = 0; k < head[SLOTS]; k++) frame[k] += (int64_t)memory;
  for (int64_t k = 0; k < head[COUNT]; k++) {
    records[3 * k + 1] += (int64_t)memory;
#ifdef LINKED
    records[3 * k] = (int64_t)kernels[records[3 * k]];
#endif
  }

#ifndef LINKED
  FILE *image = argc > 2 ? fopen(argv[2], "rb") : 0;
  char *base = (char *)head[BASE];
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  if (!image || mmap(base, head[CODE_SIZE], PROT_READ | PROT_WRITE, flags, -1, 0) != base) return 4;
  if (fread(base, head[CODE_SIZE], 1, image) != 1) return 5;
  for (int64_t *page = head + PAGES; page < head + PAGES + 3 * head[NUM_PAGES]; page += 3)
    if (mprotect(base + page[0], page[1] - page[0], page[2])) return 6;
  run = (Run *)head[RUN];
  run_team = (RunTeam *)head[RUN_TEAM];
#endif

  int64_t before = fpcr(), threads = head[THREADS];
  if (threads == 0 && run(frame, records, head[COUNT]) != head[COUNT]) return 7;
  if (threads > 0) {
    pthread_t others[MOST_THREADS];
    team[TEAM_SIZE] = threads;
    team[TEAM_RECORDS] = (int64_t)records;
    team[TEAM_COUNT] = head[COUNT];
    team[TEAM_STEPS] = 1;
    team[TEAM_YIELD] = (int64_t)sched_yield;
    for (int64_t k = 0; k < threads; k++)  // nothing moves: all have one frame
      team[TEAM_FRAMES + k] = (int64_t)frame;
    for (int64_t k = 1; k < threads; k++)
      if (pthread_create(&others[k], 0, member, (void *)k)) return 8;
    run_team(team, 0);
    for (int64_t k = 1; k < threads; k++)
      if (pthread_join(others[k], 0)) return 9;
    if (team[TEAM_DONE] != 1) return 10;
  }
#ifdef LINKED
  if (threads < 0 && (!straight || straight(frame, 1) != 1)) return 11;
#endif
  if (fpcr() != before) return 12;
  rewind(file);
  return fwrite(memory, head[SIZE], 1, file) == 1 && fclose(file) == 0 ? 0 : 13;
}
