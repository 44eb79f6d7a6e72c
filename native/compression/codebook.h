// Preparing a codebook for nearest-centroid search, without an array of [weights x K].
//
// The distance is fl(|w - c|) in f32 and ties go to the lowest index, as in the reference. The centroids are sorted and
// made unique once per call. Between two neighbours a < b the decision flips exactly once as w grows, because the
// rounded distance to a never falls and that to b never rises; the smallest w that goes to b is found by bisection over
// the floats and becomes a threshold. Searching then means counting thresholds <= w: no distance, no rounding, no tie.
//
// This is exact as long as a centroid farther away on the same side is farther after rounding too. Where the spacing of
// the codebook is below the rounding of the distance (a huge weight, or two centroids an ulp apart), it is not; such
// weights are beyond `limit` and take nearest_exact.
#pragma once

#include <cstddef>

#include "simd/compression_kernels.h"

namespace pcqat {

// Bytes that prepare_codebook needs, 64-byte aligned. `channels` = 0: one codebook of k centroids, else [channels, k].
size_t codebook_bytes(int64_t k, int64_t channels);

// `centroids` must stay alive as long as the result is used. Every index the search yields is in [0, k), whatever the
// centroids are (also NaN).
Codebook prepare_codebook(const float* centroids, int64_t k, int64_t channels, void* memory);

// Nearest centroid of any weight: binary search, then the lowest index among all centroids at that distance. NaN: 0.
int32_t nearest_exact(const Codebook& codebook, int64_t row, float w);

}  // namespace pcqat
