/* The four searches behind the K types, each for LANES super-blocks at once.
 *
 * A search gets `count` vectors: element i of LANES sub-blocks. Lanes never meet, and within a
 * lane every sum runs in element order, so each lane computes what a scalar program would.
 * Counts, bounds and steps are constants where a search is called, and fold away.
 *
 * docs/formats/quantisation.md describes the algorithms.
 */
#ifndef MODELVAULT_SEARCH_H
#define MODELVAULT_SEARCH_H

#include "lanes.h"

#define TINY 1e-15f  /* a group that nowhere exceeds this counts as zero */
#define EXACT 4194304.0f /* 2^22: up to here near_level() and nearest() agree */

/* Levels of a range fit: scale * level - least. */
typedef struct {
    floats scale, least;
    floats factor, base; /* the trial that won: level = nearest(factor * (x - base)) */
    ints flat;           /* all weights equal: every level is 0 */
    ints first;          /* the first guess was never beaten */
} range_fit;

typedef struct {
    float top;        /* highest level */
    float from, step; /* trial i spreads (from + step * i + top) levels over the range */
    int trials;
    int absolute;     /* weigh |error| instead of its square */
    int bounded;      /* a trial's level is bounded before it is rounded */
} range_plan;

INLINE floats range_level(floats value, const range_plan *plan, int exact, int trial)
{
    if (exact)
        return near_level(value, 0.0f, plan->top);
    if (plan->bounded && trial) {
        const floats level = to_floats(nearest(smaller(value, all(plan->top))));
        return choose(value > 0.0f, level, all(0.0f));
    }
    return to_floats(clamp(nearest(value), 0, (int)plan->top));
}

/* Whether all of factor * (x - base) stay in the range where near_level() is exact; rounding is
 * monotone, so the two ends decide. */
INLINE int is_exact(floats factor, floats low, floats high, floats base, ints flat)
{
    const ints inside = (magnitude(factor * (low - base)) < EXACT) &
                        (magnitude(factor * (high - base)) < EXACT);
    return !any(~(inside | flat));
}

INLINE floats range_error(const floats *x, const floats *w, const floats *level, int count,
                          floats scale, floats base, int absolute)
{
    floats sum = all(0.0f);
    for (int i = 0; i < count; i++) {
        const floats error = scale * level[i] + base - x[i];
        sum += w[i] * (absolute ? magnitude(error) : error * error);
    }
    return sum;
}

INLINE void range_levels(const floats *x, floats *level, int count, floats factor, floats base,
                         const range_plan *plan, int exact, int trial)
{
    for (int i = 0; i < count; i++)
        level[i] = range_level(factor * (x[i] - base), plan, exact, trial);
}

/* Least squares of x against w * level: the sums and the fit they lead to. */
INLINE ints solve(const floats *x, const floats *w, const floats *level, int count,
                  floats sum_w, floats sum_x, floats *scale, floats *base)
{
    floats sum_l = all(0.0f), sum_l2 = sum_l, sum_xl = sum_l;
    for (int i = 0; i < count; i++) {
        const floats wl = w[i] * level[i];
        sum_l += wl;
        sum_l2 += wl * level[i];
        sum_xl += wl * x[i];
    }
    const floats divisor = sum_w * sum_l2 - sum_l * sum_l;
    *scale = (sum_w * sum_xl - sum_x * sum_l) / divisor;
    *base = (sum_l2 * sum_x - sum_l * sum_xl) / divisor;
    const ints above = *base > 0.0f;
    *base = choose(above, all(0.0f), *base);
    *scale = choose(above, sum_xl / sum_l2, *scale);
    return divisor > 0.0f;
}

