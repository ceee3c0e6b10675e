// Work for a processor alone: `compute fib|mandelbrot|sha256 ROUNDS`.
#include "mandelbrot.h"
#include "timed.h"

static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static uint32_t mandelbrot(int side) {
    uint32_t inside = 0;
    for (int row = 0; row < side; row++)
        inside += inside_in_row(row, side);
    return inside;
}

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

// FIPS 180-4, one block.
static void block(uint32_t state[8], const uint8_t *text, const uint32_t key[64]) {
    uint32_t w[64];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)text[4 * t] << 24 | text[4 * t + 1] << 16 | text[4 * t + 2] << 8 | text[4 * t + 3];
    for (int t = 16; t < 64; t++)
        w[t] = w[t - 16] + (turn(w[t - 15], 7) ^ turn(w[t - 15], 18) ^ w[t - 15] >> 3) + w[t - 7] +
               (turn(w[t - 2], 17) ^ turn(w[t - 2], 19) ^ w[t - 2] >> 10);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
        uint32_t one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + key[t] + w[t];
        uint32_t two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

// The constants are the first bits of the cube roots of primes; the state, of square roots: any would do for the time.
static uint32_t sha256(int kilobytes) {
    static uint8_t text[1024];
    uint32_t key[64], state[8];
    for (uint32_t t = 0; t < 64; t++)
        key[t] = (t + 1) * 0x9e3779b9u;
    for (uint32_t t = 0; t < 8; t++)
        state[t] = (t + 1) * 0x85ebca6bu;
    for (size_t t = 0; t < sizeof text; t++)
        text[t] = (uint8_t)(t * 31);
    for (int n = 0; n < kilobytes; n++)
        for (size_t at = 0; at < sizeof text; at += 64)
            block(state, text + at, key);
    return state[0];
}

static uint32_t fibonacci(int n) { return fib((uint32_t)n); }

int main(int count, char **words) {
    const struct work all[] = {{"fib", fibonacci}, {"mandelbrot", mandelbrot}, {"sha256", sha256}, {NULL, NULL}};
    return timed(all, count, words);
}
