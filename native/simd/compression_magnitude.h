// Order statistics of magnitudes (compression/mask.cpp), by their bits: they sort like the numbers. Part of compression_impl.h.

template <typename V>
typename V::I magnitude_of(const float* w) {
  return bits_of<V>(V::load(w)) & V::integers(0x7fffffff);
}

template <typename V>
struct Sifter {
  typename V::I low, high, above = V::integers(0), equal = V::integers(0), largest = V::integers(0);

  // Appends the magnitudes between at `out` and returns where they end.
  float* run(const float* w, float* out) {
    const auto bits = magnitude_of<V>(w);
    above = V::count(above, bits >= high);
    equal = V::count(equal, bits == low);
    largest = bits > largest ? bits : largest;
    const auto between = (bits > low) & (bits < high);
    if constexpr (V::lanes == 1) {
      if (between) __builtin_memcpy(out++, &bits, sizeof bits);
      return out;
    } else {
#if PCQAT_LANES == 16
      const __mmask16 lanes = _mm512_movepi32_mask((__m512i)between);
      // Zeros behind the compressed ones are overwritten by the next. No branch: it would be hard to predict.
      _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(lanes, (__m512i)bits));
      return out + __builtin_popcount(lanes);
#else
      if (V::all(~between)) return out;
      float magnitudes[V::lanes];
      __builtin_memcpy(magnitudes, &bits, sizeof bits);
      for (int64_t lane = 0; lane < V::lanes; ++lane) {
        if (between[lane]) *out++ = magnitudes[lane];
      }
      return out;
#endif
    }
  }

  void add_to(MagnitudeSieve* sieve) const {
    int32_t above_lanes[V::lanes], equal_lanes[V::lanes], largest_lanes[V::lanes];
    V::store(above_lanes, above);
    V::store(equal_lanes, equal);
    V::store(largest_lanes, largest);
    for (int64_t lane = 0; lane < V::lanes; ++lane) {
      sieve->above += above_lanes[lane];
      sieve->equal += equal_lanes[lane];
      if (largest_lanes[lane] > sieve->largest) sieve->largest = largest_lanes[lane];
    }
  }
};

void sift_magnitudes(int64_t count, const float* w, int32_t low, int32_t high, MagnitudeSieve* sieve) {
  Sifter<Wide> wide{Wide::integers(low), Wide::integers(high)};
  Sifter<Single> single{low, high};
  float* out = sieve->between + sieve->between_count;
  int64_t i = 0;
  for (; i + Wide::lanes <= count; i += Wide::lanes) out = wide.run(w + i, out);
  for (; i < count; ++i) out = single.run(w + i, out);
  wide.add_to(sieve);
  single.add_to(sieve);
  sieve->between_count = out - sieve->between;
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