/* Fit levels 0 … top between the smallest weight (0 at most) and the largest. */
INLINE range_fit fit_range(const floats *x, const floats *w, int count, const range_plan plan)
{
    floats low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < count; i++) {
        low = smaller(x[i], low);
        high = larger(x[i], high);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    const floats lowest = low;
    low = choose(low > 0.0f, all(0.0f), low);
    const ints flat = high == low;

    floats level[32];
    range_fit fit = {.flat = flat, .first = flat | ~flat};
    fit.base = low;
    fit.factor = plan.top / choose(flat, all(1.0f), high - low);
    fit.scale = 1.0f / fit.factor;
    floats base = low;
    range_levels(x, level, count, fit.factor, low, &plan,
                 is_exact(fit.factor, lowest, high, low, flat), 0);
    floats best = range_error(x, w, level, count, fit.scale, low, plan.absolute);

    for (int trial = 0; trial <= plan.trials; trial++) {
        const float spread = plan.from + plan.step * (float)trial + plan.top;
        const floats factor = spread / choose(flat, all(1.0f), high - base);
        /* The common case apart, so that neither loop pays for the other. */
        if (__builtin_expect(is_exact(factor, lowest, high, base, flat), 1))
            range_levels(x, level, count, factor, base, &plan, 1, 1);
        else
            range_levels(x, level, count, factor, base, &plan, 0, 1);
        floats new_scale, new_base;
        const ints solved = solve(x, w, level, count, sum_w, sum_x, &new_scale, &new_base);
        const floats error = range_error(x, w, level, count, new_scale, new_base, plan.absolute);
        const ints better = solved & (error < best);
        best = choose(better, error, best);
        fit.scale = choose(better, new_scale, fit.scale);
        fit.factor = choose(better, factor, fit.factor);
        fit.base = choose(better, base, fit.base);
        fit.first &= ~better;
        base = choose(better, new_base, base);
    }
    fit.scale = choose(flat, all(0.0f), fit.scale);
    fit.least = -choose(flat, low, base);
    return fit;
}

/* Level of one element under a finished fit. */
INLINE ints fitted_level(const range_fit *fit, floats x, const range_plan *plan)
{
    const floats value = fit->factor * (x - fit->base);
    const floats level = choose(fit->first, range_level(value, plan, 0, 0),
                                range_level(value, plan, 0, 1));
    return ~fit->flat & __builtin_convertvector(level, ints);
}

/* Levels of a symmetric fit: scale * (level - half). */
typedef struct {
    floats scale;
    floats factor; /* level = half + nearest(factor * x) */
    ints zero;     /* nothing above TINY: every level is 0 */
} even_fit;

INLINE floats first_largest(const floats *x, int count, floats *size)
{
    floats peak = all(0.0f);
    *size = peak;
    for (int i = 0; i < count; i++) {
        const ints larger_one = magnitude(x[i]) > *size;
        *size = choose(larger_one, magnitude(x[i]), *size);
        peak = choose(larger_one, x[i], peak);
    }
    return peak;
}

INLINE void even_sums(const floats *x, const floats *w, int count, floats factor, float half,
                      floats *sum_xl, floats *sum_l2)
{
    *sum_xl = *sum_l2 = all(0.0f);
    for (int i = 0; i < count; i++) {
        const floats level = near_level(factor * x[i], -half, half - 1.0f);
        *sum_xl += w[i] * x[i] * level;
        *sum_l2 += w[i] * level * level;
    }
}

/* Fit levels -half … half - 1 around zero, so that the largest weight gets -half. */
INLINE even_fit fit_even(const floats *x, const floats *w, int count, float half)
{
    floats size, sum_xl, sum_l2;
    floats peak = first_largest(x, count, &size);
    const ints zero = size < TINY;
    peak = choose(zero, all(1.0f), peak);
    even_fit fit = {.zero = zero, .factor = -half / peak};
    even_sums(x, w, count, fit.factor, half, &sum_xl, &sum_l2);
    fit.scale = choose(sum_l2 != 0.0f, sum_xl / sum_l2, all(0.0f));
    floats best = fit.scale * sum_xl;
    for (int trial = -9; trial <= 9; trial++) {
        if (trial == 0)
            continue;
        const floats factor = -(half + 0.1f * (float)trial) / peak;
        even_sums(x, w, count, factor, half, &sum_xl, &sum_l2);
        const ints better = (sum_l2 > 0.0f) & (sum_xl * sum_xl > best * sum_l2);
        const floats scale = sum_xl / sum_l2;
        fit.scale = choose(better, scale, fit.scale);
        fit.factor = choose(better, factor, fit.factor);
        best = choose(better, scale * sum_xl, best);
    }
    fit.scale = choose(zero, all(0.0f), fit.scale);
    return fit;
}

INLINE ints even_level(const even_fit *fit, floats x, int half)
{
    return ~fit->zero & (clamp(nearest(fit->factor * x), -half, half - 1) + half);
}

/* Fit three-bit levels by moving one at a time, up to five rounds; returns the scale. The
 * weight of an element is its square. */
