/* For processors with AVX-512: sixteen lanes. */
#include "kernel.h"

#ifdef HAS_LEVELS
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#define LANES 16
#define QUANTIZE quantize_avx512
#define HALVE halve_avx512
#include "blocks.h"
#endif
