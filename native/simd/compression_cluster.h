// Mask, nearest centroid, gather, extremes and the check of the promises in one pass. Part of compression_impl.h.

// Any instruction set: the kernels one after the other, on pieces that stay in the first-level cache.
void cluster_pieces(int64_t count, const ClusterBlock& b) {
  constexpr int64_t kPiece = 1024;
  for (int64_t i = 0; i < count; i += kPiece) {
    const int64_t size = count - i < kPiece ? count - i : kPiece;
    const Source weights{b.weight + i, b.mask == nullptr ? nullptr : b.mask + i};
    assign(1, size, weights, *b.book, b.masked_out == nullptr ? nullptr : b.masked_out + i, b.indices + i);
    const Source table{b.table, nullptr, b.indices + i, 0, b.book->k};
    if (b.low != nullptr) extremes(1, size, {b.centroids, nullptr, b.indices + i, 0, b.book->k}, b.low, b.high);
    materialize(1, size, table, b.used + i);
    count_violations(1, size, b.used + i, weights.mask, table, b.violations);
  }
}

#if PCQAT_LANES == 16

// Entry `index` of a table of 2^bits: a permutation of registers up to 256 entries, loads beyond.
template <int bits>
__attribute__((always_inline)) inline __m512i look_up(const int32_t* table, __m512i index) {
  if constexpr (bits <= 4) {
    return _mm512_maskz_permutexvar_epi32(0xffff, index, _mm512_loadu_si512(table));
  } else if constexpr (bits == 5) {
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 16));
  } else if constexpr (bits <= 8) {
    constexpr int half = 1 << (bits - 1);
    const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(half));
    return _mm512_mask_mov_epi32(look_up<bits - 1>(table, index), upper, look_up<bits - 1>(table + half, index));
  } else {
    return (__m512i)Wide::gather(table, (Wide::I)index);
  }
}

// Path of w through the first `levels` levels of the tree: bit l is set where w went up at level l.
template <int levels>
__attribute__((always_inline)) inline __m512i descend(const int32_t* tree, __m512 w) {
  if constexpr (levels == 0) {
    return _mm512_setzero_si512();
  } else {
    const __m512i path = descend<levels - 1>(tree, w);
    const __m512 threshold = _mm512_castsi512_ps(look_up<levels - 1>(tree + kLevelOffset[levels - 1], path));
    const __mmask16 up = _mm512_cmp_ps_mask(w, threshold, _CMP_GE_OQ);
    return _mm512_mask_or_epi32(path, up, path, _mm512_set1_epi32(1 << (levels - 1)));
  }
}

// One block of the pass. `extremes` of the weights, whose nearest centroids are the extremes of the used centroids,
// because the nearest centroid never falls as w grows.
template <int levels>
struct TreeClusterer {
  const ClusterBlock b;  // a copy, which no store can change
  const bool stream;     // where both outputs reach a cache line's end together
  const int32_t* tree;
  const int32_t* order;
  const int32_t* values;
  const int32_t* table;
  __m512i magnitude = _mm512_set1_epi32(0x7fffffff), largest = _mm512_setzero_si512();
  __m512 low = _mm512_set1_ps(__builtin_inff()), high = _mm512_set1_ps(-__builtin_inff());
  __m512i broken = _mm512_setzero_si512(), last_index = _mm512_setzero_si512();

  explicit TreeClusterer(const ClusterBlock& block)
      : b(block),
        stream(block.stream && ((reinterpret_cast<uintptr_t>(block.used) ^ reinterpret_cast<uintptr_t>(block.indices)) & 63) == 0),
        tree(reinterpret_cast<const int32_t*>(block.book->tree)), order(block.book->tree_order),
        values(reinterpret_cast<const int32_t*>(block.tree_values)), table(reinterpret_cast<const int32_t*>(block.table)) {}

  static constexpr int64_t kAhead = 256;  // weights

  // The three steps on weights i to i + 15, of which `lanes` count. First: mask, and the path to the nearest centroid.
  template <bool whole>
  __attribute__((always_inline)) __m512i search(int64_t i, __mmask16 lanes, __mmask16* dropped) {
    *dropped = 0;
    __mmask16 keep = lanes;
    if (b.mask != nullptr) {
      const __m128i bytes = whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(b.mask + i)) : _mm_maskz_loadu_epi8(lanes, b.mask + i);
      keep = _mm_test_epi8_mask(bytes, bytes);
      *dropped = _mm_testn_epi8_mask(bytes, bytes);
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
    if (b.masked_out != nullptr) _mm512_mask_storeu_ps(b.masked_out + i, lanes, w);
    return descend<levels>(tree, w);
  }

  // Second: index and value.
  __attribute__((always_inline)) void fetch(__m512i path, __m512i* index, __m512i* used) const {
    *index = look_up<levels>(order, path);
    *used = look_up<levels>(values, path);
  }