INLINE floats fit_moves(const floats *x, int count, int half, ints *level)
{
    floats size, sum_xl = all(0.0f), sum_l2 = sum_xl;
    floats peak = first_largest(x, count, &size);
    const ints zero = size < TINY;
    const floats factor = (float)-half / choose(zero, all(1.0f), peak);
    for (int i = 0; i < count; i++) {
        level[i] = clamp(nearest(factor * x[i]), -half, half - 1);
        const floats w = x[i] * x[i], l = to_floats(level[i]);
        sum_xl += w * x[i] * l;
        sum_l2 += w * l * l;
    }
    for (int round = 0; round < 5; round++) {
        ints moved = {0};
        for (int i = 0; i < count; i++) {
            const floats w = x[i] * x[i], l = to_floats(level[i]);
            floats xl = sum_xl - w * x[i] * l, l2 = sum_l2 - w * l * l;
            const ints moves = clamp(nearest(x[i] * l2 / xl), -half, half - 1);
            const floats m = to_floats(moves);
            ints better = (xl > 0.0f) & (moves != level[i]);
            xl += w * x[i] * m;
            l2 += w * m * m;
            better &= (l2 > 0.0f) & (xl * xl * sum_l2 > sum_xl * sum_xl * l2);
            level[i] = choose_int(better, moves, level[i]);
            sum_xl = choose(better, xl, sum_xl);
            sum_l2 = choose(better, l2, sum_l2);
            moved |= better;
        }
        if (!any(moved & ~zero)) /* a round without a move repeats itself */
            break;
    }
    for (int i = 0; i < count; i++)
        level[i] = ~zero & (level[i] + half);
    return choose(~zero & (sum_l2 > 0.0f), sum_xl / sum_l2, all(0.0f));
}

/* Fit levels 0 … top to values that ought to be positive; returns the scale. A level is kept in
 * eight unsigned bits, also where a negative value makes it wrap. */
INLINE floats fit_positive(const floats *x, const floats *w, int count, int top, ints *level)
{
    floats peak = all(0.0f);
    for (int i = 0; i < count; i++)
        peak = larger(peak, x[i]);
    const ints zero = peak < TINY;
    peak = choose(zero, all(1.0f), peak);
    floats factor = (float)top / peak, scale = 1.0f / factor, best = all(0.0f);
    for (int i = 0; i < count; i++) {
        const floats error = x[i] - scale * to_floats(nearest(factor * x[i]) & 0xff);
        best += w[i] * error * error;
    }
    for (int trial = -4; trial <= 4; trial++) {
        if (trial == 0)
            continue;
        const floats tried = (0.1f * (float)trial + (float)top) / peak;
        scale = 1.0f / tried;
        floats sum = all(0.0f);
        for (int i = 0; i < count; i++) {
            const ints l = nearest(tried * x[i]);
            const floats bounded = to_floats(choose_int(l > top, top - (ints){0}, l));
            const floats error = x[i] - scale * bounded;
            sum += w[i] * error * error;
        }
        const ints better = sum < best;
        best = choose(better, sum, best);
        factor = choose(better, tried, factor);
    }
    floats sum_xl = all(0.0f), sum_l2 = sum_xl;
    for (int i = 0; i < count; i++) {
        ints l = nearest(factor * x[i]);
        l = choose_int(l > top, top - (ints){0}, l);
        level[i] = l & 0xff;
        sum_xl += w[i] * x[i] * to_floats(l);
        sum_l2 += w[i] * to_floats(l) * to_floats(l);
    }
    for (int round = 0; round < 5; round++) {
        ints moved = {0};
        for (int i = 0; i < count; i++) {
            const floats l = to_floats(level[i]);
            floats xl = sum_xl - w[i] * x[i] * l, l2 = sum_l2 - w[i] * l * l;
            ints moves = nearest(x[i] * l2 / xl);
            moves = choose_int(moves > top, top - (ints){0}, moves);
            const floats m = to_floats(moves);
            ints better = (xl > 0.0f) & (l2 > 0.0f) & (moves != level[i]);
            xl += w[i] * x[i] * m;
            l2 += w[i] * m * m;
            better &= xl * xl * sum_l2 > sum_xl * sum_xl * l2;
            level[i] = choose_int(better, moves & 0xff, level[i]);
            sum_xl = choose(better, xl, sum_xl);
            sum_l2 = choose(better, l2, sum_l2);
            moved |= better;
        }
        if (!any(moved & ~zero)) /* a round without a move repeats itself */
            break;
    }
    for (int i = 0; i < count; i++)
        level[i] &= ~zero;
    return choose(~zero & (sum_l2 > 0.0f), sum_xl / sum_l2, all(0.0f));
}

#endif
