// Clustering with a codebook that fits into registers: down the tree of its thresholds. Part of compression_cluster.h.

// Entry `index` of a table of 2^bits: a permutation of registers.
template <int bits>
__attribute__((always_inline)) inline __m512i look_up(const int32_t* table, __m512i index) {
  if constexpr (bits <= 4) {
    return _mm512_maskz_permutexvar_epi32(0xffff, index, _mm512_loadu_si512(table));
  } else if constexpr (bits == 5) {
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 16));
  } else {
    constexpr int half = 1 << (bits - 1);
    const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(half));
    return _mm512_mask_mov_epi32(look_up<bits - 1>(table, index), upper, look_up<bits - 1>(table + half, index));
  }
}

// Paths of `vectors` weights through the rest of the tree: bit l is set where w went up at level l. A step has to wait for
// the one before, so every level is done for all vectors before the next.
template <int levels, int vectors, int level = 0>
__attribute__((always_inline)) inline void descend(const int32_t* tree, const __m512* w, __m512i* path) {
  if constexpr (level < levels) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const __m512 threshold = _mm512_castsi512_ps(look_up<level>(tree + kLevelOffset[level], path[v]));
      const __mmask16 up = _mm512_cmp_ps_mask(w[v], threshold, _CMP_GE_OQ);
      path[v] = _mm512_mask_or_epi32(path[v], up, path[v], _mm512_set1_epi32(1 << level));
    }
    descend<levels, vectors, level + 1>(tree, w, path);
  }
}

template <int levels>
struct TreeClusterer : ClusterPass {
  const int32_t *tree, *order, *values, *table;

  explicit TreeClusterer(const ClusterBlock& block)
      : ClusterPass(block), tree(reinterpret_cast<const int32_t*>(block.book->tree)), order(block.book->tree_order),
        values(reinterpret_cast<const int32_t*>(block.tree_values)), table(reinterpret_cast<const int32_t*>(block.table)) {}

  template <bool whole, int vectors>
  __attribute__((always_inline)) void run(int64_t i, __mmask16 lanes) {
    constexpr int kDiffer = 0xf0 | (0xcc ^ 0xaa);  // a | (b ^ c)
    __m512 w[vectors];
    __m512i path[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      w[v] = take<whole>(i + 16 * v, lanes);
      path[v] = _mm512_setzero_si512();
    }
    descend<levels, vectors>(tree, w, path);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const __m512i index = look_up<levels>(order, path[v]), used = look_up<levels>(values, path[v]);
      // What goes to memory must be the entry of its index.
      broken = _mm512_mask_ternarylogic_epi32(broken, lanes, look_up<levels>(table, index), used, kDiffer);
      give<whole>(i + 16 * v, lanes, index, used);
    }
  }
};

template <int levels>
bool cluster_by_tree(int64_t count, const ClusterBlock& b, float* low, float* high) {
  TreeClusterer<levels> c(b);
  c.walk(
      count,
      [&](int64_t i, int64_t vectors) __attribute__((always_inline)) {
        for (; vectors >= 8; vectors -= 8, i += 128) c.template run<true, 8>(i, 0xffff);
        for (; vectors > 0; --vectors, i += 16) c.template run<true, 1>(i, 0xffff);
      },
      [&](int64_t i, __mmask16 lanes) __attribute__((always_inline)) { c.template run<false, 1>(i, lanes); });
  return c.finish(low, high);
}
