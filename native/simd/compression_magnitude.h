// Order statistics of magnitudes (compression/mask.cpp), by their bits: they sort like the numbers. Part of compression_impl.h.

template <typename V>
typename V::I magnitude_of(const float* w) {
  return bits_of<V>(V::load(w)) & V::integers(0x7fffffff);
}

// Adds to the counts and appends what lies between.
void sift_magnitudes(int64_t count, const float* w, int32_t low, int32_t high, MagnitudeSieve* sieve) {
  Counter above, equal;
  Wide::I largest = Wide::integers(0);
  int32_t largest_single = 0;
  int32_t* out = sieve->between + sieve->between_count;
  walk(1, count, [&](auto v, int64_t i, int64_t) {
    using V = decltype(v);
    const auto bits = magnitude_of<V>(w + i);
    above.add<V>(bits >= V::integers(high));
    equal.add<V>(bits == V::integers(low));
    const auto between = (bits > V::integers(low)) & (bits < V::integers(high));
    if constexpr (V::lanes == 1) {
      largest_single = bits > largest_single ? bits : largest_single;
      if (between) *out++ = bits;
    } else {
      largest = bits > largest ? bits : largest;
#if PCQAT_LANES == 16
      const __mmask16 lanes = _mm512_movepi32_mask((__m512i)between);
      // Zeros behind the compressed ones are overwritten by the next. No branch: it would be hard to predict.
      _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(lanes, (__m512i)bits));
      out += __builtin_popcount(lanes);
#else
      if (V::all(~between)) return;
      for (int64_t lane = 0; lane < V::lanes; ++lane) {
        if (between[lane]) *out++ = bits[lane];
      }
#endif
    }
  });
  sieve->above += above.total();
  sieve->equal += equal.total();
  sieve->between_count = out - sieve->between;
  for (int64_t lane = 0; lane < Wide::lanes; ++lane) {
#if PCQAT_LANES == 1
    const int32_t bits = largest;
#else
    const int32_t bits = largest[lane];
#endif
    if (bits > largest_single) largest_single = bits;
  }
  if (largest_single > sieve->largest) sieve->largest = largest_single;
}

void mark_magnitudes(int64_t count, const float* w, int32_t least, uint8_t* mask) {
  walk(1, count, [&](auto v, int64_t i, int64_t) {
    using V = decltype(v);
    const auto kept = magnitude_of<V>(w + i) >= V::integers(least);
    if constexpr (V::lanes == 1) {
      mask[i] = kept;
    } else {
#if PCQAT_LANES == 16
      _mm_storeu_si128(reinterpret_cast<__m128i*>(mask + i), _mm_maskz_set1_epi8(_mm512_movepi32_mask((__m512i)kept), 1));
#else
      for (int64_t lane = 0; lane < V::lanes; ++lane) mask[i + lane] = kept[lane] & 1;
#endif
    }
  });
}
