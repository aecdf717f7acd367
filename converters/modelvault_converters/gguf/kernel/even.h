/* Types whose groups have a signed scale: Q3_K and Q6_K. */
#ifndef MODELVAULT_EVEN_H
#define MODELVAULT_EVEN_H

#include "group.h"
#include "search.h"

/* ---- Q3_K: sixteen groups of 16, a signed scale of six bits each ---- */

/* Stored scales (0 … 63 for -32 … 31) by moves, and the unit they share. */
INLINE floats scales_by_moves(group *g, ints *scale)
{
    floats scales[16], size;
    for (int j = 0; j < 16; j++)
        scales[j] = fit_moves(g->x + 16 * j, 16, 4, g->level + 16 * j);
    const floats peak = first_largest(scales, 16, &size);
    const ints some = peak != 0.0f;
    const floats factor = -32.0f / choose(some, peak, all(1.0f));
    for (int j = 0; j < 16; j++) {
        const ints wrapped = nearest(factor * scales[j]) << 24 >> 24;
        scale[j] = some & (clamp(wrapped, -32, 31) + 32);
    }
    return choose(some, 1.0f / factor, all(0.0f));
}

INLINE floats scales_by_importance(group *g, ints *scale)
{
    floats scales[16], sums[16], w[16];
    const floats variance = 2.0f * sum_of_squares(g->x, SUPER) / 256.0f;
    for (int j = 0; j < 16; j++) {
        sums[j] = weigh(g, 16 * j, 16, variance, w);
        const even_fit fit = fit_even(g->x + 16 * j, w, 16, 4.0f);
        scales[j] = fit.scale;
        for (int i = 16 * j; i < 16 * j + 16; i++)
            g->level[i] = even_level(&fit, g->x[i], 4);
    }
    const even_fit fit = fit_even(scales, sums, 16, 32.0f);
    for (int j = 0; j < 16; j++)
        scale[j] = even_level(&fit, scales[j], 32);
    return fit.scale;
}

INLINE void requantize_even(group *g, int start, floats scale, int half)
{
    const ints zero = scale == 0.0f;
    const floats divisor = choose(zero, all(1.0f), scale);
    for (int i = start; i < start + 16; i++) {
        const ints level = clamp(nearest(g->x[i] / divisor), -half, half - 1) + half;
        g->level[i] = choose_int(zero, g->level[i], level);
    }
}

static void quantize_q3(group *g, int weighted)
{
    ints scale[16], bits = {0};
    const floats unit =
        to_half(weighted ? scales_by_importance(g, scale) : scales_by_moves(g, scale), &bits);
    put_half(g->byte + 108, bits);
    for (int j = 0; j < 8; j++)
        g->byte[96 + j] = (scale[j] & 15) | (scale[j + 8] & 15) << 4;
    for (int j = 0; j < 4; j++)
        g->byte[104 + j] = scale[j] >> 4 | scale[j + 4] >> 4 << 2 | scale[j + 8] >> 4 << 4 |
                           scale[j + 12] >> 4 << 6;
    for (int j = 0; j < 16; j++)
        requantize_even(g, 16 * j, unit * to_floats(scale[j] - 32), 4);
    for (int i = 0; i < 32; i++) {
        ints high = {0};
        for (int j = 0; j < 8; j++)
            high |= (g->level[32 * j + i] >> 2) << j;
        g->byte[i] = high;
    }
    for (int i = 0; i < SUPER; i++)
        g->level[i] &= 3;
    pack_twos(g->byte + 32, g->level);
}

/* ---- Q6_K: sixteen groups of 16, a signed scale of eight bits each ---- */

INLINE void even_fits_16(group *g, int weighted, floats *scales)
{
    floats w[16];
    for (int j = 0; j < 16; j++) {
        const floats *const x = g->x + 16 * j;
        for (int i = 0; i < 16; i++)
            w[i] = weighted ? g->importance[16 * j + i] : x[i] * x[i];
        const even_fit fit = fit_even(x, w, 16, 32.0f);
        scales[j] = fit.scale;
        for (int i = 0; i < 16; i++)
            g->level[16 * j + i] = even_level(&fit, x[i], 32);
    }
}

static void quantize_q6(group *g, int weighted)
{
    floats scales[16], size;
    ints bits = {0};
    even_fits_16(g, weighted, scales);
    const floats peak = first_largest(scales, 16, &size);
    const ints zero = size < TINY; /* such a block is all zero bytes */
    const floats factor = -128.0f / choose(zero, all(1.0f), peak);
    const floats unit = to_half(choose(zero, all(0.0f), 1.0f / factor), &bits);
    put_half(g->byte + 208, bits);
    for (int j = 0; j < 16; j++) {
        const ints near = nearest(factor * scales[j]);
        const ints scale = ~zero & choose_int(near > 127, 127 - (ints){0}, near) << 24 >> 24;
        g->byte[192 + j] = scale & 0xff;
        requantize_even(g, 16 * j, unit * to_floats(scale), 32);
    }
    for (int i = 0; i < SUPER; i++)
        g->level[i] &= ~zero;
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 32; i++) {
            const ints *const at = g->level + 128 * n + i;
            g->byte[64 * n + i] = (at[0] & 15) | (at[64] & 15) << 4;
            g->byte[64 * n + 32 + i] = (at[32] & 15) | (at[96] & 15) << 4;
            g->byte[128 + 32 * n + i] = at[0] >> 4 | at[32] >> 4 << 2 | at[64] >> 4 << 4 |
                                        at[96] >> 4 << 6;
        }
}

#endif
