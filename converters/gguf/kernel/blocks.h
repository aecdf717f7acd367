/* From weights to blocks, LANES super-blocks of 256 weights at a time.
 *
 * The including file sets LANES and QUANTIZE, the name of the function that it defines.
 */
#include "kernel.h"
#include "search.h"

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

/* Four planes of two bits in a byte: bits of weights 32 apart, twice. */
INLINE void pack_twos(ints *byte, const ints *two)
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 32; i++) {
            const ints *const at = two + 128 * half + i;
            byte[32 * half + i] = at[0] | at[32] << 2 | at[64] << 4 | at[96] << 6;
        }
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

/* ---- Q8_0: blocks of 32 with one scale; rounded half away from zero ---- */

static void quantize_q8(uint8_t *to, const float *x, int blocks)
{
    for (int start = 0; start < 32 * blocks; start += 32, to += 34) {
        int32_t bits[32], most = 0;
        memcpy(bits, x + start, sizeof bits);
        for (int i = 0; i < 32; i++) {
            const int32_t size = bits[i] & 0x7fffffff; /* ordered as the magnitudes are */
            most = size > most ? size : most;
        }
        float largest;
        memcpy(&largest, &most, sizeof largest);
        const float scale = largest / 127.0f;
        const float factor = scale != 0.0f ? 1.0f / scale : 0.0f;
        const uint16_t half = half_bits(scale);
        memcpy(to, &half, 2);
        int32_t level[32] = {0};
        if (factor <= 0x1.fffffep127f) /* for a subnormal scale it is infinite: levels are 0 */
            for (int i = 0; i < 32; i++) {
                const float value = x[start + i] * factor;
                const int32_t whole = (int32_t)value;
                const float rest = value - (float)whole;
                level[i] = whole + (rest >= 0.5f) - (rest <= -0.5f);
            }
        for (int i = 0; i < 32; i++)
            to[2 + i] = (uint8_t)level[i];
    }
}

/* ---- the entry ---- */

static const struct {
    int type, size;
    void (*quantize)(group *, int weighted);
} kinds[] = {
    {TYPE_Q2_K, 84, quantize_q2},   {TYPE_Q3_K, 110, quantize_q3}, {TYPE_Q4_K, 144, quantize_q4},
    {TYPE_Q5_K, 176, quantize_q5}, {TYPE_Q6_K, 210, quantize_q6},
};

int QUANTIZE(int type, const void *weights, int format, uint8_t *to, int64_t blocks,
             int64_t row_blocks, const float *importance)
{
    const source from = {weights, format, importance, row_blocks};
    if (type == TYPE_Q8_0) {
        float wide[SUPER];
        for (int64_t block = 0; block < blocks; block += 8, to += 8 * 34) {
            const int count = blocks - block < 8 ? (int)(blocks - block) : 8;
            widen(wide, &from, block * 32, count * 32);
            quantize_q8(to, wide, count);
        }
        return 0;
    }
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        if (kinds[kind].type != type)
            continue;
        group g;
        for (int64_t block = 0; block < blocks; block += LANES) {
            const int count = blocks - block < LANES ? (int)(blocks - block) : LANES;
            gather(&g, &from, block, count);
            kinds[kind].quantize(&g, importance != NULL);
            scatter(to + block * kinds[kind].size, g.byte, kinds[kind].size, count);
        }
        return 0;
    }
    return -1;
}
