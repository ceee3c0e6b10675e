// Work that is memory: `memory copy|table|matrix ROUNDS`.
#include "timed.h"

enum { ROOM = 1 << 16 };

// Thousands of small copies, of lengths that no compiler knows, which clang makes Wasm's memory.copy of.
static uint32_t copy(int rounds) {
    static uint8_t from[ROOM], to[ROOM];
    uint32_t sum = 0, seed = 1;
    for (size_t n = 0; n < ROOM; n++)
        from[n] = (uint8_t)(n * 7);
    for (int round = 0; round < rounds; round++)
        for (int n = 0; n < 1000; n++) {
            uint32_t number = next(&seed);
            memcpy(to + (number & 0xff00) / 2, from + (number & 0xff) * 64, 16 + (number >> 16));
            sum += to[number & 0x7fff];
        }
    return sum;
}

// Counts words of 20 bits in an open hash table of 8 MB: loads and stores all over the memory.
static uint32_t table(int rounds) {
    enum { PLACES = 1 << 20 };
    static uint32_t keys[PLACES], counts[PLACES];
    uint32_t seed = 1, sum = 0;
    for (int round = 0; round < rounds * 1000; round++) {
        uint32_t key = (next(&seed) & 0x7ffff) + 1, at = key * 2654435761u >> 12;
        while (keys[at] && keys[at] != key)
            at = (at + 1) & (PLACES - 1);
        keys[at] = key;
        sum += ++counts[at];
    }
    return sum;
}

// The product of two matrices of 200 x 200 numbers of 64 bits.
static uint32_t matrix(int rounds) {
    enum { SIDE = 200 };
    static double a[SIDE][SIDE], b[SIDE][SIDE], product[SIDE][SIDE];
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++)
            a[row][column] = row + column, b[row][column] = row - column;
    for (int round = 0; round < rounds; round++) {
        for (int row = 0; row < SIDE; row++)
            for (int column = 0; column < SIDE; column++) {
                double sum = 0;
                for (int n = 0; n < SIDE; n++)
                    sum += a[row][n] * b[n][column];
                product[row][column] = sum;
            }
        a[1][1] = product[3][3] / 1e9;
    }
    return (uint32_t)(int32_t)product[5][7];
}

int main(int count, char **words) {
    const struct work all[] = {{"copy", copy}, {"table", table}, {"matrix", matrix}, {NULL, NULL}};
    return timed(all, count, words);
}
