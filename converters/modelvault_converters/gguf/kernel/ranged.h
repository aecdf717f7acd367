/* Types whose groups have a scale and a minimum: Q2_K, Q4_K and Q5_K. */
#ifndef MODELVAULT_RANGED_H
#define MODELVAULT_RANGED_H

#include "group.h"
#include "search.h"

/* Levels under the scales as they were stored; where a stored scale is zero the search's levels
 * stay. */
INLINE void requantize_range(group *g, int start, int count, floats scale, floats least,
                             const range_fit *fit, const range_plan *plan)
{
    const ints zero = scale == 0.0f;
    const floats divisor = choose(zero, all(1.0f), scale);
    for (int i = start; i < start + count; i++)
        g->level[i] = clamp(nearest((g->x[i] + least) / divisor), 0, (int)plan->top);
    if (any(zero))
        for (int i = start; i < start + count; i++)
            g->level[i] = choose_int(zero, fitted_level(fit, g->x[i], plan), g->level[i]);
}

/* Nearest share of `top` of each value's part in the largest, as eight bits. */
INLINE ints share(floats value, floats largest, float top)
{
    const ints some = largest > 0.0f;
    const floats factor = choose(some, top / choose(some, largest, all(1.0f)), all(0.0f));
    return nearest(factor * value) & 0xff;
}

/* ---- Q4_K and Q5_K: eight groups of 32, a scale and a minimum of six bits each ---- */

INLINE void range_fits_32(const group *g, int weighted, range_plan plan, range_fit *fit,
                          floats *sums)
{
    floats w[32];
    const floats variance = 2.0f * sum_of_squares(g->x, SUPER) / 256.0f;
    for (int j = 0; j < 8; j++) {
        const floats *const x = g->x + 32 * j;
        if (weighted) {
            sums[j] = weigh(g, 32 * j, 32, variance, w);
        } else {
            const floats mean = root(sum_of_squares(x, 32) / 32.0f);
            for (int i = 0; i < 32; i++)
                w[i] = mean + magnitude(x[i]);
        }
        fit[j] = fit_range(x, w, 32, plan);
    }
}

/* Scales and minima of eight groups: six bits each, the upper two of the last four apart. */
INLINE void pack_sixes(ints *byte, const ints *scale, const ints *least)
{
    for (int j = 0; j < 4; j++) {
        byte[j] = (scale[j] | scale[j + 4] >> 4 << 6) & 0xff;
        byte[j + 4] = (least[j] | least[j + 4] >> 4 << 6) & 0xff;
        byte[j + 8] = (scale[j + 4] & 15) | (least[j + 4] & 15) << 4;
    }
}

INLINE void range_levels_32(group *g, int weighted, int five)
{
    range_plan plan = {.top = five ? 31 : 15, .from = five ? -0.5f : -1.0f, .step = 0.1f,
                       .trials = five ? 15 : 20};
    if (weighted) {
        plan.from = -0.9f, plan.step = 0.05f, plan.trials = 36, plan.bounded = 1;
    }
    range_fit fit[8];
    floats sums[8], scales[8], leasts[8], most_scale = all(0.0f), most_least = most_scale;
    range_fits_32(g, weighted, plan, fit, sums);
    for (int j = 0; j < 8; j++) {
        scales[j] = fit[j].scale, leasts[j] = fit[j].least;
        most_scale = larger(scales[j], most_scale);
        most_least = larger(leasts[j], most_least);
    }
    ints scale[8], least[8], bits = {0};
    floats unit, unit_least;
    if (weighted) {
        unit = fit_positive(scales, sums, 8, 63, scale);
        unit_least = fit_positive(leasts, sums, 8, 63, least);
    } else {
        for (int j = 0; j < 8; j++) {
            scale[j] = share(scales[j], most_scale, 63.0f);
            least[j] = share(leasts[j], most_least, 63.0f);
        }
        unit = most_scale / 63.0f, unit_least = most_least / 63.0f;
    }
    if (!weighted || five)
        for (int j = 0; j < 8; j++)
            scale[j] = clamp(scale[j], 0, 63), least[j] = clamp(least[j], 0, 63);
    unit = to_half(unit, &bits);
    put_half(g->byte, bits);
    unit_least = to_half(unit_least, &bits);
    put_half(g->byte + 2, bits);
    pack_sixes(g->byte + 4, scale, least);
    const ints *const byte = g->byte + 4;
    for (int j = 0; j < 8; j++) { /* as a reader sees them: wrapped values spill over */
        const ints s = j < 4 ? byte[j] & 63 : (byte[j + 4] & 15) | byte[j - 4] >> 6 << 4;
        const ints m = j < 4 ? byte[j + 4] & 63 : byte[j + 4] >> 4 | byte[j] >> 6 << 4;
        requantize_range(g, 32 * j, 32, unit * to_floats(s), unit_least * to_floats(m), &fit[j],
                         &plan);
    }
}

