// Work that is longjmp, Wasm's exceptions: `jumps near|far ROUNDS`, from 2 and from 50 calls above setjmp.
#include <setjmp.h>

#include "timed.h"

static jmp_buf place;

__attribute__((noinline)) static uint32_t climb(uint32_t calls, int value) {
    if (calls > 0)
        return climb(calls - 1, value) + 1;
    if (value > 0)
        longjmp(place, value);
    return 0;
}

static uint32_t jumps(uint32_t calls, int rounds) {
    volatile uint32_t sum = 0;
    for (volatile int round = 0; round < rounds; round++) {
        int value = setjmp(place);
        if (!value)
            climb(calls, (round & 7) + 1);
        sum += (uint32_t)value;
    }
    return sum;
}

static uint32_t near(int rounds) { return jumps(2, rounds); }
static uint32_t far(int rounds) { return jumps(50, rounds); }

int main(int count, char **words) {
    const struct work all[] = {{"near", near}, {"far", far}, {NULL, NULL}};
    return timed(all, count, words);
}
