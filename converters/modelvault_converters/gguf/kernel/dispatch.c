/* The library's functions: which version it is, which instruction sets there are, what they do. */
#include "kernel.h"

#define EXPORT __attribute__((visibility("default")))

enum { LEVEL_BASELINE, LEVEL_AVX2, LEVEL_AVX512 };

/* Raised when a signature below or a byte of a result changes. */
EXPORT int modelvault_kernel_version(void) { return 1; }

/* The best instruction set of this processor that was compiled in; all below it work too. */
EXPORT int modelvault_best_level(void)
{
#ifdef HAS_LEVELS
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2"))
        return LEVEL_BASELINE;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return LEVEL_AVX512;
    return LEVEL_AVX2;
#else
    return LEVEL_BASELINE;
#endif
}

/* Quantise `blocks` blocks of finite weights into `to`, which holds them all.
 *
 * A block is 256 weights, of TYPE_Q8_0 32. `importance` is one row of `row_blocks` blocks that
 * every row shares, or NULL.
 * Returns 0, or -1 where `type`, `format`, `row_blocks` or `level` is not one of ours. */
EXPORT int modelvault_quantize(int level, int type, const void *weights, int format, uint8_t *to,
                               int64_t blocks, int64_t row_blocks, const float *importance)
{
    quantize_function *quantize = quantize_baseline;
    if (level < 0 || level > modelvault_best_level() || format < FORMAT_F32 ||
        format > FORMAT_F16 || row_blocks < 1)
        return -1;
#ifdef HAS_LEVELS
    if (level == LEVEL_AVX2)
        quantize = quantize_avx2;
    if (level == LEVEL_AVX512)
        quantize = quantize_avx512;
#endif
    return quantize(type, weights, format, to, blocks, row_blocks, importance);
}

/* Round `count` finite weights to half precision. Returns the bits of the largest magnitude
 * written (0x7c00 where one became infinite), or -1 where `format` or `level` is not ours. */
EXPORT int modelvault_halve(int level, const void *weights, int format, uint16_t *to,
                            int64_t count)
{
    halve_function *halve = halve_baseline;
    if (level < 0 || level > modelvault_best_level() || format < FORMAT_F32 ||
        format > FORMAT_F16)
        return -1;
#ifdef HAS_LEVELS
    if (level == LEVEL_AVX2)
        halve = halve_avx2;
    if (level == LEVEL_AVX512)
        halve = halve_avx512;
#endif
    return halve(weights, format, to, count);
}
