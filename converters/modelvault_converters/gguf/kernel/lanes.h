/* Vectors of LANES floats: one lane for each of LANES super-blocks that are quantised together.
 *
 * GCC's vector types give the arithmetic. What they lack in C (minimum, maximum, "is any lane
 * set") is written here for each instruction set, and portably for the rest. The including file
 * sets LANES to what one register of its instruction set holds.
 *
 * Every operation is IEEE single precision, rounded on its own: the build forbids contraction
 * into fused multiply-add, on which the equality of bytes depends.
 */
#ifndef MODELVAULT_LANES_H
#define MODELVAULT_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE floats all(float value) { return value - (floats){0}; }

INLINE floats choose(ints mask, floats yes, floats no)
{
    return (floats)((mask & (ints)yes) | (~mask & (ints)no));
}

INLINE ints choose_int(ints mask, ints yes, ints no) { return (mask & yes) | (~mask & no); }

INLINE floats magnitude(floats value) { return (floats)((ints)value & 0x7fffffff); }

INLINE floats to_floats(ints value) { return __builtin_convertvector(value, floats); }

/* Both return `b` where the operands are equal or one is NaN, as `a < b ? a : b` does. */
#if defined(__AVX512F__)
INLINE floats smaller(floats a, floats b) { return (floats)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE floats larger(floats a, floats b) { return (floats)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE int any(ints mask) { return _mm512_movepi32_mask((__m512i)mask) != 0; }
#elif defined(__AVX2__)
INLINE floats smaller(floats a, floats b) { return (floats)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE floats larger(floats a, floats b) { return (floats)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE int any(ints mask) { return _mm256_movemask_ps((__m256)mask) != 0; }
#elif defined(__SSE2__)
INLINE floats smaller(floats a, floats b) { return (floats)_mm_min_ps((__m128)a, (__m128)b); }
INLINE floats larger(floats a, floats b) { return (floats)_mm_max_ps((__m128)a, (__m128)b); }
INLINE int any(ints mask) { return _mm_movemask_ps((__m128)mask) != 0; }
#else
INLINE floats smaller(floats a, floats b) { return choose(a < b, a, b); }
INLINE floats larger(floats a, floats b) { return choose(a > b, a, b); }
INLINE int any(ints mask)
{
    int32_t found = 0;
    for (int lane = 0; lane < LANES; lane++)
        found |= mask[lane];
    return found != 0;
}
#endif

INLINE floats root(floats value)
{
    floats result = value;
    for (int lane = 0; lane < LANES; lane++)
        result[lane] = __builtin_sqrtf(value[lane]);
    return result;
}

/* Adding 1.5 * 2^23 leaves a float no bits for a fraction: the sum's low bits are the nearest
 * integer, ties to even. */
#define MAGIC 12582912.0f

/* The nearest integer as the low bits of the sum tell it, whatever the value: beyond 2^22 the
 * answer is meaningless, and the format's bytes are defined by that meaningless answer. */
INLINE ints nearest(floats value)
{
    return ((ints)(value + MAGIC) & 0x007fffff) - 0x00400000;
}

INLINE ints clamp(ints value, int low, int high)
{
    ints least = low - (ints){0}, most = high - (ints){0};
    least = choose_int(value < least, least, value);
    return choose_int(least > most, most, least);
}

/* nearest() and clamp() for values within 2^22, without leaving floating point. */
INLINE floats near_level(floats value, float low, float high)
{
    const floats rounded = (value + MAGIC) - MAGIC;
    return smaller(larger(rounded, all(low)), all(high));
}

/* Half precision, rounded half to even; beyond its end infinity. */
INLINE uint16_t half_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t size = bits & 0x7fffffffu;
    if (size > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (size >= 0x47800000u)
        return (uint16_t)(sign | 0x7c00u);
    if (size < 0x38800000u) { /* subnormal: let the adder do the shift and the rounding */
        float small, offset = 0.5f;
        memcpy(&small, &size, sizeof small);
        small += offset;
        memcpy(&size, &small, sizeof size);
        return (uint16_t)(sign | (size - 0x3f000000u));
    }
    size += 0xc8000fffu + (size >> 13 & 1u);
    return (uint16_t)(sign | size >> 13);
}

INLINE float half_value(uint16_t half)
{
    union {
        uint32_t bits;
        float value;
    } wide = {.bits = (uint32_t)(half & 0x7fffu) << 13};
    if (wide.bits >= 0x0f800000u) /* infinity and NaN */
        wide.bits |= 0x7f800000u;
    else
        wide.value *= 0x1p112f; /* exact: moves the exponent, subnormal or not */
    wide.bits |= (uint32_t)(half & 0x8000u) << 16;
    return wide.value;
}

/* Round each lane to half precision; the bits go to `bits`. */
INLINE floats to_half(floats value, ints *bits)
{
    floats result = value;
    for (int lane = 0; lane < LANES; lane++) {
        const uint16_t half = half_bits(value[lane]);
        (*bits)[lane] = half;
        result[lane] = half_value(half);
    }
    return result;
}

#endif
