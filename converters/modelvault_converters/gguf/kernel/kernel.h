/* What the instruction sets' files and the dispatcher share. */
#ifndef MODELVAULT_KERNEL_H
#define MODELVAULT_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of ggml's tensor types. */
enum { TYPE_Q8_0 = 8, TYPE_Q2_K = 10, TYPE_Q3_K, TYPE_Q4_K, TYPE_Q5_K, TYPE_Q6_K };

/* How the weights are stored. */
enum { FORMAT_F32, FORMAT_BF16, FORMAT_F16 };

typedef int quantize_function(int type, const void *weights, int format, uint8_t *to,
                              int64_t blocks, int64_t row_blocks, const float *importance);

typedef int halve_function(const void *weights, int format, uint16_t *to, int64_t count);

/* GCC compiles a file for an instruction set that its own target lacks. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_LEVELS 1
#endif

quantize_function quantize_baseline, quantize_avx2, quantize_avx512;
halve_function halve_baseline, halve_avx2, halve_avx512;

#endif
