/* The processor's peak, from registers alone: the outside check of what `windtunnel bench` calls the peak.
 *
 *   gcc -O2 -pthread benches/peers/peak.c -o peak && ./peak [THREADS]
 *
 * Each thread keeps 12 independent accumulators in flight (a latency of 4 times two units needs 8) and
 * touches no memory. Prints one JSON object: GFLOP/s of all threads together, the best of five passes; a multiply-add
 * is two operations, a bf16 dot product of pairs four in each 32-bit lane; 0 where there is no such unit. */
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAYS = 12, ROUNDS = 20 * 1000 * 1000, PASSES = 5 };

/* One kernel: ROUNDS times WAYS independent multiply-adds. The empty assembly holds the compiler to one
 * instruction each; their sum goes out so that none is dropped. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(i) a##i = start,
#define STEP(i) a##i = MULTIPLY_ADD(a##i, x); __asm__("" : "+v"(a##i));
#define ADD(i) + a##i[0]
#define KERNEL(name, isa, vec, multiplicand, set)                         \
    __attribute__((target(isa))) static void *name(void *sum) {           \
        vec start = set(0.5f), EACH(START) x_bits = set(1e-3f);           \
        multiplicand x = (multiplicand)x_bits;                            \
        for (int round = 0; round < ROUNDS; round++) { EACH(STEP) }       \
        *(float *)sum = 0.0f EACH(ADD);                                   \
        return NULL;                                                      \
    }

#define MULTIPLY_ADD(a, x) _mm256_fmadd_ps(x, x, a)
KERNEL(avx2_f32, "avx2,fma", __m256, __m256, _mm256_set1_ps)
#undef MULTIPLY_ADD
#define MULTIPLY_ADD(a, x) _mm512_fmadd_ps(x, x, a)
KERNEL(avx512_f32, "avx512f", __m512, __m512, _mm512_set1_ps)
#undef MULTIPLY_ADD
#define MULTIPLY_ADD(a, x) _mm512_dpbf16_ps(a, x, x)
KERNEL(avx512_bf16, "avx512f,avx512bf16", __m512, __m512bh, _mm512_set1_ps)

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double gflops(void *(*kernel)(void *), int threads, double flops_per_op) {
    double best = 0;
    pthread_t *ids = malloc(threads * sizeof *ids);
    float *sums = malloc(threads * sizeof *sums);
    if (!ids || !sums) exit(1);
    for (int pass = 0; pass < PASSES; pass++) {
        double from = seconds();
        for (int i = 0; i < threads; i++)
            if (pthread_create(&ids[i], NULL, kernel, &sums[i])) exit(1);
        for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
        double rate = flops_per_op * WAYS * ROUNDS * threads / (seconds() - from) / 1e9;
        if (rate > best) best = rate;
    }
    free(ids), free(sums);
    return best;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1) return fprintf(stderr, "%s: THREADS must be 1 or more\n", argv[1]), 2;
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = __builtin_cpu_supports("avx512f"), bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    printf("{\"threads\":%d,\"avx2_f32\":%.1f,\"avx512_f32\":%.1f,\"avx512_bf16\":%.1f}\n", threads,
           avx2 ? gflops(avx2_f32, threads, 16) : 0, avx512 ? gflops(avx512_f32, threads, 32) : 0,
           bf16 ? gflops(avx512_bf16, threads, 64) : 0);
    return 0;
}
