/* For processors with AVX2: eight lanes. */
#include "kernel.h"

#ifdef HAS_LEVELS
#pragma GCC target("avx2")
#define LANES 8
#define QUANTIZE quantize_avx2
#define HALVE halve_avx2
#include "blocks.h"
#endif
