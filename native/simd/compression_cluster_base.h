// What every fused clustering does before and after its search, on AVX-512. Part of compression_cluster.h.

// Takes masked weights and gives indices and used weights, sixteen at a time. `extremes` of the weights, whose nearest
// centroids are the extremes of the used centroids, because the nearest centroid never falls as w grows.
struct ClusterPass {
  const ClusterBlock b;  // a copy, which no store can change
  const bool stream;     // where all that is streamed reaches a cache line's end together
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i largest = _mm512_setzero_si512();
  __m512 low = _mm512_set1_ps(__builtin_inff()), high = _mm512_set1_ps(-__builtin_inff());
  __m512i broken = _mm512_setzero_si512(), last_index = _mm512_setzero_si512();

  explicit ClusterPass(const ClusterBlock& block)
      : b(block),
        stream(block.stream && (block.indices == nullptr ||
                                ((reinterpret_cast<uintptr_t>(block.used) ^ reinterpret_cast<uintptr_t>(block.indices)) & 63) == 0)) {}

  static constexpr int64_t kAhead = 1024;  // weights

  template <bool whole>
  __attribute__((always_inline)) __m128i mask_bytes(int64_t i, __mmask16 lanes) const {
    return whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(b.mask + i)) : _mm_maskz_loadu_epi8(lanes, b.mask + i);
  }

  // Weights i to i + 15, masked, of which `lanes` count.
  template <bool whole>
  __attribute__((always_inline)) __m512 take(int64_t i, __mmask16 lanes) {
    __mmask16 keep = lanes;
    if (b.mask != nullptr) {
      const __m128i bytes = mask_bytes<whole>(i, lanes);
      keep = _mm_test_epi8_mask(bytes, bytes);
    }
    __m512 w = whole ? _mm512_loadu_ps(b.weight + i) : _mm512_maskz_loadu_ps(lanes, b.weight + i);
    // Far enough ahead for memory, and harmless beyond the end.
    if (whole) {
      _mm_prefetch(reinterpret_cast<const char*>(b.weight + i + kAhead), _MM_HINT_T0);
      if (b.mask != nullptr) _mm_prefetch(reinterpret_cast<const char*>(b.mask + i + kAhead), _MM_HINT_T0);
    }
    // Keeps the compiler from loading under the mask: that would wait for the mask, which halves the rate.
    __asm__("" : "+v"(w));
    w = _mm512_maskz_mov_ps(keep, w);
    low = _mm512_mask_min_ps(low, lanes, low, w);
    high = _mm512_mask_max_ps(high, lanes, high, w);
    largest = _mm512_maskz_max_epu32(0xffff, largest, _mm512_and_si512(_mm512_castps_si512(w), magnitude));
    return w;
  }

  // What goes to memory must be 0 where the mask is, with an index of the codebook. Gathers bits that are not as they should
  // be: instructions on masks would cost more than all the rest.
  template <bool whole>
  __attribute__((always_inline)) void give(int64_t i, __mmask16 lanes, __m512i index, __m512i used) {
    constexpr int kBoth = 0xf0 | (0xcc & 0xaa);  // a | (b & c)
    if (b.mask != nullptr) {
      const __m128i bytes = mask_bytes<whole>(i, lanes);
      broken = _mm512_mask_ternarylogic_epi32(broken, _mm_testn_epi8_mask(bytes, bytes) & lanes, used, magnitude, kBoth);
    }
    last_index = _mm512_mask_max_epu32(last_index, lanes, last_index, index);
    if (b.indices == nullptr && whole)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(b.small_indices + i), _mm512_maskz_cvtepi32_epi8(0xffff, index));
    else if (b.indices == nullptr)
      _mm512_mask_cvtepi32_storeu_epi8(b.small_indices + i, lanes, index);  // slow, but rare
    else if (whole && stream)
      _mm512_stream_si512(reinterpret_cast<__m512i*>(b.indices + i), index);
    else
      _mm512_mask_storeu_epi32(b.indices + i, lanes, index);
    if (whole && stream)
      _mm512_stream_si512(reinterpret_cast<__m512i*>(b.used + i), used);
    else
      _mm512_mask_storeu_epi32(b.used + i, lanes, used);
  }

  // Calls whole(i, vectors) once and part(i, lanes) for what lies before and behind: streams write whole cache lines.
  template <typename Whole, typename Part>
  __attribute__((always_inline)) void walk(int64_t count, Whole&& whole, Part&& part) const {
    const auto first = [](int64_t lanes) { return static_cast<__mmask16>((1u << lanes) - 1); };
    int64_t i = 0;
    const int64_t head = -(reinterpret_cast<int64_t>(b.used) / 4) & 15;
    if (stream && head != 0) {
      i = head < count ? head : count;
      part(0, first(i));
    }
    const int64_t vectors = (count - i) / 16;
    if (vectors > 0) whole(i, vectors);
    i += 16 * vectors;
    if (i < count) part(i, first(count - i));
    if (stream) _mm_sfence();
  }

  // Whether the thresholds decide for all weights, and every promise holds. If not, nothing that was written counts.
  bool finish(float* lowest, float* highest) const {
    float lows[16], highs[16], magnitudes[16];
    _mm512_storeu_ps(lows, low);
    _mm512_storeu_ps(highs, high);
    _mm512_storeu_si512(magnitudes, largest);
    *lowest = lows[0];
    *highest = highs[0];
    const __mmask16 beyond = _mm512_cmpge_epu32_mask(last_index, _mm512_set1_epi32(static_cast<int32_t>(b.book->k)));
    bool safe = (_mm512_test_epi32_mask(broken, broken) | beyond) == 0;
    for (int lane = 0; lane < 16; ++lane) {
      *lowest = lows[lane] < *lowest ? lows[lane] : *lowest;
      *highest = highs[lane] > *highest ? highs[lane] : *highest;
      safe = safe && magnitudes[lane] <= b.book->limit[0];  // not for a NaN, whose bits are above those of every number
    }
    return safe;
  }
};
