// A row of a Mandelbrot set of side * side points: how many of its points are inside.
#include <stdint.h>

static inline uint32_t inside_in_row(int row, int side) {
    uint32_t inside = 0;
    for (int column = 0; column < side; column++) {
        double cx = 3.0 * column / side - 2, cy = 2.0 * row / side - 1, x = 0, y = 0;
        int step = 0;
        for (double next; step < 200 && x * x + y * y < 4; step++, x = next) {
            next = x * x - y * y + cx;
            y = 2 * x * y + cy;
        }
        inside += step == 200;
    }
    return inside;
}
