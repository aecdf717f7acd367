/* One instruction set's functions; the including file sets LANES and their names, QUANTIZE and
 * HALVE. */
#include "even.h"
#include "ranged.h"

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

/* ---- the entries ---- */

/* Round to half precision; returns the largest magnitude's bits, so that infinity is seen. */
int HALVE(const void *weights, int format, uint16_t *to, int64_t count)
{
    const source from = {weights, format, NULL, 1};
    int32_t most = 0;
    for (int64_t start = 0; start < count; start += SUPER) {
        const int length = count - start < SUPER ? (int)(count - start) : SUPER;
        float wide[SUPER] = {0};
        int32_t bits[SUPER], small[SUPER];
        uint16_t half[SUPER];
        widen(wide, &from, start, length);
        memcpy(bits, wide, sizeof bits);
        for (int i = 0; i < SUPER; i++)
            wide[i] = __builtin_fabsf(wide[i]) + 0.5f; /* rounds what becomes subnormal */
        memcpy(small, wide, sizeof small);
        for (int i = 0; i < SUPER; i++) {
            const int32_t size = bits[i] & 0x7fffffff;
            int32_t result = (size - 0x37fff001 + (size >> 13 & 1)) >> 13;
            result = size < 0x38800000 ? small[i] - 0x3f000000 : result;
            result = size < 0x47800000 ? result : 0x7c00;
            most = result > most ? result : most;
            half[i] = (uint16_t)(result | (bits[i] >> 16 & 0x8000));
        }
        memcpy(to + start, half, (size_t)length * 2);
    }
    return most;
}

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
