/* LANES super-blocks of 256 weights: from the source into lanes, and as bytes out of them. */
#ifndef MODELVAULT_GROUP_H
#define MODELVAULT_GROUP_H

#include "kernel.h"
#include "lanes.h"

#define SUPER 256

typedef struct {
    floats x[SUPER];
    floats importance[SUPER];
    ints level[SUPER];
    ints byte[212]; /* the blocks, byte by byte; one lane a block */
} group;

typedef struct {
    const void *weights;
    int format;
    const float *importance; /* one row of it, or NULL */
    int64_t row_blocks;
} source;

static void gather_floats(floats *to, const float *from, int lane)
{
    float *const place = (float *)to + lane;
    for (int i = 0; i < SUPER; i++)
        place[i * LANES] = from[i];
}

/* `count` weights, SUPER at most, as floats. */
static void widen(float *to, const source *from, int64_t first, int count)
{
    const char *const place = from->weights;
    if (from->format == FORMAT_F32) {
        memcpy(to, place + first * 4, (size_t)count * 4);
        return;
    }
    uint16_t half[SUPER];
    memcpy(half, place + first * 2, (size_t)count * 2);
    if (from->format == FORMAT_BF16) {
        uint32_t wide[SUPER];
        for (int i = 0; i < count; i++)
            wide[i] = (uint32_t)half[i] << 16;
        memcpy(to, wide, (size_t)count * 4);
    } else {
        for (int i = 0; i < count; i++)
            to[i] = half_value(half[i]);
    }
}

/* Lay `count` super-blocks into lanes; lanes beyond are zero. */
static void gather(group *g, const source *from, int64_t block, int count)
{
    float wide[SUPER];
    for (int lane = 0; lane < LANES; lane++) {
        const int64_t here = block + lane;
        if (lane < count)
            widen(wide, from, here * SUPER, SUPER);
        else
            memset(wide, 0, sizeof wide);
        gather_floats(g->x, wide, lane);
        if (from->importance) {
            if (lane < count)
                memcpy(wide, from->importance + here % from->row_blocks * SUPER, sizeof wide);
            gather_floats(g->importance, wide, lane);
        }
    }
}

/* Write the first `count` lanes of `size` bytes each. */
static void scatter(uint8_t *to, const ints *byte, int size, int count)
{
    ints word[53];
    for (int i = 0; i < size / 4; i++)
        word[i] = byte[4 * i] | byte[4 * i + 1] << 8 | byte[4 * i + 2] << 16 | byte[4 * i + 3] << 24;
    if (size % 4)
        word[size / 4] = byte[size - 2] | byte[size - 1] << 8;
    for (int lane = 0; lane < count; lane++, to += size) {
        for (int i = 0; i < size / 4; i++)
            memcpy(to + 4 * i, (const int32_t *)&word[i] + lane, 4);
        if (size % 4) {
            const uint16_t tail = (uint16_t)((const int32_t *)&word[size / 4])[lane];
            memcpy(to + size - 2, &tail, 2);
        }
    }
}

INLINE void put_half(ints *byte, ints bits)
{
    byte[0] = bits & 0xff;
    byte[1] = bits >> 8;
}

INLINE floats sum_of_squares(const floats *x, int count)
{
    floats sum = all(0.0f);
    for (int i = 0; i < count; i++)
        sum += x[i] * x[i];
    return sum;
}

/* Importance of each of `count` weights, spread by how large the weight is in its block. */
INLINE floats weigh(const group *g, int start, int count, floats variance, floats *w)
{
    floats sum = all(0.0f);
    for (int i = 0; i < count; i++) {
        const floats x = g->x[start + i];
        w[i] = g->importance[start + i] * root(variance + x * x);
        sum += w[i];
    }
    return sum;
}

/* Four planes of two bits in a byte: bits of weights 32 apart, twice. */
INLINE void pack_twos(ints *byte, const ints *two)
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 32; i++) {
            const ints *const at = two + 128 * half + i;
            byte[32 * half + i] = at[0] | at[32] << 2 | at[64] << 4 | at[96] << 6;
        }
}

#endif