  // Third: what goes to memory must be the entry of its index, and 0 where the mask is. Gathers bits that are not as they
  // should be: instructions on masks would cost more than all the rest.
  template <bool whole>
  __attribute__((always_inline)) void write(int64_t i, __mmask16 lanes, __mmask16 dropped, __m512i index, __m512i used) {
    constexpr int kDiffer = 0xf0 | (0xcc ^ 0xaa), kBoth = 0xf0 | (0xcc & 0xaa);  // a | (b ^ c), a | (b & c)
    broken = _mm512_mask_ternarylogic_epi32(broken, lanes, look_up<levels>(table, index), used, kDiffer);
    broken = _mm512_mask_ternarylogic_epi32(broken, dropped & lanes, used, magnitude, kBoth);
    last_index = _mm512_mask_max_epu32(last_index, lanes, last_index, index);
    if (whole && stream) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(b.indices + i), index);
      _mm512_stream_si512(reinterpret_cast<__m512i*>(b.used + i), used);
    } else {
      _mm512_mask_storeu_epi32(b.indices + i, lanes, index);
      _mm512_mask_storeu_epi32(b.used + i, lanes, used);
    }
  }

  template <bool whole>
  __attribute__((always_inline)) void run(int64_t i, __mmask16 lanes) {
    __mmask16 dropped;
    const __m512i path = search<whole>(i, lanes, &dropped);
    __m512i index, used;
    fetch(path, &index, &used);
    write<whole>(i, lanes, dropped, index, used);
  }

  // Whole vectors, step by step: a large codebook's steps are long chains of instructions, and a loop over one of them
  // keeps more vectors in flight than a loop over all.
  __attribute__((always_inline)) void run_pieces(int64_t i, int64_t vectors) {
    constexpr int64_t kVectors = 32;
    __mmask16 dropped[kVectors];
    __m512i first[kVectors], used[kVectors];
    for (; vectors > 0; vectors -= kVectors, i += 16 * kVectors) {
      const int64_t count = vectors < kVectors ? vectors : kVectors;
      for (int64_t v = 0; v < count; ++v) first[v] = search<true>(i + 16 * v, 0xffff, &dropped[v]);
      for (int64_t v = 0; v < count; ++v) fetch(first[v], &first[v], &used[v]);
      for (int64_t v = 0; v < count; ++v) write<true>(i + 16 * v, 0xffff, dropped[v], first[v], used[v]);
    }
  }
};

// Whether the thresholds decide for all weights, and every promise holds. If not, nothing that it wrote counts.
template <int levels>
bool cluster_by_tree(int64_t count, const ClusterBlock& b, float* low, float* high) {
  TreeClusterer<levels> c(b);
  int64_t i = 0;
  // Up to where the outputs are aligned: streams write whole cache lines.
  const int64_t head = -(reinterpret_cast<int64_t>(b.used) / 4) & 15;
  if (c.stream && head != 0) {
    i = head < count ? head : count;
    c.template run<false>(0, static_cast<__mmask16>((1u << i) - 1));
  }
  const int64_t vectors = (count - i) / 16;
  if (levels > 4)
    c.run_pieces(i, vectors);
  else
    for (int64_t v = 0; v < vectors; ++v) c.template run<true>(i + 16 * v, 0xffff);
  i += 16 * vectors;
  if (i < count) c.template run<false>(i, static_cast<__mmask16>((1u << (count - i)) - 1));
  if (c.stream) _mm_sfence();
  float lows[16], highs[16], magnitudes[16];
  _mm512_storeu_ps(lows, c.low);
  _mm512_storeu_ps(highs, c.high);
  _mm512_storeu_si512(magnitudes, c.largest);
  *low = lows[0];
  *high = highs[0];
  const __mmask16 beyond = _mm512_cmpge_epu32_mask(c.last_index, _mm512_set1_epi32(static_cast<int32_t>(b.book->k)));
  bool safe = (_mm512_test_epi32_mask(c.broken, c.broken) | beyond) == 0;
  for (int lane = 0; lane < 16; ++lane) {
    *low = lows[lane] < *low ? lows[lane] : *low;
    *high = highs[lane] > *high ? highs[lane] : *high;
    safe = safe && magnitudes[lane] <= b.book->limit[0];  // not for a NaN, whose bits are above those of every number
  }
  return safe;
}

void cluster(int64_t count, const ClusterBlock& b) {
  using Run = bool (*)(int64_t, const ClusterBlock&, float*, float*);
  static constexpr Run kRun[] = {nullptr,
                                 cluster_by_tree<1>,
                                 cluster_by_tree<2>,
                                 cluster_by_tree<3>,
                                 cluster_by_tree<4>,
                                 cluster_by_tree<5>,
                                 cluster_by_tree<6>,
                                 cluster_by_tree<7>,
                                 cluster_by_tree<8>,
                                 cluster_by_tree<9>,
                                 cluster_by_tree<10>};
  const Codebook& book = *b.book;
  float low, high;
  // With b.masked_out the weights are already masked when the block is run again, which changes nothing.
  if (book.levels == 0 || !kRun[book.levels](count, b, &low, &high)) return cluster_pieces(count, b);
  if (b.low == nullptr) return;
  const auto nearest = [&](float w) { return book.values[binary_search<Single>(book.thresholds, book.padded, w)]; };
  const float lowest = nearest(low), highest = nearest(high);
  *b.low = lowest < *b.low ? lowest : *b.low;
  *b.high = highest > *b.high ? highest : *b.high;
}

#else

void cluster(int64_t count, const ClusterBlock& block) { cluster_pieces(count, block); }

#endif
