/* For any processor: four lanes, which SSE2 and NEON have. */
#define LANES 4
#define QUANTIZE quantize_baseline
#define HALVE halve_baseline
#include "blocks.h"
