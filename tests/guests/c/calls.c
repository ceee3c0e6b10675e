// Work that is calls: `calls recursion|shapes|sort|trees ROUNDS`.
#include "timed.h"

// Ackermann's function of 3 and `n`: calls, and some thousand of them deep.
static uint32_t ackermann(uint32_t m, uint32_t n) {
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static uint32_t recursion(int n) { return ackermann(3, (uint32_t)n); }

// Objects with a method each, as C++ and Go have them: a call through a pointer.
struct shape {
    uint32_t (*area)(const struct shape *, uint32_t);
    uint32_t a, b;
};

static uint32_t square(const struct shape *shape, uint32_t more) { return shape->a * shape->a + more; }
static uint32_t rectangle(const struct shape *shape, uint32_t more) { return shape->a * shape->b ^ more; }
static uint32_t triangle(const struct shape *shape, uint32_t more) { return shape->a * shape->b / 2 - more; }

static uint32_t shapes(int rounds) {
    enum { COUNT = 4096 };
    static struct shape all[COUNT];
    uint32_t (*const areas[])(const struct shape *, uint32_t) = {square, rectangle, triangle};
    uint32_t seed = 1, sum = 0;
    for (int n = 0; n < COUNT; n++)
        all[n] = (struct shape){areas[n % 3], next(&seed) & 1023, next(&seed) & 1023};
    for (int round = 0; round < rounds; round++)
        for (int n = 0; n < COUNT; n++)
            sum += all[n].area(&all[n], sum & 7);
    return sum;
}

static int compare(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

// A heap sort whose comparison is a parameter, as qsort's: the C libraries' own differ.
static void sift(uint32_t *heap, size_t from, size_t count, int (*order)(const void *, const void *)) {
    for (size_t child; (child = 2 * from + 1) < count; from = child) {
        if (child + 1 < count && order(&heap[child], &heap[child + 1]) < 0)
            child++;
        if (order(&heap[from], &heap[child]) >= 0)
            return;
        uint32_t kept = heap[from];
        heap[from] = heap[child], heap[child] = kept;
    }
}

static uint32_t sort(int rounds) {
    enum { COUNT = 1 << 16 };
    static uint32_t heap[COUNT];
    int (*volatile order)(const void *, const void *) = compare;
    uint32_t seed = 1, sum = 0;
    for (int round = 0; round < rounds; round++) {
        for (int n = 0; n < COUNT; n++)
            heap[n] = next(&seed);
        for (size_t n = COUNT / 2; n-- > 0;)
            sift(heap, n, COUNT, order);
        for (size_t n = COUNT - 1; n > 0; n--) {
            uint32_t largest = heap[0];
            heap[0] = heap[n], heap[n] = largest;
            sift(heap, 0, n, order);
        }
        sum += heap[COUNT / 3];
    }
    return sum;
}

// Trees of 32,767 nodes that are made, walked and freed.
struct node {
    struct node *left, *right;
};

static struct node *made(int depth) {
    struct node *node = malloc(sizeof *node);
    if (!node)
        exit(3);
    *node = depth ? (struct node){made(depth - 1), made(depth - 1)} : (struct node){NULL, NULL};
    return node;
}

static uint32_t counted(const struct node *node) { return node ? 1 + counted(node->left) + counted(node->right) : 0; }

static void freed(struct node *node) {
    if (!node)
        return;
    freed(node->left);
    freed(node->right);
    free(node);
}

static uint32_t trees(int rounds) {
    uint32_t sum = 0;
    for (int round = 0; round < rounds; round++) {
        struct node *tree = made(14);
        sum += counted(tree);
        freed(tree);
    }
    return sum;
}

int main(int count, char **words) {
    const struct work all[] = {{"recursion", recursion}, {"shapes", shapes}, {"sort", sort}, {"trees", trees}, {NULL, NULL}};
    return timed(all, count, words);
}
