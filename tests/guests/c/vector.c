// Work for SIMD, 16 bytes at once: `vector chacha|floats ROUNDS`.
#include "timed.h"

#ifdef __wasm__
#define SIMD __attribute__((target("simd128")))
#else
#define SIMD
#endif

typedef uint32_t words4 __attribute__((vector_size(16)));
typedef float floats4 __attribute__((vector_size(16)));

#define TURN(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define HALF(n, m) a += b, d ^= a, d = TURN(d, n), c += d, b ^= c, b = TURN(b, m)
#define QUARTERS HALF(16, 12), HALF(8, 7)

// ChaCha20 (RFC 8439), a thousand blocks a round, a row of the state in each vector.
SIMD static uint32_t chacha(int rounds) {
    words4 state[] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}, {13, 14, 15, 16}}, sum = {0};
    for (int block = 0; block < rounds * 1000; block++, state[3][0]++) {
        words4 a = state[0], b = state[1], c = state[2], d = state[3];
        for (int n = 0; n < 10; n++) {
            QUARTERS;
            b = __builtin_shufflevector(b, b, 1, 2, 3, 0), c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
            d = __builtin_shufflevector(d, d, 3, 0, 1, 2);
            QUARTERS;
            b = __builtin_shufflevector(b, b, 3, 0, 1, 2), c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
            d = __builtin_shufflevector(d, d, 1, 2, 3, 0);
        }
        sum += a + b + c + d + state[0] + state[1] + state[2] + state[3];
    }
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
}

// A filter over 4,096 numbers of 32 bits, a thousand times a round.
SIMD static uint32_t floats(int rounds) {
    enum { COUNT = 1024 };
    static floats4 in[COUNT], kept[COUNT];
    floats4 sum = {0};
    for (int n = 0; n < COUNT; n++)
        in[n] = (floats4){(float)n, (float)(n + 1), (float)(n + 2), (float)(n + 3)};
    for (int round = 0; round < rounds * 1000; round++)
        for (int n = 0; n < COUNT; n++)
            kept[n] = kept[n] * 0.99f + in[n] * 0.001f, sum = sum * 0.5f + kept[n];
    return (uint32_t)(sum[0] + sum[1] + sum[2] + sum[3]);
}

int main(int count, char **words) {
    const struct work all[] = {{"chacha", chacha}, {"floats", floats}, {NULL, NULL}};
    return timed(all, count, words);
}