static void quantize_q4(group *g, int weighted)
{
    if (weighted)
        range_levels_32(g, 1, 0);
    else
        range_levels_32(g, 0, 0);
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 32; i++)
            g->byte[16 + 32 * j + i] = g->level[64 * j + i] | g->level[64 * j + 32 + i] << 4;
}

static void quantize_q5(group *g, int weighted)
{
    if (weighted)
        range_levels_32(g, 1, 1);
    else
        range_levels_32(g, 0, 1);
    for (int i = 0; i < 32; i++) {
        ints high = {0};
        for (int j = 0; j < 8; j++)
            high |= (g->level[32 * j + i] >> 4) << j;
        g->byte[16 + i] = high;
        for (int j = 0; j < 4; j++)
            g->byte[48 + 32 * j + i] =
                (g->level[64 * j + i] & 15) | (g->level[64 * j + 32 + i] & 15) << 4;
    }
}

/* ---- Q2_K: sixteen groups of 16, a scale and a minimum of four bits each ---- */

INLINE void range_levels_16(group *g, int weighted)
{
    range_plan plan = {.top = 3, .from = -0.5f, .step = 0.1f, .trials = 15, .absolute = 1};
    if (weighted)
        plan = (range_plan){.top = 3, .from = -0.9f, .step = 0.05f, .trials = 36, .bounded = 1};
    range_fit fit[16];
    floats w[16], sums[16], scales[16], leasts[16];
    floats most_scale = all(0.0f), most_least = most_scale;
    const floats variance = sum_of_squares(g->x, SUPER) / 256.0f;
    for (int j = 0; j < 16; j++) {
        if (weighted)
            sums[j] = weigh(g, 16 * j, 16, variance, w);
        else
            for (int i = 0; i < 16; i++)
                w[i] = magnitude(g->x[16 * j + i]);
        fit[j] = fit_range(g->x + 16 * j, w, 16, plan);
        scales[j] = fit[j].scale, leasts[j] = fit[j].least;
        most_scale = larger(scales[j], most_scale);
        most_least = larger(leasts[j], most_least);
    }
    ints scale[16], least[16], bits = {0};
    floats unit = most_scale / 15.0f, unit_least = most_least / 15.0f;
    if (weighted) {
        unit = fit_positive(scales, sums, 16, 15, scale);
        unit_least = fit_positive(leasts, sums, 16, 15, least);
    } else {
        for (int j = 0; j < 16; j++) {
            scale[j] = share(scales[j], most_scale, 15.0f);
            least[j] = share(leasts[j], most_least, 15.0f);
        }
    }
    unit = to_half(unit, &bits);
    put_half(g->byte + 80, bits);
    unit_least = to_half(unit_least, &bits);
    put_half(g->byte + 82, bits);
    for (int j = 0; j < 16; j++) {
        const ints both = g->byte[j] = (scale[j] | least[j] << 4) & 0xff;
        requantize_range(g, 16 * j, 16, unit * to_floats(both & 15),
                         unit_least * to_floats(both >> 4), &fit[j], &plan);
    }
}

static void quantize_q2(group *g, int weighted)
{
    if (weighted)
        range_levels_16(g, 1);
    else
        range_levels_16(g, 0);
    pack_twos(g->byte + 16, g->level);
}

#endif
